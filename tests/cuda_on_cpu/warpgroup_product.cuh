// warpgroup_product.cuh: a product of two matrices the way Hopper likes it, to try ptx_sm90a.cuh on.
//
//   C_mn = sum_k A_mk B_nk
//
//   in      A (M, K), B (N, K) half, row-major, as bulk-copy maps with boxes of 64 x 128 and 64 x 64.
//   out     C (M, N) float32, row-major, overwritten.
//   mapping one block per 128 x 64 tile of C: a warpgroup that fetches, two that multiply 64 rows
//           each; a ring of kStages slots between them.
//   bounds  any M, N >= 1, K a multiple of 8: what lies outside is fetched as zeros.
//   order   along K, 64 at a time.
//   cost    A is read ceil(N / 64) times, B ceil(M / 128) times.
//
// `Planted` leaves out one step, for the tests that see it missed; 0 leaves out none.

#pragma once

#include "inner/ptx_sm90a.cuh"

namespace pynst {

enum PlantedInProduct {
    kNoneInProduct,
    kFetchWithoutWaiting,     // the producer does not wait for a free slot
    kMultiplyWithoutWaiting,  // the consumers do not wait for a full slot
    kReleaseTooEarly,         // a slot is released before the products that read it are done
};

constexpr int kStages = 4, kRowBytes = 128;
constexpr int kBytesOfA = 128 * kRowBytes, kBytesOfB = 64 * kRowBytes;
constexpr size_t kProductShared =
    kStages * (kBytesOfA + kBytesOfB) + 2 * kStages * sizeof(uint64_t);

struct Ring {
    unsigned char *a, *b;
    uint64_t *full, *empty;
};

template <int Planted>
__device__ __forceinline__ void fetch_tiles(const Ring& ring,
                                            const TensorMap& map_a,
                                            const TensorMap& map_b,
                                            int steps) {
    for (int step = 0; step < steps; ++step) {
        const int slot = step % kStages;
        if (step >= kStages && Planted != kFetchWithoutWaiting) {
            mbarrier_wait(ring.empty + slot, (step / kStages - 1) & 1);
        }
        mbarrier_arrive_expect(ring.full + slot, kBytesOfA + kBytesOfB);
        const int m = blockIdx.y * 128, n = blockIdx.x * 64;
        tma_load(ring.a + slot * kBytesOfA, map_a, ring.full + slot, 64 * step, m, 0);
        tma_load(ring.b + slot * kBytesOfB, map_b, ring.full + slot, 64 * step, n, 0);
    }
}

// d: this warpgroup's 64 x 64.
template <int Planted>
__device__ __forceinline__ void multiply_tiles(const Ring& ring,
                                               int warpgroup,
                                               int steps,
                                               float (&d)[32]) {
    for (int step = 0; step < steps; ++step) {
        const int slot = step % kStages;
        if (Planted != kMultiplyWithoutWaiting) {
            mbarrier_wait(ring.full + slot, step / kStages & 1);
        }
        wgmma_fence();
        const unsigned char* rows = ring.a + slot * kBytesOfA + warpgroup * 64 * kRowBytes;
        const uint64_t a = wgmma_descriptor(rows), b = wgmma_descriptor(ring.b + slot * kBytesOfB);
        for (int k = 0; k < 4; ++k) {
            wgmma_m64k16<64>(d, a + 2 * k, b + 2 * k, step + k > 0);
        }
        wgmma_commit();
        if (Planted != kReleaseTooEarly) {
            wgmma_wait<0>();
        }
        if (threadIdx.x % 128 == 0) {
            mbarrier_arrive(ring.empty + slot);
        }
        if (Planted == kReleaseTooEarly) {
            wgmma_wait<0>();
        }
    }
}

template <int Planted>
__global__ void __launch_bounds__(384, 1)
    warpgroup_product_kernel(const __grid_constant__ TensorMap map_a,
                             const __grid_constant__ TensorMap map_b,
                             int M,
                             int N,
                             int K,
                             float* C) {
    DYN_SHARED(unsigned char, memory);
    uint64_t* barriers = reinterpret_cast<uint64_t*>(memory + kStages * (kBytesOfA + kBytesOfB));
    const Ring ring{memory, memory + kStages * kBytesOfA, barriers, barriers + kStages};
    if (threadIdx.x == 0) {
        for (int slot = 0; slot < kStages; ++slot) {
            mbarrier_init(ring.full + slot, 1);
            mbarrier_init(ring.empty + slot, 2);
        }
        mbarrier_fence_init();
    }
    __syncthreads();
    const int steps = (K + 63) / 64;
    if (threadIdx.x < 128) {
        registers_give<40>();
        if (threadIdx.x == 0) {
            fetch_tiles<Planted>(ring, map_a, map_b, steps);
        }
        return;
    }
    registers_take<232>();
    const int warpgroup = threadIdx.x / 128 - 1;
    float d[32];
    multiply_tiles<Planted>(ring, warpgroup, steps, d);
    const int first_row = blockIdx.y * 128 + warpgroup * 64 + threadIdx.x % 128 / 32 * 16;
    const int lane = threadIdx.x % 32;
    for (int j = 0; j < 32; ++j) {
        const int m = first_row + lane / 4 + 8 * (j / 2 % 2);
        const int n = blockIdx.x * 64 + 8 * (j / 4) + lane % 4 * 2 + j % 2;
        if (m < M && n < N) {
            C[static_cast<size_t>(m) * N + n] = d[j];
        }
    }
}

template <int Planted>
void warpgroup_product(
    const half* A, const half* B, int M, int N, int K, float* C, cudaStream_t stream) {
    const auto map = [K](const half* matrix, int rows, uint32_t box) {
        const uint64_t count = static_cast<uint64_t>(rows), row = 2 * static_cast<uint64_t>(K);
        return tensor_map(
            matrix, {{static_cast<uint64_t>(K), count, 1}, {2, row, row * count}, {64, box, 1}});
    };
    const auto kernel = warpgroup_product_kernel<Planted>;
    check(
        cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kProductShared)),
        "warpgroup_product");
    LAUNCH(kernel,
           ((N + 63) / 64, (M + 127) / 128),
           (384),
           kProductShared,
           stream,
           map(A, M, 128),
           map(B, N, 64),
           M,
           N,
           K,
           C);
    CHECK_LAUNCH("warpgroup_product");
}

}  // namespace pynst
