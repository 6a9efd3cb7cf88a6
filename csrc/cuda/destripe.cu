// destripe.cu: damps short stripes along the axes of an image, and no other detail.
//
//   y = x - S_v D_h x - S_h D_v x
//
//   with S a smooth average and D = 1 - (c_2 c_1 c_0 c_1 c_2) what changes within two to three
//   pixels, v along the columns and h along the rows.
//
//   in      x (H, W, 3).
//   out     y (H, W, 3), overwritten; not x.
//   mapping a block has a tile of kRows x kColumns values of one row of blocks; the values around it
//           come into shared memory, and are combined along the columns of the image there.
//   bounds  any H, W >= 1: the border is mirrored with its edge pixel, so that the filter is its own
//           transpose.
//   order   columns, then rows; fixed.
//   cost    one pass over x and y: 6.3 MB at 512 x 512, and 26 multiply-adds per value.

#include "inner/common.cuh"

namespace pynst {
namespace {

constexpr int kChannels = 3;
constexpr int kRows = 8;      // rows of a tile
constexpr int kColumns = 96;  // values of a row of a tile: 32 pixels
constexpr int kMost = kSmoothReach > kShortReach ? kSmoothReach : kShortReach;
constexpr int kWide = kColumns + 2 * kMost * kChannels;

// Pixel i of a line of n pixels that is mirrored at both ends, again and again.
__device__ __forceinline__ int mirrored(int i, int n) {
    const int at = (i % (2 * n) + 2 * n) % (2 * n);
    return at < n ? at : 2 * n - 1 - at;
}

// Sums of values that lie `stride` apart around `at`, by the two filters. The loops are unrolled,
// so that the factors are constants of the code. The filters' arrays do not exist on the device:
// their values are copied into constants of each function.
__device__ __forceinline__ float smooth(const float* at, int stride) {
    float sum = kSmooth[0] * at[0];
#pragma unroll
    for (int r = 1; r <= kSmoothReach; ++r) {
        constexpr float taps[] = {
            kSmooth[0], kSmooth[1], kSmooth[2], kSmooth[3], kSmooth[4], kSmooth[5], kSmooth[6]};
        sum += taps[r] * (at[-r * stride] + at[r * stride]);
    }
    return sum;
}

__device__ __forceinline__ float brief(const float* at, int stride) {
    constexpr float taps[] = {kShort[0], kShort[1], kShort[2]};
    return taps[0] * at[0] + taps[1] * (at[-stride] + at[stride]) +
           taps[2] * (at[-2 * stride] + at[2 * stride]);
}

__global__ void __launch_bounds__(kColumns)
    destripe_kernel(const float* __restrict__ x, int H, int W, float* __restrict__ y) {
    SHARED(float, tile, (kRows + 2 * kMost) * kWide);
    SHARED(float, smoothed, kRows* kWide);
    SHARED(float, shortened, kRows* kWide);
    const int first_row = blockIdx.x * kRows, first = blockIdx.y * kColumns;

    // 1. the values around the tile
    for (int i = threadIdx.x; i < (kRows + 2 * kMost) * kWide; i += kColumns) {
        const int row = mirrored(first_row + i / kWide - kMost, H);
        const int at = first + i % kWide;  // kMost pixels further to the right than the value
        const int column = mirrored(at / kChannels - kMost, W);
        tile[i] = x[(static_cast<size_t>(row) * W + column) * kChannels + at % kChannels];
    }
    __syncthreads();

    // 2. combined along the columns of the image
    for (int i = threadIdx.x; i < kRows * kWide; i += kColumns) {
        const float* at = tile + i + kMost * kWide;
        smoothed[i] = smooth(at, kWide);
        shortened[i] = brief(at, kWide);
    }
    __syncthreads();

    // 3. along the rows
    const int value = first + threadIdx.x;
    for (int r = 0; r < kRows && first_row + r < H && value < W * kChannels; ++r) {
        const int at = r * kWide + kMost * kChannels + threadIdx.x;
        y[static_cast<size_t>(first_row + r) * W * kChannels + value] =
            tile[at + kMost * kWide] - brief(smoothed + at, kChannels) -
            smooth(shortened + at, kChannels);
    }
}

}  // namespace

void destripe(const float* x, int H, int W, float* y, cudaStream_t stream) {
    const unsigned rows = (H - 1) / kRows + 1, columns = (W * kChannels - 1) / kColumns + 1;
    LAUNCH(destripe_kernel, (rows, columns), (kColumns), 0, stream, x, H, W, y);
    CHECK_LAUNCH("destripe");
}

}  // namespace pynst
