// split.cuh: a float32 number as two halves, for float32 products on tensor cores.
//
//   v = high + low / 2048,  a b ~ high_a high_b + (high_a low_b + low_a high_b) / 2048
//
// The two halves keep 22 bits of the mantissa, and the product that is left out, low_a low_b, is
// below 2^-22 of a b. The factor 2048 (kSplitScale) keeps the low half away from the subnormal
// numbers. The two sums are kept apart, each in float32. |v| has to stay below 65504; features and
// gradients are scaled by powers of two so that it does.
//
// H. Ootomo, R. Yokota, "Recovering single precision accuracy from Tensor Cores while surpassing
// the FP32 theoretical peak performance", 2022.

#pragma once

#include "../kernels.h"

namespace pynst {

struct Split {
    half high;
    half low;
};

__device__ __forceinline__ Split split(float value) {
    const half high = __float2half(value);
    return {high, __float2half((value - __half2float(high)) * kSplitScale)};
}

}  // namespace pynst
