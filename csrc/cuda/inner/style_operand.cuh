// style_operand.cuh: what style_difference.cu leaves to style_loss.cu.

#pragma once

#include "common.cuh"

namespace pynst {

// For each row of D its contribution to the loss, and its factor in the product; then D itself as
// the product's right operand.
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
