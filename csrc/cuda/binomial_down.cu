// binomial_down.cu: half the size of an image by a binomial filter, and the transpose.
//
//   y = ([1 3 3 1] / 8 along both axes) * x at every second pixel;   dx = transpose of that, of dy
//
//   in      x (3, H, W); backward: dy (3, h, w), h = ceil(H / 2), w = ceil(W / 2).
//   out     y (3, h, w); backward: dx (3, H, W), overwritten.
//   mapping one thread per output pixel, a row of blocks per row of a plane. Backward gathers: a
//           pixel of dx takes from at most three rows and columns of dy.
//   bounds  any H, W >= 1: the border repeats the edge pixel.
//   order   rows, then columns.
//   cost    one pass over x and y: 3.9 MB at 512 x 512; the overlap comes from the caches.

#include "inner/common.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 128;
constexpr int kTaps = 4;

__device__ __forceinline__ float weight(int tap) {
    return tap == 0 || tap == 3 ? 0.125f : 0.375f;
}

// Pixel that tap `tap` of output i reads, in a line of n whose ends are repeated.
__device__ __forceinline__ int source(int i, int tap, int n) {
    const int at = 2 * i + tap - 1;
    return at < 0 ? 0 : at >= n ? n - 1 : at;
}

// Share of input `at` in output i; zero where there is no such output.
__device__ __forceinline__ float share(int i, int at, int n) {
    float total = 0.0f;
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
        total += source(i, tap, n) == at ? weight(tap) : 0.0f;
    }
    return i < 0 || i >= (n + 1) / 2 ? 0.0f : total;
}

__global__ void binomial_down_kernel(const float* __restrict__ x,
                                     int H,
                                     int W,
                                     float* __restrict__ y) {
    const int w = (W + 1) / 2, h = (H + 1) / 2;
    const int row = blockIdx.x % h, plane = blockIdx.x / h;
    const int column = blockIdx.y * kThreads + threadIdx.x;
    if (column >= w) {
        return;
    }
    float sum = 0.0f;
#pragma unroll
    for (int r = 0; r < kTaps; ++r) {
        const float* line = x + (static_cast<size_t>(plane) * H + source(row, r, H)) * W;
        float horizontal = 0.0f;
#pragma unroll
        for (int c = 0; c < kTaps; ++c) {
            horizontal += weight(c) * line[source(column, c, W)];
        }
        sum += weight(r) * horizontal;
    }
    y[static_cast<size_t>(blockIdx.x) * w + column] = sum;
}

__global__ void binomial_down_backward_kernel(const float* __restrict__ dy,
                                              int H,
                                              int W,
                                              float* __restrict__ dx) {
    const int w = (W + 1) / 2, h = (H + 1) / 2;
    const int row = blockIdx.x % H, plane = blockIdx.x / H;
    const int column = blockIdx.y * kThreads + threadIdx.x;
    if (column >= W) {
        return;
    }
    float sum = 0.0f;
#pragma unroll
    for (int i = row / 2 - 1; i <= row / 2 + 1; ++i) {
        const float of_row = share(i, row, H);
        if (of_row == 0.0f) {
            continue;
        }
        const float* line = dy + (static_cast<size_t>(plane) * h + i) * w;
        float horizontal = 0.0f;
#pragma unroll
        for (int j = column / 2 - 1; j <= column / 2 + 1; ++j) {
            const float of_column = share(j, column, W);
            horizontal += of_column == 0.0f ? 0.0f : of_column * line[j];
        }
        sum += of_row * horizontal;
    }
    dx[static_cast<size_t>(blockIdx.x) * W + column] = sum;
}

unsigned blocks_for(int columns) {
    return (columns - 1) / kThreads + 1;
}

}  // namespace

void binomial_down(const float* x, int H, int W, float* y, cudaStream_t stream) {
    const int h = (H + 1) / 2, w = (W + 1) / 2;
    LAUNCH(binomial_down_kernel, (3 * h, blocks_for(w)), (kThreads), 0, stream, x, H, W, y);
    CHECK_LAUNCH("binomial_down");
}

void binomial_down_backward(const float* dy, int H, int W, float* dx, cudaStream_t stream) {
    LAUNCH(
        binomial_down_backward_kernel, (3 * H, blocks_for(W)), (kThreads), 0, stream, dy, H, W, dx);
    CHECK_LAUNCH("binomial_down_backward");
}

}  // namespace pynst
