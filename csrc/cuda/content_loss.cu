// content_loss.cu: squared distance to the content image's features, and its gradient.
//
//   loss = k sum_ip m_p (s_i (F - P)_ip)^2,   dF_ip += 2 k m_p s_i^2 (F - P)_ip
//                                        Gatys et al. 2016, Eq. 1 and 2 with k = 1/2, s = m = 1
//
//   in      F, P (M, padded(N)); k; s (N) or null for ones; m (M) or null for ones; the loss scale
//           or null for 1.
//   out     loss, overwritten; dF (M, padded(N)), times the loss scale, added to.
//   mapping an item is eight channels of a pixel; a thread has kRuns items, a block kRuns *
//           kThreads. The blocks' sums are added up at the end of the evaluation.
//   bounds  any N, M >= 1; the lanes beyond N hold zeros in F and P and add nothing.
//   order   float32 over eight channels, then float64 in a fixed tree.
//   cost    one pass over F and P, reading and writing dF: 16.8 MB of halves for 512 channels of
//           64 x 64 (estimate for an H200 at 4.3 TB/s: 3.9 us).

#include "inner/common.cuh"
#include "inner/lanes.cuh"
#include "inner/reduction.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 256;
constexpr int kRuns = 4;

size_t items(int N, int M) {
    return static_cast<size_t>(padded(N) / kLanes) * M;
}

size_t blocks_for(int N, int M) {
    return (items(N, M) - 1) / (kThreads * kRuns) + 1;
}

// The factors s of the eight channels of an item.
__device__ __forceinline__ void load_factors(const float* __restrict__ s,
                                             size_t item,
                                             int N,
                                             float (&of_lane)[kLanes]) {
    const bool ones = s == nullptr;
    const int channel = ones ? 0 : static_cast<int>(item % (padded(N) / kLanes)) * kLanes;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        of_lane[i] = ones ? 1.0f : channel + i < N ? s[channel + i] : 0.0f;
    }
}

// One item: adds the gradient and returns the sum of squares, both times `weight`. `largest` becomes the largest
// magnitude, as bits; the bits of a NaN are larger than all others.
template <class T>
__device__ __forceinline__ float content_lanes(const T* __restrict__ F,
                                               const T* __restrict__ P,
                                               const float (&s)[kLanes],
                                               float weight,
                                               float factor,
                                               T* __restrict__ dF,
                                               unsigned& largest) {
    float generated[kLanes], content[kLanes], gradient[kLanes];
    load_lanes(F, generated);
    load_lanes(P, content);
    load_lanes(dF, gradient);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        const float difference = s[i] * (generated[i] - content[i]);
        const float weighted = weight * difference;
        sum += weighted * difference;
        gradient[i] += factor * s[i] * weighted;
        const unsigned magnitude = __float_as_uint(gradient[i]) & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
    }
    store_lanes(dF, gradient);
    return sum;
}

template <class T>
__global__ void content_loss_kernel(const T* __restrict__ F,
                                    const T* __restrict__ P,
                                    int N,
                                    size_t items,
                                    double k,
                                    const float* __restrict__ s,
                                    const float* __restrict__ m,
                                    GradientScale* scale,
                                    T* __restrict__ dF,
                                    double* __restrict__ partials) {
    const float factor = static_cast<float>(2.0 * k * gradient_scale_of(scale));
    double sum = 0.0;
    unsigned largest = 0;
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
        const size_t item =
            (static_cast<size_t>(blockIdx.x) * kRuns + run) * kThreads + threadIdx.x;
        if (item >= items) {
            break;
        }
        float of_lane[kLanes];
        load_factors(s, item, N, of_lane);
        const float weight = m == nullptr ? 1.0f : m[item / (padded(N) / kLanes)];
        const size_t at = item * kLanes;
        sum += content_lanes(F + at, P + at, of_lane, weight, factor, dF + at, largest);
    }
    note_largest(scale, __uint_as_float(largest));
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) {
        partials[blockIdx.x] = sum;
    }
}

}  // namespace

size_t content_loss_scratch(int N, int M) {
    return blocks_for(N, M) * sizeof(double);
}

template <class T>
void content_loss(const T* F,
                  const T* P,
                  int N,
                  int M,
                  double k,
                  const float* s,
                  const float* m,
                  GradientScale* scale,
                  T* dF,
                  double* loss,
                  void* scratch,
                  EvaluationEnd* end,
                  cudaStream_t stream) {
    const int blocks = static_cast<int>(blocks_for(N, M));
    double* partials = static_cast<double*>(scratch);
    LAUNCH((content_loss_kernel<T>),
           (blocks),
           (kThreads),
           0,
           stream,
           F,
           P,
           N,
           items(N, M),
           k,
           s,
           m,
           scale,
           dF,
           partials);
    CHECK_LAUNCH("content_loss");
    add_up({partials, blocks, k, loss}, end, stream);
}

template void content_loss(const float*,
                           const float*,
                           int,
                           int,
                           double,
                           const float*,
                           const float*,
                           GradientScale*,
                           float*,
                           double*,
                           void*,
                           EvaluationEnd*,
                           cudaStream_t);
template void content_loss(const half*,
                           const half*,
                           int,
                           int,
                           double,
                           const float*,
                           const float*,
                           GradientScale*,
                           half*,
                           double*,
                           void*,
                           EvaluationEnd*,
                           cudaStream_t);

}  // namespace pynst
