// ptx_on_cpu.h: a twin of every wrapper in csrc/cuda/inner/ptx.cuh, which tells what each of them
// does.

#pragma once

#include "machine.h"

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

struct Product {
    const std::uint32_t *a, *b;
    float* d;
};
struct Rows {
    uint4 row;             // the 16 bytes this lane points to
    std::uint32_t* parts;  // what the lane gets of the four matrices
};
extern const Collective kProduct, kLoadMatrix, kLoadMatrixTransposed;

// cp.async: a copy lands when its group is waited for, and no earlier; until then its target holds
// NaN. The wrapper makes the copies itself, so that sanitizers report the line of the kernel.
void begin_copy(void* to, const void* from, Site site);
void close_copies();
bool next_landing(std::size_t groups_left, void** to, const void** from);

// Inlined, and seen by the sanitizers as an access of the kernel.
__forceinline__ uint4 load_16(const void* from) {
    return *static_cast<const uint4*>(from);
}
__forceinline__ void store_16(void* to, uint4 value) {
    *static_cast<uint4*>(to) = value;
}

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL

namespace pynst {

inline void mma_m16n8k16(float (&d)[4],
                         const std::uint32_t (&a)[4],
                         const std::uint32_t (&b)[2],
                         CUDA_ON_CPU_SITE) {
    cuda_on_cpu::Product product{a, b, d};
    cuda_on_cpu::meet(cuda_on_cpu::kProduct, ~0u, &product, CUDA_ON_CPU_HERE);
}

__forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::need_shared("ldmatrix", row, 16, 16, CUDA_ON_CPU_HERE);
    cuda_on_cpu::Rows rows{cuda_on_cpu::load_16(row), r};
    cuda_on_cpu::meet(cuda_on_cpu::kLoadMatrix, ~0u, &rows, CUDA_ON_CPU_HERE);
}

__forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::need_shared("ldmatrix", row, 16, 16, CUDA_ON_CPU_HERE);
    cuda_on_cpu::Rows rows{cuda_on_cpu::load_16(row), r};
    cuda_on_cpu::meet(cuda_on_cpu::kLoadMatrixTransposed, ~0u, &rows, CUDA_ON_CPU_HERE);
}

__forceinline__ void cp_async_16(void* shared, const void* global, bool valid, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::begin_copy(shared, valid ? global : nullptr, CUDA_ON_CPU_HERE);
    if (valid) {
        cuda_on_cpu::store_16(shared,
                              cuda_on_cpu::load_16(global));  // both are touched from now on
    }
    cuda_on_cpu::store_16(shared, {~0u, ~0u, ~0u, ~0u});
}

inline void cp_async_commit() {
    cuda_on_cpu::close_copies();
}

template <int N>
__forceinline__ void cp_async_wait() {
    void* to;
    const void* from;
    while (cuda_on_cpu::next_landing(N, &to, &from)) {
        cuda_on_cpu::store_16(to, from == nullptr ? uint4{0, 0, 0, 0} : cuda_on_cpu::load_16(from));
    }
}

constexpr bool kHasClusters = true;

using ClusterPointer = const char*;

inline void cluster_barrier(CUDA_ON_CPU_SITE) {
    cuda_on_cpu::cluster_barrier(CUDA_ON_CPU_HERE);
}

inline ClusterPointer of_block(const void* p, int rank, CUDA_ON_CPU_SITE) {
    return cuda_on_cpu::of_block(p, rank, CUDA_ON_CPU_HERE);
}

__forceinline__ float4 load_from_cluster(ClusterPointer from, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::need_cluster_shared("ld.shared::cluster", from, CUDA_ON_CPU_HERE);
    return *reinterpret_cast<const float4*>(from);
}

}  // namespace pynst
