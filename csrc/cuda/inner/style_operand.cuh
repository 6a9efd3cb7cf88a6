// style_operand.cuh: D as the right operand of F D, and the loss: the first half of style_loss.cu.

#pragma once

#include "common.cuh"
#include "product_tile.cuh"

namespace pynst {

constexpr int kRowThreads = 128;  // threads of a block: a warp for each of four rows

// D is scaled so that its largest magnitude lies in [2^14, 2^15): halves end at 2^16 and keep all
// their 11 bits down to 2^-14.
constexpr int kLargestExponent = 14;

// The layout of scratch: for each row of D its contribution to the loss and its largest magnitude,
// then the factor of the product, then D itself.
struct StyleScratch {
    double* losses;
    double* largest;
    float* factor;
    void* D;

    StyleScratch(int N, void* scratch) {
        losses = static_cast<double*>(scratch);
        largest = losses + N;
        factor = reinterpret_cast<float*>(largest + N);
        D = static_cast<char*>(scratch) + head_bytes(N);
    }
    static size_t head_bytes(int N) {
        return (2 * sizeof(double) * N + sizeof(float) + kScratchAlignment - 1) /
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

static __global__ void __launch_bounds__(kRowThreads)
    style_rows_kernel(StyleDifference difference, double* losses, double* largest) {
    const int i = blockIdx.x * (kRowThreads / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (i >= difference.N) {
        return;
    }
    double sum = 0.0, most = 0.0;
    for (int j = lane; j < difference.N; j += 32) {
        const double scale = difference.scale(i, j), scaled = scale * difference.at(i, j);
        sum += scaled * scaled;
        most = fmax(most, fabs(scale * scaled));
    }
    sum = warp_sum(sum);
    most = warp_max(most);
    if (lane == 0) {
        losses[i] = sum;
        largest[i] = most;
    }
}

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

// The exponent that brings the largest |D| into [2^14, 2^15). Every warp computes it anew, and
// finds the same, so that no kernel has to run for it.
__device__ __forceinline__ int exponent_of(const double* largest, int N) {
    double most = 0.0;
    for (int i = threadIdx.x % 32; i < N; i += 32) {
        most = fmax(most, largest[i]);
    }
    most = warp_max(most);
    return most > 0.0 && most < HUGE_VAL ? kLargestExponent - ilogb(most) : 0;
}

template <class Operand>
__global__ void __launch_bounds__(kRowThreads) style_operand_kernel(StyleDifference difference,
                                                                    StyleScratch scratch,
                                                                    double k,
                                                                    double total,
                                                                    const GradientScale* scale,
                                                                    double* loss) {
    const int i = blockIdx.x * (kRowThreads / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    const int N = difference.N, channels = padded(N);
    const int exponent = exponent_of(scratch.largest, N);

    // 1. a row of D
    if (i < channels) {
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

    // 2. the loss and the product's factor, once
    if (i == 0) {
        double sum = 0.0;
        for (int row = lane; row < N; row += 32) {
            sum += scratch.losses[row];
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            *loss = k * sum;
            *scratch.factor = static_cast<float>(ldexp(4.0 * k / total, -exponent) *
                                                 static_cast<double>(gradient_scale_of(scale)));
        }
    }
}

}  // namespace pynst
