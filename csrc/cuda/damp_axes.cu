// damp_axes.cu: damps the highest frequencies of an image along each axis.
//
//   y = (c_2 c_1 c_0 c_1 c_2 along both axes) * x
//
//   in      x (H, W, 3).
//   out     y (H, W, 3), overwritten; not x.
//   mapping one thread per output value, a row of blocks per row.
//   bounds  any H, W >= 1: the border is mirrored with its edge pixel, so that the filter is its own
//           transpose.
//   order   columns, then rows.
//   cost    one pass over x and y: 6.3 MB at 512 x 512; the overlap comes from the caches.

#include "inner/common.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 128;
constexpr int kChannels = 3;

// Pixel i of a line of n pixels that is mirrored at both ends, again and again.
__device__ __forceinline__ int mirrored(int i, int n) {
    const int at = (i % (2 * n) + 2 * n) % (2 * n);
    return at < n ? at : 2 * n - 1 - at;
}

// c_r of the filter; a switch, since a device reads no constants of the host.
__device__ __forceinline__ float damping(int r) {
    return r == 0 ? kDamping[0] : r == 1 || r == -1 ? kDamping[1] : kDamping[2];
}

__global__ void damp_axes_kernel(const float* __restrict__ x, int H, int W, float* __restrict__ y) {
    const int row = blockIdx.x, at = blockIdx.y * kThreads + threadIdx.x;
    if (at >= W * kChannels) {
        return;
    }
    const int column = at / kChannels, channel = at % kChannels;
    float sum = 0.0f;
#pragma unroll
    for (int r = -kDampingReach; r <= kDampingReach; ++r) {
        const float* line = x + static_cast<size_t>(mirrored(row + r, H)) * W * kChannels + channel;
        float horizontal = 0.0f;
#pragma unroll
        for (int c = -kDampingReach; c <= kDampingReach; ++c) {
            horizontal += damping(c) * line[mirrored(column + c, W) * kChannels];
        }
        sum += damping(r) * horizontal;
    }
    y[static_cast<size_t>(row) * W * kChannels + at] = sum;
}

}  // namespace

void damp_axes(const float* x, int H, int W, float* y, cudaStream_t stream) {
    const unsigned columns = (W * kChannels - 1) / kThreads + 1;
    LAUNCH(damp_axes_kernel, (H, columns), (kThreads), 0, stream, x, H, W, y);
    CHECK_LAUNCH("damp_axes");
}

}  // namespace pynst
