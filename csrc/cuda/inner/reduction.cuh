// reduction.cuh: a loss in float64 from the partial sums of many blocks, in a fixed order.
//
// Each block writes its sum to a slot of its own, and one block adds the slots: no atomics, so
// equal inputs give equal bits. It is float64, because a line search compares losses that differ
// little.

#pragma once

#include "common.cuh"

namespace pynst {

// The sum over a block of kThreads threads; thread 0 gets it. A kernel may call this once only: a
// second call could overwrite shared memory that a thread still reads.
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

template <int kThreads>
__global__ void sum_partials_kernel(const double* __restrict__ partials,
                                    int count,
                                    double factor,
                                    double* __restrict__ loss) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += kThreads) {
        sum += partials[i];
    }
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) {
        *loss = factor * sum;
    }
}

// loss = factor * (partials[0] + ... + partials[count - 1])
inline void sum_partials(
    const double* partials, int count, double factor, double* loss, cudaStream_t stream) {
    constexpr int kThreads = 256;
    LAUNCH(
        (sum_partials_kernel<kThreads>), (1), (kThreads), 0, stream, partials, count, factor, loss);
}

}  // namespace pynst
