// common.cuh: the layout of features, the loss scale and small functions that several kernels use.
//
// Features of C channels, H x W pixels: (H, W, padded(C)) values, float or half, pixel by pixel;
// lanes beyond C hold zeros. A ReLU's bits: (H, W, padded(C) / 8) bytes, bit i of byte j for
// channel 8 j + i. A maximum's choices: (h, w, padded(C) / 8) 16-bit words, two bits for each
// channel.

#pragma once

#include "../kernels.h"

namespace pynst {

constexpr unsigned kFullWarp = 0xffffffffu;

__host__ __device__ constexpr int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

__device__ __forceinline__ float to_float(float value) {
    return value;
}
__device__ __forceinline__ float to_float(half value) {
    return __half2float(value);
}

template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}
template <>
__device__ __forceinline__ half from_float<half>(float value) {
    return __float2half(value);
}

// The sum over a warp, in a fixed tree; every lane gets it.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        value += __shfl_xor_sync(kFullWarp, value, step);
    }
    return value;
}

template <class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(kFullWarp, value, step);
        value = other > value ? other : value;
    }
    return value;
}

// Notes the largest magnitude among the gradients of a warp, as computed before rounding to half,
// in `scale`. All lanes take part. A NaN counts as infinite. The maximum does not depend on the
// order in which blocks run.
__device__ __forceinline__ void note_largest(GradientScale* scale, float magnitude) {
    if (scale == nullptr) {
        return;
    }
    unsigned bits = __float_as_uint(magnitude) & 0x7fffffffu;
    bits = warp_max(bits > 0x7f800000u ? 0x7f800000u : bits);
    if (threadIdx.x % 32 == 0 && bits != 0) {
        atomicMax(&scale->largest, bits);
    }
}

__device__ __forceinline__ float gradient_scale_of(const GradientScale* scale) {
    return scale == nullptr ? 1.0f : scale->scale;
}

}  // namespace pynst
