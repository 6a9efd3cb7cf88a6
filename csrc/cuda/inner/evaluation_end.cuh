// evaluation_end.cuh: the end of an evaluation, for the kernel that happens to be the last one; see
// evaluation_end.cu.

#pragma once

#include "common.cuh"
#include "reduction.cuh"

namespace pynst {

constexpr int kEndThreads = 256;  // of the block that calls end_evaluation

constexpr int kTarget = 9;                   // exponent of m to aim for
constexpr int kRestLow = 5, kRestHigh = 13;  // no change within 2^5 <= m < 2^13
constexpr int kLow = 0, kHigh = 15;          // accepted within 2^0 <= m < 2^15
constexpr int kOverflowStep = 12;            // powers of two that the scale falls after an overflow
constexpr int kLimit = 60;                   // largest magnitude of the scale's exponent
constexpr unsigned kInfinity = 0x7f800000u;

// floor(log2(value)) of a positive number from its bits; -127 for all subnormals.
__device__ __forceinline__ int exponent_of(unsigned bits) {
    return static_cast<int>(bits >> 23) - 127;
}

__device__ __forceinline__ float power_of_two(int exponent) {
    return __uint_as_float(static_cast<unsigned>(exponent + 127) << 23);
}

__device__ __forceinline__ int next_exponent(int scale_exponent, unsigned largest) {
    const int m = exponent_of(largest);
    if (largest == 0 || (m >= kRestLow && m < kRestHigh)) {
        return scale_exponent;
    }
    const int next = scale_exponent + (largest >= kInfinity ? -kOverflowStep : kTarget - m);
    return next < -kLimit ? -kLimit : next > kLimit ? kLimit : next;
}

__device__ __forceinline__ void end_gradient_scale(GradientScale* scale) {
    const unsigned largest = scale->largest;
    const int m = exponent_of(largest), now = exponent_of(__float_as_uint(scale->scale));
    const int next = next_exponent(now, largest);
    scale->last = scale->scale;
    scale->scale = power_of_two(next);
    scale->largest = 0;
    scale->accepted = largest == 0 || (m >= kLow && m < kHigh) || next == now;
}

// Called by all kEndThreads threads of one block, when every other kernel of the evaluation is done.
__device__ __forceinline__ void end_evaluation(const EvaluationEnd& end) {
    for (int i = 0; i < end.count; ++i) {
        const LossSum& open = end.sums[i];
        double sum = 0.0;
        for (int k = threadIdx.x; k < open.count; k += kEndThreads) {
            sum += open.partials[k];
        }
        sum = block_sum<kEndThreads>(sum);
        if (threadIdx.x == 0) {
            *open.loss = open.factor * sum;
        }
        __syncthreads();  // before the next block_sum
    }
    if (threadIdx.x == 0 && end.scale != nullptr) {
        end_gradient_scale(end.scale);
    }
}

}  // namespace pynst
