// style_difference.cu: D of the gradient of the style loss, made ready for the product with F.
//
//   D_ij = s_i^2 s_j^2 (G - A)_ij,  sum_j (s_i s_j (G - A)_ij)^2 for each row i
//                                   Gatys et al. 2016, Eq. 4 and 6 up to the constants in k
//
//   in      G as from gram.cu, or F, of which G is computed first (gram_difference); A (N, N)
//           float64, symmetric; k; s (N,) float64 or null for ones; the sum of the pixels' weights;
//           the loss scale by which dF will be multiplied, or null for 1.
//   out     G, if it is computed; D, a factor and a contribution to the loss for each row, as
//           style_loss.cu takes them.
//   mapping a block per eight rows. It adds up the splits of its rows of G (gram_sums.cuh). Then a
//           warp per row: its contribution to the loss, and D times a power of two that brings the
//           row's largest value to 2^14, as half, as two halves (split.cuh) or as float32.
//   bounds  any N >= 1; D is padded with zeros to padded(N).
//   order   the contribution of a row is summed in float64 by 32 lanes.
//   cost    a partial sum above the diagonal is read twice, G and A are read twice, and D is written;
//           other kernels can hide it.

#include "inner/gram_sums.cuh"
#include "inner/split.cuh"
#include "inner/style_operand.cuh"

namespace pynst {
namespace {

static_assert(kGramThreads == 32 * kGramRows, "a warp for each row");

// Each row of D is scaled so that its largest magnitude lies in [2^14, 2^15): halves end at 2^16 and
// keep all their 11 bits down to 2^-14. D is symmetric, so row j is also what makes channel j of
// F D, whose factor takes the scale back.
constexpr int kLargestExponent = 14;

// s_i s_j (G - A)_ij; s is one where it is null.
struct StyleDifference {
    const double* G;
    const double* A;
    const double* s;
    int N;

    __device__ __forceinline__ double scale(int i, int j) const {
        return s == nullptr ? 1.0 : s[i] * s[j];
    }
    __device__ __forceinline__ double at(int i, int j) const {
        const size_t at = static_cast<size_t>(i) * N + j;
        return G[at] - A[at];
    }
};

// An element of D as the product's right operand.
template <class T, Products kProducts>
struct StyleOperand;
template <>
struct StyleOperand<half, Products::tensor> {
    static __device__ __forceinline__ void store(void* D, size_t at, size_t, double value) {
        static_cast<half*>(D)[at] = __float2half(static_cast<float>(value));
    }
};
template <>
struct StyleOperand<float, Products::tensor> {
    static __device__ __forceinline__ void store(void* D, size_t at, size_t size, double value) {
        const Split parts = split(static_cast<float>(value));
        static_cast<half*>(D)[at] = parts.high;
        static_cast<half*>(D)[size + at] = parts.low;
    }
};
template <>
struct StyleOperand<float, Products::simt> {
    static __device__ __forceinline__ void store(void* D, size_t at, size_t, double value) {
        static_cast<float*>(D)[at] = static_cast<float>(value);
    }
};

// The exponent that brings the largest magnitude of a row into [2^14, 2^15).
__device__ __forceinline__ int exponent_of(double largest) {
    return largest > 0.0 && largest < HUGE_VAL ? kLargestExponent - ilogb(largest) : 0;
}

template <class Operand>
__global__ void __launch_bounds__(kGramThreads) style_operand_kernel(GramSums sums,
                                                                     StyleDifference difference,
                                                                     StyleScratch scratch,
                                                                     double k,
                                                                     const GradientScale* scale) {
    const int first = blockIdx.x * kGramRows;
    const int i = first + threadIdx.x / 32, lane = threadIdx.x % 32;
    const int N = difference.N, channels = padded(N);

    // 1. the rows of G
    if (sums.partials != nullptr) {
        set_gram_rows(sums, N, first);
    }

    // 2. the row's contribution to the loss, and its largest magnitude
    double sum = 0.0, largest = 0.0;
    for (int j = lane; j < N && i < N; j += 32) {
        const double s = difference.scale(i, j), scaled = s * difference.at(i, j);
        sum += scaled * scaled;
        largest = fmax(largest, fabs(s * scaled));
    }
    sum = warp_sum(sum);
    const int exponent = exponent_of(warp_max(largest));
    if (lane == 0) {
        if (i < N) {
            scratch.losses[i] = sum;
        }
        scratch.factors[i] = static_cast<float>(ldexp(4.0 * k / sums.total, -exponent) *
                                                static_cast<double>(gradient_scale_of(scale)));
    }

    // 3. the row of D
    const size_t size = static_cast<size_t>(channels) * channels;
    for (int j = lane; j < channels; j += 32) {
        double value = 0.0;
        if (i < N && j < N) {
            const double s = difference.scale(i, j);
            value = ldexp(s * s * difference.at(i, j), exponent);
        }
        Operand::store(scratch.D, static_cast<size_t>(i) * channels + j, size, value);
    }
}

template <class T>
void launch(const GramSums& sums,
            const double* A,
            int N,
            double k,
            const double* s,
            Products products,
            const GradientScale* scale,
            void* difference,
            const char* op,
            cudaStream_t stream) {
    const auto kernel = sizeof(T) == sizeof(half) || products == Products::tensor
                            ? style_operand_kernel<StyleOperand<T, Products::tensor>>
                            : style_operand_kernel<StyleOperand<float, Products::simt>>;
    LAUNCH(kernel,
           (padded(N) / kGramRows),
           (kGramThreads),
           0,
           stream,
           sums,
           StyleDifference{sums.G, A, s, N},
           StyleScratch(N, difference),
           k,
           scale);
    CHECK_LAUNCH(op);
}

}  // namespace

size_t style_difference_scratch(int N) {
    return StyleScratch::bytes(N);
}

template <class T>
void style_difference(const double* G,
                      const double* A,
                      int N,
                      double k,
                      const double* s,
                      double total_weight,
                      Products products,
                      const GradientScale* scale,
                      void* difference,
                      cudaStream_t stream) {
    const GramSums given = {nullptr, {}, total_weight, const_cast<double*>(G)};  // only read
    launch<T>(given, A, N, k, s, products, scale, difference, "style_difference", stream);
}

template <class T>
void gram_difference(const T* F,
                     int N,
                     int M,
                     PixelWeights m,
                     const double* A,
                     double k,
                     const double* s,
                     Products products,
                     const GradientScale* scale,
                     double* G,
                     void* scratch,
                     void* difference,
                     cudaStream_t stream) {
    const GramSums sums = gram_partials(F, N, M, m, products, G, scratch, stream);
    launch<T>(sums, A, N, k, s, products, scale, difference, "gram_difference", stream);
}

template void style_difference<half>(const double*,
                                     const double*,
                                     int,
                                     double,
                                     const double*,
                                     double,
                                     Products,
                                     const GradientScale*,
                                     void*,
                                     cudaStream_t);
template void style_difference<float>(const double*,
                                      const double*,
                                      int,
                                      double,
                                      const double*,
                                      double,
                                      Products,
                                      const GradientScale*,
                                      void*,
                                      cudaStream_t);
template void gram_difference<half>(const half*,
                                    int,
                                    int,
                                    PixelWeights,
                                    const double*,
                                    double,
                                    const double*,
                                    Products,
                                    const GradientScale*,
                                    double*,
                                    void*,
                                    void*,
                                    cudaStream_t);
template void gram_difference<float>(const float*,
                                     int,
                                     int,
                                     PixelWeights,
                                     const double*,
                                     double,
                                     const double*,
                                     Products,
                                     const GradientScale*,
                                     double*,
                                     void*,
                                     void*,
                                     cudaStream_t);

}  // namespace pynst
