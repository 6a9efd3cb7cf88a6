// evaluation_end.cu: what is left to do when all other kernels of an evaluation have run: the losses
// whose blocks' sums are not added up yet, and the loss scale.
//
//   loss = factor * (partials[0] + ... + partials[count - 1])
//
//   m = largest of |scale * gradient|;  accepted = m is 0 or in [2^0, 2^15);
//   last = scale;  scale = the power of two that puts m into [2^9, 2^10);  largest = 0
//
//   in      the sums that ops have left open; GradientScale, in device memory, whose `largest` is
//           gathered by the ops in between, or null.
//   out     the losses, overwritten; GradientScale, updated.
//   mapping one block: a sum after the other, then a few integers in one thread, so that nothing has
//           to be copied to the host.
//   bounds  at most kMostOpenSums sums; scale stays within 2^-60 .. 2^60; an m that is infinite or a
//           NaN counts as too large.
//   order   a sum in float64, in a fixed tree of 256 threads.
//   cost    as part of image_input_backward, the last kernel of most evaluations, no launch; else
//           one. It leaves the scale ready for the next evaluation.
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

#include "inner/evaluation_end.cuh"

namespace pynst {
namespace {

__global__ void __launch_bounds__(kEndThreads) evaluation_end_kernel(EvaluationEnd end) {
    end_evaluation(end);
}

}  // namespace

void evaluation_end(EvaluationEnd* end, cudaStream_t stream) {
    if (!end->done && (end->count > 0 || end->scale != nullptr)) {
        LAUNCH(evaluation_end_kernel, (1), (kEndThreads), 0, stream, *end);
        CHECK_LAUNCH("evaluation_end");
    }
    end->count = 0;
    end->done = false;
}

void add_up(const LossSum& sum, EvaluationEnd* end, cudaStream_t stream) {
    if (end != nullptr && end->count < kMostOpenSums) {
        end->sums[end->count++] = sum;
        return;
    }
    EvaluationEnd now = {nullptr, 1, {sum}, false};
    evaluation_end(&now, stream);
}

}  // namespace pynst
