// kernels.h: every launcher of the CUDA core on one page.
//
// pynst/backends/base.py says what each op computes; the layout of arrays stands in
// inner/common.cuh. All pointers are device memory, T is float (precision "accurate") or half
// ("fast"). Sizes are in pixels and true channels: C go into a layer and N come out, H x W are the
// pixels of its input. Nothing here allocates, synchronises or prints; a failed launch throws
// CudaError with the op's name. `bits`, `choices`, `s` and `scale` may be null where base.py allows
// None. Scratch is aligned to kScratchAlignment bytes and has the size that the function beside the
// op returns.
//
// The times under "cost" in the headers of the kernels are estimates for an H200: bytes divided by
// 4.3 TB/s, or float32 operations by 60 TFLOP/s. None of them is a measurement: so far the kernels
// have run on the stand-in for CUDA only (tests/cuda_on_cpu).

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>

#include "inner/platform.cuh"

namespace pynst {

enum class Padding { zero, replicate };
enum class Pooling { average, max };

// How float32 matrix products are computed: in plain float32, or from halves (inner/split.cuh).
enum class Products { simt, tensor };

constexpr int kLanes = 8;               // channels that features are read and written in
constexpr int kScratchAlignment = 256;  // bytes
constexpr float kSplitScale = 2048.0f;  // a float32 v is high + low / kSplitScale (inner/split.cuh)

__host__ __device__ constexpr int padded(int channels) {
    return (channels + kLanes - 1) / kLanes * kLanes;
}

struct CudaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* op) {
    if (status != cudaSuccess) {
        // The runtime also keeps the error of a call that failed before a launch. It is read here, as
        // the next op would otherwise be reported as failed.
        cudaGetLastError();
        // No std::string: what the kernels' host code needs is then the same in libstdc++ and in
        // libc++, so that a wheel can be linked with the latter (tools/wheels.py).
        char message[256];
        std::snprintf(message, sizeof message, "%s: %s", op, cudaGetErrorString(status));
        throw CudaError(message);
    }
}
#define CHECK_LAUNCH(op) ::pynst::check(cudaGetLastError(), op)

// Feature gradients are stored multiplied by a power of two, the loss scale, so that halves neither
// overflow nor underflow. The structure lies in device memory; a null pointer means a scale of one.
struct GradientScale {
    float scale;        // the loss scale of the evaluation that runs, or of the next one
    unsigned largest;   // bits, as float32, of its largest scaled magnitude so far
    float last;         // the loss scale of the last evaluation that ended
    unsigned accepted;  // 1: that one lost nothing; 0: it must be run again
};

// A loss that its op has left to be added up,
//
//   loss = factor * (partials[0] + ... + partials[count - 1])
//
// The partial sums have to stay where they are until then.
struct LossSum {
    const double* partials;
    int count;
    double factor;
    double* loss;
};
constexpr int kMostOpenSums = 8;

// The last kernel of an evaluation also adds up the losses and chooses the next loss scale, unless
// that is null, so that no kernels of their own have to run for these. Ops that take an
// EvaluationEnd leave their sums to it; where it is null, or has no room, they add up their sums at
// once.
struct EvaluationEnd {
    GradientScale* scale;
    int count;
    LossSum sums[kMostOpenSums];
    bool done;  // by another kernel than that of evaluation_end
};
void add_up(const LossSum& sum, EvaluationEnd* end, cudaStream_t);
// Does what is not done yet, with a kernel of its own; `end` is ready for another evaluation then.
void evaluation_end(EvaluationEnd* end, cudaStream_t);

// Weights are (9, padded(N), padded(C)): tap, output, input. The backward ops take them as (9,
// padded(C), padded(N)) with the taps turned by 180 degrees, so that both directions share a
// kernel. SplitWeights hold each float32 weight as two halves, high + low / kSplitScale.
struct SplitWeights {
    const half* high;
    const half* low;
};

// How a 3x3 convolution is divided among blocks: the tile of pixels and output channels that a block
// computes, and the parts into which the input channels are cut, each with blocks of its own. Every
// division gives the same numbers up to rounding. They differ in speed, and the parts decide the
// order of the sums; who adds them does not. pynst/backends/divisions.py chooses.
enum class ConvTile {
    large,   // halves: 256 pixels x 128 channels
    narrow,  // halves: 256 x 64
    flat,    // halves: 128 x 128
    split,   // float32 as two halves: 128 x 64
    simt,    // plain float32: 256 x 64
};
struct Division {
    ConvTile tile;
    int parts;  // 1 .. kMostParts; fewer are used where a part would have less than 32 channels
    bool clustered;  // the parts' blocks are a cluster, which adds them; else a second kernel does
};
constexpr int kMostParts = 8;

struct ConvTileSize {
    int height, channels;  // rows of 16 pixels, output channels
    int warps;
    int resident;  // blocks that share a multiprocessor
};
ConvTileSize conv3x3_tile_size(ConvTile tile);

// clang-format off: a launcher is a paragraph here, not a column of parameters

// ---- VGG-19 -------------------------------------------------------------------------------------

// <T, Weights> is <half, const half*>, <float, SplitWeights> or <float, const float*>.

template <class T, class Weights>
void conv3x3_relu(const T* x, Weights w, const float* b, int C, int N, int H, int W,
                  Division division, T* y, uint8_t* bits, void* scratch, cudaStream_t);
template <class T, class Weights>
void conv3x3_relu_backward(const T* dy, const uint8_t* bits, Weights w, int C, int N, int H, int W,
                           Division division, GradientScale* scale, T* dx, void* scratch,
                           cudaStream_t);
template <class T, class Weights>
void conv3x3_relu_pool(const T* x, Weights w, const float* b, int C, int N, int H, int W,
                       Pooling mode, Division division, T* y, uint8_t* bits, uint16_t* choices,
                       void* scratch, cudaStream_t);
template <class T, class Weights>
void conv3x3_relu_pool_backward(const T* dy, const uint8_t* bits, Pooling mode,
                                const uint16_t* choices, Weights w, int C, int N, int H, int W,
                                Division division, GradientScale* scale, T* dx, void* scratch,
                                cudaStream_t);
// The scratch of a product that takes C channels to N; a backward op exchanges the two.
size_t conv3x3_scratch(int C, int N, int H, int W, Division division);
// The most parts that may be clustered on the current device; 1 where there are no clusters.
int conv3x3_most_clustered();

// Weights of the image's convolution: float (27, padded(N)), row 3 * tap + plane.
template <class T>
void image_conv3x3_relu(const float* x, const float* w, const float* b, int N, int H, int W,
                        Padding padding, T* y, uint8_t* bits, cudaStream_t);
template <class T>
void image_conv3x3_relu_backward(const T* dy, const uint8_t* bits, const float* w, int N, int H,
                                 int W, Padding padding, const GradientScale* scale, float* dx,
                                 cudaStream_t);

template <class T>
void pool2x2(const T* x, int C, int H, int W, Pooling mode, T* y, uint16_t* choices, cudaStream_t);
template <class T>
void pool2x2_backward(const T* dy, int C, int H, int W, Pooling mode, const uint16_t* choices,
                      T* dx, cudaStream_t);

// Planes of H x W pixels of K values of type T, to planes that are larger or smaller by a pixel on
// each side; y_H and y_W are their sizes.
template <class T>
void wrap(const T* x, int planes, int H, int W, int K, int y_H, int y_W, T* y, cudaStream_t);

// ---- the built-in filters; weights float (K, 49), plane int (K) ---------------------------------

template <class T>
void filter7x7(const float* x, const float* w, const int* plane, int K, int H, int W, T* y,
               uint8_t* bits, cudaStream_t);
template <class T>
void filter7x7_backward(const T* dy, const uint8_t* bits, const float* w, const int* plane, int K,
                        int H, int W, const GradientScale* scale, float* dx, void* scratch,
                        cudaStream_t);
size_t filter7x7_scratch(int K, int H, int W);
// An image of which each value belongs to a plane, a row, a column and a lane, in this order: planar
// (3, H, W, 1), or interleaved (1, H, W, 3).
struct Pixels {
    int planes, H, W, lanes;
};
void binomial_down(Pixels, const float* x, float* y, cudaStream_t);
void binomial_down_backward(Pixels, const float* dy, float keep, const float* x, float* dx,
                            cudaStream_t);

// ---- losses; M pixels, Gram matrices float64 (N, N) ---------------------------------------------

// Factors m of the pixels, (M,), or null for ones; `total` is their sum.
struct PixelWeights {
    const float* values;
    double total;
};
template <class T>
void gram(const T* F, int N, int M, PixelWeights m, Products products, double* G, void* scratch,
          cudaStream_t);
size_t gram_scratch(int N, int M);           // without factors of the pixels
size_t gram_weighted_scratch(int N, int M);  // with them
template <class T>
void content_loss(const T* F, const T* P, int N, int M, double k, const float* s, const float* m,
                  GradientScale* scale, T* dF, double* loss, void* scratch, EvaluationEnd* end,
                  cudaStream_t);
size_t content_loss_scratch(int N, int M);
// style_loss is launched in two steps, of which the first one needs no dF: it can run as soon as G
// is there, beside other ops. gram_difference is gram and style_difference in one kernel fewer; its
// `scratch` is that of gram. `difference` belongs to both steps; T, k, the pixels' weights and the
// products have to be the same for both.
template <class T>
void style_difference(const double* G, const double* A, int N, double k, const double* s,
                      double total_weight, Products products, const GradientScale* scale,
                      void* difference, cudaStream_t);
template <class T>
void gram_difference(const T* F, int N, int M, PixelWeights m, const double* A, double k,
                     const double* s, Products products, const GradientScale* scale, double* G,
                     void* scratch, void* difference, cudaStream_t);
template <class T>
void style_loss(const T* F, void* difference, int N, int M, double k, const float* m,
                Products products, GradientScale* scale, T* dF, double* loss, cudaStream_t);
size_t style_difference_scratch(int N);
void total_variation(const float* x, int H, int W, double k, bool circular, float* dx,
                     double* loss, void* scratch, EvaluationEnd* end, cudaStream_t);
size_t total_variation_scratch(int H, int W);

// ---- image (H, W, 3) in [0, 1] to the network's input planes (3, H, W), and the gradient back ---

struct InputAxes {
    float axes[9];  // plane p = sum_c axes[3 p + c] * (255 * image_c - mean_c)
    float mean[3];
};
void image_input(const float* image, InputAxes axes, int H, int W, float* x, cudaStream_t);
// Ends the evaluation, too: after it no op of the evaluation may need the loss scale.
void image_input_backward(const float* dx, InputAxes axes, int H, int W, float* gradient,
                          EvaluationEnd* end, cudaStream_t);

// ---- L-BFGS (pynst/optimizers/device_vectors.py): vectors of n values ---------------------------

// The pairs are (2 rows, n): s in row i, y in row rows + i. One row is spare, so that with 11 rows
// L-BFGS keeps 10 pairs.
constexpr int kMostPairRows = 11;

// Scalar products that lbfgs_arrive computes: four without the pairs, and two with each vector.
constexpr int lbfgs_arrive_sums(int rows) {
    return 4 + 2 * 2 * rows;
}

// The filters of destripe, each the factor of a pixel, of its neighbours, and so on. kSmooth is a
// Gaussian of two pixels; kShort keeps 0.04 of a wave of five pixels, 0.15 of one of four, 0.69 of
// 2.5 and 0.87 of two.
constexpr int kSmoothReach = 6, kShortReach = 2;
constexpr float kSmooth[kSmoothReach + 1] = {
    0.19967f, 0.17621f, 0.12110f, 0.06483f, 0.02702f, 0.00877f, 0.002235f};
constexpr float kShort[kShortReach + 1] = {0.295f, -0.2175f, 0.07f};
void destripe(const float* x, int H, int W, float* y, cudaStream_t);

struct PairCoefficients {
    int count;                      // how many rows take part
    int row[2 * kMostPairRows];
    double factor[2 * kMostPairRows];
    double factor_of_h;
};
void lbfgs_direction(const float* pairs, PairCoefficients c, const float* h, size_t n, float* d,
                     cudaStream_t);
void lbfgs_step(const float* x, const float* d, double t, size_t n, float* next, float* seen,
                cudaStream_t);
void lbfgs_gradient(const float* next, const float* gradient, double pull, size_t n, float* next_g,
                    cudaStream_t);
struct Arrival {
    const float* x;       // where the step began
    const float* g;       // the gradient there
    const float* h;       // M g
    const float* d;       // the direction of the step
    const float* next;    // where the step ends
    const float* next_g;  // the gradient there
    const float* next_h;  // M times it
    float* pairs;
    int rows;
    int spare;            // the row of the pairs that this step is written to
    size_t n;
};
// sums: lbfgs_arrive_sums(rows) values, in the order that lbfgs_arrive.cu tells
void lbfgs_arrive(const Arrival& step, double* sums, void* scratch, cudaStream_t);
size_t lbfgs_arrive_scratch(int rows, size_t n);

// clang-format on

}  // namespace pynst
