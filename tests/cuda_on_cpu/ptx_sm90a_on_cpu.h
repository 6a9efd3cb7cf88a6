// ptx_sm90a_on_cpu.h: a twin of every wrapper of csrc/cuda/inner/ptx_sm90a.cuh, which tells what each does.
//
// Bulk copies land at some later time, by CUDA_ON_CPU_SEED; the tile holds NaN until then. Products
// run when their group is waited for, and d holds NaN until then.

#pragma once

#include "ptx_on_cpu.h"

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

struct TensorMap {
    const char* base;
    std::uint64_t size[3], stride[3];
    std::uint32_t box[3];
};
TensorMap tensor_map(const void* base,
                     const std::uint64_t* size,
                     const std::uint64_t* stride,
                     const std::uint32_t* box);

void mbarrier_init(std::uint64_t* barrier, int arrivals, Site site);
void mbarrier_arrive(std::uint64_t* barrier, long bytes, Site site);
void mbarrier_wait(std::uint64_t* barrier, int parity, Site site);
void tma_load(void* tile, const TensorMap& map, std::uint64_t* barrier, const int* at, Site site);
std::uint64_t wgmma_descriptor(const void* tile, Site site);
void wgmma(int n, float* d, std::uint64_t a, std::uint64_t b, bool accumulate, Site site);
void wgmma_fence(Site site);
void wgmma_commit(Site site);
void wgmma_wait(int groups, Site site);
void set_registers(int n, Site site);

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL

namespace pynst {

using cuda_on_cpu::TensorMap;

struct TensorShape {
    std::uint64_t size[3];
    std::uint64_t stride[3];
    std::uint32_t box[3];
};
inline TensorMap tensor_map(const half* base, const TensorShape& shape) {
    return cuda_on_cpu::tensor_map(base, shape.size, shape.stride, shape.box);
}

inline void mbarrier_init(std::uint64_t* barrier, int arrivals, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::mbarrier_init(barrier, arrivals, CUDA_ON_CPU_HERE);
}
inline void mbarrier_fence_init() {}
inline void mbarrier_arrive(std::uint64_t* barrier, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::mbarrier_arrive(barrier, 0, CUDA_ON_CPU_HERE);
}
inline void mbarrier_arrive_expect(std::uint64_t* barrier, int bytes, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::mbarrier_arrive(barrier, bytes, CUDA_ON_CPU_HERE);
}
inline void mbarrier_wait(std::uint64_t* barrier, int parity, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::mbarrier_wait(barrier, parity, CUDA_ON_CPU_HERE);
}
inline void tma_load(void* tile,
                     const TensorMap& map,
                     std::uint64_t* barrier,
                     int x,
                     int y,
                     int z,
                     CUDA_ON_CPU_SITE) {
    const int at[3] = {x, y, z};
    cuda_on_cpu::tma_load(tile, map, barrier, at, CUDA_ON_CPU_HERE);
}
inline void fence_async_proxy() {}

inline std::uint64_t wgmma_descriptor(const void* tile, CUDA_ON_CPU_SITE) {
    return cuda_on_cpu::wgmma_descriptor(tile, CUDA_ON_CPU_HERE);
}
inline void wgmma_fence(CUDA_ON_CPU_SITE) {
    cuda_on_cpu::wgmma_fence(CUDA_ON_CPU_HERE);
}
inline void wgmma_commit(CUDA_ON_CPU_SITE) {
    cuda_on_cpu::wgmma_commit(CUDA_ON_CPU_HERE);
}
template <int N>
inline void wgmma_wait(CUDA_ON_CPU_SITE) {
    cuda_on_cpu::wgmma_wait(N, CUDA_ON_CPU_HERE);
}
template <int N>
inline void wgmma_m64k16(
    float (&d)[N / 2], std::uint64_t a, std::uint64_t b, bool accumulate, CUDA_ON_CPU_SITE) {
    static_assert(N == 64 || N == 128 || N == 256, "no such width");
    cuda_on_cpu::wgmma(N, d, a, b, accumulate, CUDA_ON_CPU_HERE);
}

template <int N>
inline void registers_give(CUDA_ON_CPU_SITE) {
    cuda_on_cpu::set_registers(N, CUDA_ON_CPU_HERE);
}
template <int N>
inline void registers_take(CUDA_ON_CPU_SITE) {
    cuda_on_cpu::set_registers(N, CUDA_ON_CPU_HERE);
}

}  // namespace pynst
