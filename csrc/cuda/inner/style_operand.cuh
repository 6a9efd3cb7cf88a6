// style_operand.cuh: D as the right operand of F D, and the loss: the first half of style_loss.cu.

#pragma once

#include "common.cuh"
#include "product_tile.cuh"

namespace pynst {

constexpr int kRowThreads = 128;  // threads of a block: a warp for each of four rows

// Each row of D is scaled so that its largest magnitude lies in [2^14, 2^15): halves end at 2^16 and
// keep all their 11 bits down to 2^-14. D is symmetric, so row j is also what makes channel j of
// F D, whose factor takes the scale back.
constexpr int kLargestExponent = 14;

// The layout of scratch: for each row of D its contribution to the loss, and its factor in the
// product; then D itself.
struct StyleScratch {
    double* losses;
    float* factors;
    void* D;

    StyleScratch(int N, void* scratch) {
        losses = static_cast<double*>(scratch);
        factors = reinterpret_cast<float*>(losses + N);
        D = static_cast<char*>(scratch) + head_bytes(N);
    }
    static size_t head_bytes(int N) {
        return (sizeof(double) * N + sizeof(float) * padded(N) + kScratchAlignment - 1) /
               kScratchAlignment * kScratchAlignment;
    }
    static size_t bytes(int N) {
        return head_bytes(N) + sizeof(float) * padded(N) * static_cast<size_t>(padded(N));
    }
};

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

// `weights` is the sum of the pixels' weights.
template <class Operand>
__global__ void __launch_bounds__(kRowThreads) style_operand_kernel(StyleDifference difference,
                                                                    StyleScratch scratch,
                                                                    double k,
                                                                    double weights,
                                                                    const GradientScale* scale) {
    const int i = blockIdx.x * (kRowThreads / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    const int N = difference.N, channels = padded(N);
    if (i >= channels) {
        return;
    }

    // 1. the row's contribution to the loss, and its largest magnitude
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
        scratch.factors[i] = static_cast<float>(ldexp(4.0 * k / weights, -exponent) *
                                                static_cast<double>(gradient_scale_of(scale)));
    }

    // 2. the row of D
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

// The loss, from the contributions of the rows: done once, by the product's first warp, so that no
// kernel has to run for it.
struct StyleTotal {
    const double* losses;
    int N;
    double k;
    double* loss;

    __device__ __forceinline__ void store() const {
        if (blockIdx.x != 0 || threadIdx.x >= 32) {
            return;
        }
        double sum = 0.0;
        for (int row = threadIdx.x; row < N; row += 32) {
            sum += losses[row];
        }
        sum = warp_sum(sum);
        if (threadIdx.x == 0) {
            *loss = k * sum;
        }
    }
};

}  // namespace pynst
