// gradient_scale.cu: the loss scale, a power of two that keeps feature gradients within the range
// of halves.
//
//   m = largest of |scale * gradient|;  accepted = m is 0 or in [2^0, 2^15);
//   last = scale;  scale = the power of two that puts m into [2^9, 2^10);  largest = 0
//
//   in      GradientScale, in device memory; `largest` is gathered by the ops in between.
//   out     the same, updated.
//   mapping one thread: a few integers, so that nothing has to be copied to the host.
//   bounds  scale stays within 2^-60 .. 2^60; an m that is infinite or a NaN counts as too large.
//   order   one thread.
//   cost    one launch at the end of an evaluation, which leaves the scale ready for the next one.
//
// Why these numbers. A half is at most 65504 and loses bits below 2^-14. `largest` is noted before
// rounding, so that it is right even where the half overflows. The backward pass notes it at each
// layer. With m in [2^9, 2^10) gradients may grow by six powers of two until the next evaluation.
// The limit is 2^15 rather than 65504, which leaves a factor of two for sums that are rounded on
// the way to the number that is noted. An m below 2^0 is refused: typical gradients are some
// fourteen powers of two smaller than the largest one, and would lose bits. While m stays within
// [2^5, 2^13) the scale is not changed, since a scale that changes from one evaluation to the next
// rounds equal inputs differently. An infinite m tells nothing about the right scale; steps of
// 2^-12 reach any gradient in a few evaluations. Where the limits of the scale leave it as it is,
// another evaluation would end in the same way, and so this one is accepted.

#include "inner/common.cuh"

namespace pynst {
namespace {

constexpr int kTarget = 9;                   // exponent of m to aim for
constexpr int kRestLow = 5, kRestHigh = 13;  // no change within 2^5 <= m < 2^13
constexpr int kLow = 0, kHigh = 15;          // accepted within 2^0 <= m < 2^15
constexpr int kOverflowStep = 12;            // powers of two that the scale falls after an overflow
constexpr int kLimit = 60;                   // largest magnitude of the scale's exponent
constexpr unsigned kInfinity = 0x7f800000u;

// floor(log2(value)) of a positive number from its bits; -127 for all subnormals.
__device__ int exponent_of(unsigned bits) {
    return static_cast<int>(bits >> 23) - 127;
}

__device__ float power_of_two(int exponent) {
    return __uint_as_float(static_cast<unsigned>(exponent + 127) << 23);
}

__device__ int next_exponent(int scale_exponent, unsigned largest) {
    const int m = exponent_of(largest);
    if (largest == 0 || (m >= kRestLow && m < kRestHigh)) {
        return scale_exponent;
    }
    const int next = scale_exponent + (largest >= kInfinity ? -kOverflowStep : kTarget - m);
    return next < -kLimit ? -kLimit : next > kLimit ? kLimit : next;
}

__global__ void gradient_scale_end_kernel(GradientScale* scale) {
    const unsigned largest = scale->largest;
    const int m = exponent_of(largest), now = exponent_of(__float_as_uint(scale->scale));
    const int next = next_exponent(now, largest);
    scale->last = scale->scale;
    scale->scale = power_of_two(next);
    scale->largest = 0;
    scale->accepted = largest == 0 || (m >= kLow && m < kHigh) || next == now;
}

}  // namespace

void gradient_scale_end(GradientScale* scale, cudaStream_t stream) {
    LAUNCH(gradient_scale_end_kernel, (1), (1), 0, stream, scale);
    CHECK_LAUNCH("gradient_scale_end");
}

}  // namespace pynst
