// split.cuh: a float32 number as two halves, for float32 products on tensor cores.
//
//   v = high + low / 2048,  a b ~ high_a high_b + (high_a low_b + low_a high_b) / 2048
//
// 22 bits of the mantissa; what the third product would add is below 2^-22 of a b. The factor keeps
// the low part clear of the subnormal halves, and the two sums are kept apart, each in float32.
// |v| has to stay below 65504: features and gradients are scaled by powers of two to see to that.
//
// H. Ootomo, R. Yokota, "Recovering single precision accuracy from Tensor Cores while surpassing the
// FP32 theoretical peak performance", 2022.

#pragma once

#include "platform.cuh"

namespace pynst {

constexpr float kSplitScale = 2048.0f;

struct Split {
    half high;
    half low;
};

__device__ __forceinline__ Split split(float value) {
    const half high = __float2half(value);
    return {high, __float2half((value - __half2float(high)) * kSplitScale)};
}

}  // namespace pynst
