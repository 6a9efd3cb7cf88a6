// kernels.h: every op of the CPU core on one page. pynst/backends/base.py tells what each of them
// computes.
//
// Layout. An image is planar, (3, H, W) float32. Features are blocked by 16 channels, (blocks, H,
// W, 16) float32 with blocks = ceil(C / 16); lanes beyond C hold zeros. The bits of a ReLU are
// uint16, (blocks, H, W), bit i for lane i; the choices of a maximum pooling uint32, (blocks, H /
// 2, W / 2), two bits per lane. Gram matrices and losses are float64. Arrays need no alignment and
// have no padding.
//
// Ops allocate nothing: the caller gives scratch of at least as many bytes as <op>_scratch returns.
// The results are equal to the bit for any number of threads. A pointer may be null only where a
// comment says so.

#pragma once

#include <cstddef>
#include <cstdint>

#include "inner.h"
#include "threads.h"

namespace pynst {

inline int channel_blocks(int channels) {
    return (channels + kLanes - 1) / kLanes;
}

// The sizes of a convolution: C input and N output channels of the forward direction, H x W pixels.
struct ConvShape {
    int C, N, H, W;
};

// ---- the image ----------------------------------------------------------------------------------

// image, gradient (H, W, 3); axes (3, 3), mean (3). Real: float or double.
template <class Real>
void image_input(
    Threads&, int H, int W, const Real* image, const double* axes, const double* mean, float* x);
void image_input_backward(
    Threads&, int H, int W, const float* dx, const double* axes, double* gradient);

// ---- VGG-19 -------------------------------------------------------------------------------------

// weight (N, C, 3, 3) to packed (blocks of N, blocks of C, C % 16, 9, N % 16).
void conv3x3_pack(const float* weight, int C, int N, float* packed);

// bits: null if no backward pass follows. bias (blocks of N, 16), zeros beyond N.
size_t conv3x3_relu_scratch(const Threads&, ConvShape);
void conv3x3_relu(Threads&,
                  ConvShape,
                  const float* x,
                  const float* packed,
                  const float* bias,
                  float* y,
                  uint16_t* bits,
                  void* scratch);
void conv3x3_relu_backward(Threads&,
                           ConvShape,
                           const float* dy,
                           const uint16_t* bits,
                           const float* packed,
                           float* dx,
                           void* scratch);

// conv3x3_relu followed by pool2x2, without the unpooled features in memory; y and dy are the
// pooled ones. choices: null for the average, and forward if no backward pass follows.
void conv3x3_relu_pool(Threads&,
                       ConvShape,
                       const float* x,
                       const float* packed,
                       const float* bias,
                       Pooling mode,
                       float* y,
                       uint16_t* bits,
                       uint32_t* choices,
                       void* scratch);
void conv3x3_relu_pool_backward(Threads&,
                                ConvShape,
                                const float* dy,
                                const uint16_t* bits,
                                Pooling mode,
                                const uint32_t* choices,
                                const float* packed,
                                float* dx,
                                void* scratch);

// weight (N, 3, 3, 3) to packed (blocks, 3, 9, 16). ConvShape.C is 3.
void image_conv3x3_pack(const float* weight, int N, float* packed);

size_t image_conv3x3_relu_scratch(const Threads&, ConvShape);
void image_conv3x3_relu(Threads&,
                        ConvShape,
                        const float* x,
                        const float* packed,
                        const float* bias,
                        Padding padding,
                        float* y,
                        uint16_t* bits,
                        void* scratch);
void image_conv3x3_relu_backward(Threads&,
                                 ConvShape,
                                 const float* dy,
                                 const uint16_t* bits,
                                 const float* packed,
                                 Padding padding,
                                 float* dx,
                                 void* scratch);

// C channels, H x W pixels before pooling.
void pool2x2(
    Threads&, int C, int H, int W, const float* x, Pooling mode, float* y, uint32_t* choices);
void pool2x2_backward(Threads&,
                      int C,
                      int H,
                      int W,
                      const float* dy,
                      Pooling mode,
                      const uint32_t* choices,
                      float* dx);

// ---- the built-in filters -----------------------------------------------------------------------

// K filters (K, 7, 7), filter f on plane[f], to packed (groups of 16 filters, 3, 49, 16) and the
// planes that each group reads, one bit each. ConvShape.C is 3 and N is 2 K.
void filter7x7_pack(
    const float* weight, const int32_t* plane, int K, float* packed, int32_t* planes);

size_t filter7x7_scratch(const Threads&, ConvShape);
void filter7x7(Threads&,
               ConvShape,
               const float* x,
               const float* packed,
               const int32_t* planes,
               float* y,
               uint16_t* bits,
               void* scratch);
void filter7x7_backward(Threads&,
                        ConvShape,
                        const float* dy,
                        const uint16_t* bits,
                        const float* packed,
                        const int32_t* planes,
                        float* dx,
                        void* scratch);

// H, W are those of the larger image.
void binomial_down(Threads&, int H, int W, const float* x, float* y);
void binomial_down_backward(Threads&, int H, int W, const float* dy, float* dx);

// ---- losses -------------------------------------------------------------------------------------

// Factors m of the pixels, (M,), or null for ones; `total` is their sum.
struct PixelWeights {
    const float* values;
    double total;
};

size_t gram_scratch(const Threads&, int N, size_t M);
void gram(Threads&, int N, size_t M, const float* F, PixelWeights m, double* G, void* scratch);

// scale (blocks, 16) or null; m (M,) or null for ones.
size_t content_loss_scratch(int N, size_t M);
void content_loss(Threads&,
                  int N,
                  size_t M,
                  const float* F,
                  const float* P,
                  double k,
                  const float* scale,
                  const float* m,
                  float* dF,
                  double* loss,
                  void* scratch);

// scale (N,) or null.
size_t style_loss_scratch(const Threads&, int N, size_t M);
void style_loss(Threads&,
                int N,
                size_t M,
                const float* F,
                const double* G,
                const double* A,
                double k,
                const double* scale,
                PixelWeights m,
                float* dF,
                double* loss,
                void* scratch);

size_t total_variation_scratch(int H);
void total_variation(
    Threads&, int H, int W, const float* x, double k, float* dx, double* loss, void* scratch);

}  // namespace pynst
