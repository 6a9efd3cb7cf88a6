// conv3x3_relu_pool.cu: 3x3 convolution with its ReLU and 2x2 pooling.
//
//   y = mean or max of each 2 x 2 square of max(0, w * x + b)
//
//   in      x (H, W, padded(C)), w (9, padded(N), padded(C)), b (padded(N)) float32.
//   out     y (H / 2, W / 2, padded(N)); bits of the full map and, for the maximum, choices,
//           each unless null. The full map is not stored.
//   mapping as conv3x3_relu.cu: a thread has the four pixels of a square.
//   bounds  any C, N, H, W >= 1; an odd last row or column is dropped, its bits are written.
//   order   as conv3x3_relu.cu: bits and choices equal those of the two ops apart. The mean is
//           (a + b) + (c + d), rounded once.
//   cost    9 C N multiply-adds per pixel.

#include "inner/conv3x3_run.cuh"

namespace pynst {

using namespace conv3x3;

template <class T, class Weights>
void conv3x3_relu_pool(const T* x,
                       Weights w,
                       const float* b,
                       int C,
                       int N,
                       int H,
                       int W,
                       Pooling mode,
                       Division division,
                       T* y,
                       uint8_t* bits,
                       uint16_t* choices,
                       void* scratch,
                       cudaStream_t stream) {
    const RectifiedAndPooled<T> result = {b, y, bits, choices, mode};
    run_conv3x3(
        Features<T>{x}, w, {C, N, H, W, division, "conv3x3_relu_pool"}, result, scratch, stream);
    CHECK_LAUNCH("conv3x3_relu_pool");
}

#define INSTANTIATE(T, Weights)                   \
    template void conv3x3_relu_pool(const T*,     \
                                    Weights,      \
                                    const float*, \
                                    int,          \
                                    int,          \
                                    int,          \
                                    int,          \
                                    Pooling,      \
                                    Division,     \
                                    T*,           \
                                    uint8_t*,     \
                                    uint16_t*,    \
                                    void*,        \
                                    cudaStream_t)
INSTANTIATE(half, const half*);
INSTANTIATE(float, SplitWeights);
INSTANTIATE(float, const float*);

}  // namespace pynst
