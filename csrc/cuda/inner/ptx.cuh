// ptx.cuh: all PTX of the kernels, one instruction per wrapper (sm_75 and newer).
//
// Each wrapper has a twin for g++ in tests/cuda_on_cpu, and a conformance test that can run on a
// GPU. sm_75 lacks cp.async and the product with k = 16; there a wrapper does the same in two
// steps. Before sm_90 there are no clusters of blocks: kernels ask kHasClusters before they call a
// wrapper for clusters, which does nothing there.

#pragma once

#include "platform.cuh"

#ifdef PYNST_CUDA_ON_CPU

#include "ptx_on_cpu.h"

#elif defined(__CUDACC__)

namespace pynst {

// d (16 x 8, float32) += a (16 x 16) * b (16 x 8), halves. With g = lane / 4, t = lane % 4:
//   a[0] = row g, columns 2t 2t+1; a[1] = row g + 8; a[2], a[3] the same, columns + 8
//   b[0] = rows 2t 2t+1 of column g; b[1] = rows + 8
//   d[0], d[1] = row g, columns 2t 2t+1; d[2], d[3] = row g + 8
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4],
                                             const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
    for (int half_of_k = 0; half_of_k < 2; ++half_of_k) {
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[2 * half_of_k]), "r"(a[2 * half_of_k + 1]), "r"(b[half_of_k]));
    }
#endif
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four 8 x 8 matrices of halves; lane l gives the address of row l % 8 of matrix l / 8, 16-byte
// aligned; r[i] = row lane / 4, columns 2 (lane % 4) and the next, of matrix i.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// As ldmatrix_x4, each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Copies 16 bytes from global to shared memory, or writes zeros where !valid; both 16-byte aligned.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    *static_cast<uint4*>(shared) =
        valid ? *static_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
#endif
}

// Closes a group of copies.
__device__ __forceinline__ void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most N groups of this thread's copies are under way.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

#if __CUDA_ARCH__ >= 900
constexpr bool kHasClusters = true;
#else
constexpr bool kHasClusters = false;
#endif

// A place in the shared memory of any block of the cluster; it counts bytes.
using ClusterPointer = uint32_t;

// Waits until all threads of the cluster have come here. What each of them wrote to shared memory
// is then seen by all.
__device__ __forceinline__ void cluster_barrier() {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::
            : "memory");
#endif
}

// The place in the shared memory of block `rank` of the cluster at which `p` lies in one's own.
__device__ __forceinline__ ClusterPointer of_block(const void* p, int rank) {
    ClusterPointer place = 0;
#if __CUDA_ARCH__ >= 900
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(place) : "r"(shared_address(p)), "r"(rank));
#endif
    return place;
}

// Reads 16 bytes, 16-byte aligned.
__device__ __forceinline__ float4 load_from_cluster(ClusterPointer from) {
    float4 v = {};
#if __CUDA_ARCH__ >= 900
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(from)
                 : "memory");
#endif
    return v;
}

}  // namespace pynst

#endif
