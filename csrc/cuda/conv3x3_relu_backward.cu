// conv3x3_relu_backward.cu: gradient of conv3x3_relu with respect to its input.
//
//   dx = w^T * (dy where bits else 0)     the "zero where F <= 0" of Gatys et al. 2016, Eq. 2 and 6
//
//   in      dy (H, W, padded(N)), its ReLU's bits, w (9, padded(C), padded(N)), turned by 180
//           degrees; the loss scale, or null.
//   out     dx (H, W, padded(C)), overwritten; scale->largest.
//   mapping as conv3x3_relu.cu, C and N exchanged; the gate is applied as dy is read.
//   bounds  any C, N, H, W >= 1.
//   order   as conv3x3_relu.cu.
//   cost    9 C N multiply-adds per pixel; dy is read once per 64 or 128 channels of dx.

#include "inner/conv3x3_run.cuh"

namespace pynst {

using namespace conv3x3;

template <class T, class Weights>
void conv3x3_relu_backward(const T* dy,
                           const uint8_t* bits,
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
    const Gradient<T> result(dx, 1.0f, scale);
    run_conv3x3(Gated<T>{dy, bits},
                w,
                {N, C, H, W, division, "conv3x3_relu_backward"},
                result,
                scratch,
                stream);
    CHECK_LAUNCH("conv3x3_relu_backward");
}

#define INSTANTIATE(T, Weights)                         \
    template void conv3x3_relu_backward(const T*,       \
                                        const uint8_t*, \
                                        Weights,        \
                                        int,            \
                                        int,            \
                                        int,            \
                                        int,            \
                                        Division,       \
                                        GradientScale*, \
                                        T*,             \
                                        void*,          \
                                        cudaStream_t)
INSTANTIATE(half, const half*);
INSTANTIATE(float, SplitWeights);
INSTANTIATE(float, const float*);

}  // namespace pynst
