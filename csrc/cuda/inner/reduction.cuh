// reduction.cuh: the sum over a block, in float64 and in a fixed order.
//
// Each block of a loss writes its sum to a slot of its own, and one block adds the slots at the end
// (evaluation_end.cuh): no atomics, so equal inputs give equal bits. It is float64, because a line
// search compares losses that differ little.

#pragma once

#include "common.cuh"

namespace pynst {

// The sum over a block of kThreads threads; thread 0 gets it. Before another call a kernel needs a
// barrier: it could overwrite shared memory that a thread still reads.
template <int kThreads>
__device__ __forceinline__ double block_sum(double value) {
    SHARED(double, of_warp, kThreads / 32);
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = value;
    }
    __syncthreads();
    double total = 0.0;
    for (int warp = 0; warp < kThreads / 32; ++warp) {
        total += of_warp[warp];
    }
    return total;
}

}  // namespace pynst
