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
template <class Real>
void image_input_backward(
    Threads&, int H, int W, const float* dx, const double* axes, Real* gradient);

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
// An image of which each value belongs to a plane, a row, a column and a lane, in this order: planar
// (3, H, W, 1), or interleaved (1, H, W, 3).
struct Pixels {
    int planes, H, W, lanes;
};
void binomial_down(Threads&, Pixels, const float* x, float* y);
void binomial_down_backward(
    Threads&, Pixels, const float* dy, float keep, const float* x, float* dx);

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

// ---- L-BFGS -------------------------------------------------------------------------------------

constexpr int kMostPairRows = 11;

// The kept vectors (2 rows, n): row i holds a step s, row `rows + i` the change z of the
// preconditioned gradient. They are float32, or whole numbers of 16 bits with a factor for each run
// of values, which take half the memory.
struct PairRows {
    int rows;
    size_t n;
    float* values;     // (2 rows, n), or null
    int16_t* numbers;  // (2 rows, n), or null
    float* factors;    // (2 rows, runs), or null
};

// d = sum of factor[k] times row[k] of the pairs, plus factor_of_h times h.
struct PairCoefficients {
    int count;
    int row[2 * kMostPairRows];
    double factor[2 * kMostPairRows];
    double factor_of_h;
};
void lbfgs_direction(
    Threads&, const PairRows& pairs, const PairCoefficients&, const float* h, float* d);
void lbfgs_step(
    Threads&, const float* x, const float* d, double t, size_t n, float* next, float* seen);
void lbfgs_gradient(
    Threads&, const float* next, const float* gradient, double pull, size_t n, float* next_g);

struct Arrival {
    PairRows pairs;
    int spare;
    const float *x, *g, *h, *d, *next, *next_g, *next_h;
};
constexpr size_t lbfgs_arrive_sums(int rows) {
    return 4 + 2 * 2 * static_cast<size_t>(rows);
}
size_t lbfgs_arrive_scratch(int rows, size_t n);
void lbfgs_arrive(Threads&, const Arrival&, double* sums, void* scratch);

// The filters of destripe, each the factor of a pixel, of its neighbours, and so on. kSmooth is a
// Gaussian of two pixels; kShort keeps 0.04 of a wave of five pixels, 0.15 of one of four, 0.69 of
// 2.5 and 0.87 of two.
constexpr int kSmoothReach = 6, kShortReach = 2;
constexpr float kSmooth[kSmoothReach + 1] = {
    0.19967f, 0.17621f, 0.12110f, 0.06483f, 0.02702f, 0.00877f, 0.002235f};
constexpr float kShort[kShortReach + 1] = {0.295f, -0.2175f, 0.07f};
void destripe(Threads&, int H, int W, const float* x, float* y);

// Vectors are cut into runs, whose values stay in the first-level cache.
constexpr size_t kVectorRun = 1024;
constexpr size_t runs_of(size_t n) {
    return (n + kVectorRun - 1) / kVectorRun;
}

// Calls body(begin, count) for all runs of n values, four of them in each task.
template <class Body>
void for_runs(Threads& threads, size_t n, const Body& body) {
    constexpr size_t kRuns = 4;
    threads.run(static_cast<int>((runs_of(n) + kRuns - 1) / kRuns), [&](int task, int) {
        const size_t end =
            n < (task + 1) * kRuns * kVectorRun ? n : (task + 1) * kRuns * kVectorRun;
        for (size_t begin = task * kRuns * kVectorRun; begin < end; begin += kVectorRun) {
            body(begin, end - begin < kVectorRun ? end - begin : kVectorRun);
        }
    });
}

}  // namespace pynst
