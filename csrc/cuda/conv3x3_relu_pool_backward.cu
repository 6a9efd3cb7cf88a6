// conv3x3_relu_pool_backward.cu: gradient of conv3x3_relu_pool with respect to its input.
//
//   dx = w^T * (u where bits else 0), u = dy / 4 at each pixel of its square (mean), or dy at the
//   chosen one and 0 elsewhere (maximum)
//
//   in      dy (H / 2, W / 2, padded(N)), the bits of the full map, for the maximum the choices; w
//           (9, padded(C), padded(N)), turned by 180 degrees; the loss scale, or null.
//   out     dx (H, W, padded(C)), overwritten; scale->largest.
//   mapping as conv3x3_relu_backward.cu; dy is spread over its square as it is read, and the factor
//           of a quarter is applied to the result.
//   bounds  any C, N, H, W >= 1; an odd last row or column of the full map has the gradient zero.
//   order   as conv3x3_relu.cu.
//   cost    9 C N multiply-adds per pixel; the gradients of the full map are never stored.

#include "inner/conv3x3_run.cuh"

namespace pynst {

using namespace conv3x3;

template <class T, class Weights>
void conv3x3_relu_pool_backward(const T* dy,
                                const uint8_t* bits,
                                Pooling mode,
                                const uint16_t* choices,
                                Weights w,
                                int C,
                                int N,
                                int H,
                                int W,
                                Division division,
                                GradientScale* scale,
                                T* dx,
                                void* scratch,
                                cudaStream_t stream) {
    const bool average = mode == Pooling::average;
    const Gradient<T> result(dx, average ? 0.25f : 1.0f, scale);
    const Unpooled<T> source = {dy, bits, average ? nullptr : choices};
    run_conv3x3(
        source, w, {N, C, H, W, division, "conv3x3_relu_pool_backward"}, result, scratch, stream);
    CHECK_LAUNCH("conv3x3_relu_pool_backward");
}

#define INSTANTIATE(T, Weights)                               \
    template void conv3x3_relu_pool_backward(const T*,        \
                                             const uint8_t*,  \
                                             Pooling,         \
                                             const uint16_t*, \
                                             Weights,         \
                                             int,             \
                                             int,             \
                                             int,             \
                                             int,             \
                                             Division,        \
                                             GradientScale*,  \
                                             T*,              \
                                             void*,           \
                                             cudaStream_t)
INSTANTIATE(half, const half*);
INSTANTIATE(float, SplitWeights);
INSTANTIATE(float, const float*);

}  // namespace pynst
