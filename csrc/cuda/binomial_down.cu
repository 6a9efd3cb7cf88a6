// binomial_down.cu: half the size of an image by a binomial filter, and the transpose.
//
//   y = ([1 3 3 1] / 8 along both axes) * x at every second pixel
//   dx = transpose of that, of dy, + keep x
//
//   in      x (planes, H, W, lanes); backward: dy (planes, h, w, lanes), h = ceil(H / 2),
//           w = ceil(W / 2), keep, x (planes, H, W, lanes) or null. A planar image is (3, H, W, 1),
//           an interleaved one (1, H, W, 3).
//   out     y (planes, h, w, lanes), overwritten; backward: dx (planes, H, W, lanes), overwritten;
//           x may be dx.
//   mapping one thread per output value, a row of blocks per row of a plane. Backward gathers: a
//           pixel of dx takes from at most three rows and columns of dy.
//   bounds  any H, W >= 1, lanes >= 1: the border repeats the edge pixel.
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

__global__ void binomial_down_kernel(
    const float* __restrict__ x, int H, int W, int lanes, float* __restrict__ y) {
    const int w = (W + 1) / 2, h = (H + 1) / 2;
    const int row = blockIdx.x % h, plane = blockIdx.x / h;
    const int at = blockIdx.y * kThreads + threadIdx.x;
    if (at >= w * lanes) {
        return;
    }
    const int column = at / lanes, lane = at % lanes;
    float sum = 0.0f;
#pragma unroll
    for (int r = 0; r < kTaps; ++r) {
        const float* line = x + (static_cast<size_t>(plane) * H + source(row, r, H)) * W * lanes;
        float horizontal = 0.0f;
#pragma unroll
        for (int c = 0; c < kTaps; ++c) {
            horizontal += weight(c) * line[source(column, c, W) * lanes + lane];
        }
        sum += weight(r) * horizontal;
    }
    y[static_cast<size_t>(blockIdx.x) * w * lanes + at] = sum;
}

// x may be dx, so neither is __restrict__.
__global__ void binomial_down_backward_kernel(
    const float* __restrict__ dy, int H, int W, int lanes, float keep, const float* x, float* dx) {
    const int w = (W + 1) / 2, h = (H + 1) / 2;
    const int row = blockIdx.x % H, plane = blockIdx.x / H;
    const int at = blockIdx.y * kThreads + threadIdx.x;
    if (at >= W * lanes) {
        return;
    }
    const int column = at / lanes, lane = at % lanes;
    float sum = 0.0f;
#pragma unroll
    for (int i = row / 2 - 1; i <= row / 2 + 1; ++i) {
        const float of_row = share(i, row, H);
        if (of_row == 0.0f) {
            continue;
        }
        const float* line = dy + (static_cast<size_t>(plane) * h + i) * w * lanes;
        float horizontal = 0.0f;
#pragma unroll
        for (int j = column / 2 - 1; j <= column / 2 + 1; ++j) {
            const float of_column = share(j, column, W);
            horizontal += of_column == 0.0f ? 0.0f : of_column * line[j * lanes + lane];
        }
        sum += of_row * horizontal;
    }
    const size_t to = static_cast<size_t>(blockIdx.x) * W * lanes + at;
    dx[to] = x == nullptr ? sum : keep * x[to] + sum;
}

unsigned blocks_for(int columns) {
    return (columns - 1) / kThreads + 1;
}

}  // namespace

void binomial_down(Pixels image, const float* x, float* y, cudaStream_t stream) {
    const int h = (image.H + 1) / 2, w = (image.W + 1) / 2;
    LAUNCH(binomial_down_kernel,
           (image.planes * h, blocks_for(w * image.lanes)),
           (kThreads),
           0,
           stream,
           x,
           image.H,
           image.W,
           image.lanes,
           y);
    CHECK_LAUNCH("binomial_down");
}

void binomial_down_backward(
    Pixels image, const float* dy, float keep, const float* x, float* dx, cudaStream_t stream) {
    LAUNCH(binomial_down_backward_kernel,
           (image.planes * image.H, blocks_for(image.W * image.lanes)),
           (kThreads),
           0,
           stream,
           dy,
           image.H,
           image.W,
           image.lanes,
           keep,
           x,
           dx);
    CHECK_LAUNCH("binomial_down_backward");
}

}  // namespace pynst
