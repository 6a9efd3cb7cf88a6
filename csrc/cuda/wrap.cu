// wrap.cu: an array with a border of its opposite sides, or without its border.
//
//   y_ij = x_(i - m)(j - m), indices modulo the size of x; m = 1 where y is larger, -1 where it is
//   smaller
//
//   in      x (planes, H, W, K): features, bits or an image as words of 4 bytes, or as bytes.
//   out     y (planes, H + 2 m, W + 2 m, K), overwritten.
//   mapping one thread per value of y, those of a pixel side by side. A row of blocks per row of y.
//   bounds  any planes, H, W, K >= 1; a smaller y needs H, W >= 3.
//   order   copies only.
//   cost    one pass over x and y: 67 MB for 64 channels of halves at 512 x 512 (estimate for an
//           H200 at 4.3 TB/s: 16 us).

#include "inner/common.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ int modulo(int i, int n) {
    return i < 0 ? i + n : i < n ? i : i - n;
}

// Grid: rows of y, the values of one of them, planes.
template <class T>
__global__ void wrap_kernel(
    const T* __restrict__ x, int H, int W, int K, int y_H, int y_W, T* __restrict__ y) {
    const int item = blockIdx.y * kThreads + threadIdx.x;
    if (item >= y_W * K) {
        return;
    }
    const int margin = (y_H - H) / 2, plane = blockIdx.z;
    const int row = modulo(static_cast<int>(blockIdx.x) - margin, H);
    const int column = modulo(item / K - margin, W);
    const size_t from = (static_cast<size_t>(plane) * H + row) * W + column;
    const size_t to = (static_cast<size_t>(plane) * y_H + blockIdx.x) * y_W * K + item;
    y[to] = x[from * K + item % K];
}

}  // namespace

template <class T>
void wrap(
    const T* x, int planes, int H, int W, int K, int y_H, int y_W, T* y, cudaStream_t stream) {
    const unsigned parts = (y_W * K - 1) / kThreads + 1;
    LAUNCH((wrap_kernel<T>), (y_H, parts, planes), (kThreads), 0, stream, x, H, W, K, y_H, y_W, y);
    CHECK_LAUNCH("wrap");
}

template void wrap(const uint32_t*, int, int, int, int, int, int, uint32_t*, cudaStream_t);
template void wrap(const uint8_t*, int, int, int, int, int, int, uint8_t*, cudaStream_t);

}  // namespace pynst
