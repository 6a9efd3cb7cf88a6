// ptx_sm90a.cuh: all PTX of the kernels for Hopper: bulk copies, their barriers, warpgroup products.
//
// Only files named *_sm90a.cu include this one; nvcc compiles them for sm_90a alone. As in ptx.cuh,
// each wrapper has a twin in tests/cuda_on_cpu and a conformance test.
//
// A tile in shared memory has rows of 64 halves (128 bytes), and is aligned to 1024 bytes. The bulk
// copy stores the 16-byte chunk c of row r at place c ^ (r % 8), which spares bank conflicts, and
// the warpgroup product reads it so ("128-byte swizzle").

#pragma once

#include "../kernels.h"
#include "ptx.cuh"

#ifdef PYNST_CUDA_ON_CPU

#include "ptx_sm90a_on_cpu.h"

#elif defined(__CUDACC__)

#include <cuda.h>

namespace pynst {

// ---- barriers in shared memory (mbarrier) --------------------------------------------------------

// A phase ends when `arrivals` threads have arrived and all announced bytes have landed.
__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
}

// Shows initialised barriers to the copy engine; once, before the block's first barrier.
__device__ __forceinline__ void mbarrier_fence_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

// Arrives, and announces bytes that bulk copies will bring in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* barrier, int bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
}

// Waits until the phase of that parity has ended; phases count from 0.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, int parity) {
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
        "@ended bra done;\n"
        "bra again;\n"
        "done:\n"
        "}" ::"r"(shared_address(barrier)),
        "r"(parity)
        : "memory");
}

// ---- bulk copies (TMA) ---------------------------------------------------------------------------

using TensorMap = CUtensorMap;

// An array of halves with up to three dimensions, the innermost dense, read in boxes of 64 x box[1]
// x box[2]. Strides in bytes, multiples of 16; stride[0] is not read.
struct TensorShape {
    uint64_t size[3];
    uint64_t stride[3];
    uint32_t box[3];
};

inline TensorMap tensor_map(const half* base, const TensorShape& shape) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(cudaGetDriverEntryPointByVersion(
              "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "tensor_map");
    if (found != cudaDriverEntryPointSuccess) {
        throw CudaError("tensor_map: the driver has no cuTensorMapEncodeTiled");
    }
    const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
    const uint32_t every_element[3] = {1, 1, 1};
    TensorMap map;
    if (encode(&map,
               CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
               3,
               const_cast<half*>(base),
               shape.size,
               shape.stride + 1,
               shape.box,
               every_element,
               CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
        throw CudaError("tensor_map: the driver refuses the shape");
    }
    return map;
}

// Fetches the box at (x, y, z) into a tile; what lies outside the array becomes zero. One thread
// calls it; the barrier's phase counts the whole box's bytes.
__device__ __forceinline__ void tma_load(
    void* tile, const TensorMap& map, uint64_t* barrier, int x, int y, int z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(tile)),
        "l"(&map),
        "r"(shared_address(barrier)),
        "r"(x),
        "r"(y),
        "r"(z)
        : "memory");
}

// Orders this thread's ordinary stores to shared memory before later bulk copies and products.
__device__ __forceinline__ void fence_async_proxy() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- products of a warpgroup (wgmma) -------------------------------------------------------------

// What a product reads: rows of 64 halves from `tile` on, 128-byte swizzle. The next 16 of the 64
// columns begin at the descriptor plus 2.
__device__ __forceinline__ uint64_t wgmma_descriptor(const void* tile) {
    const uint64_t start = (shared_address(tile) & 0x3ffff) >> 4;
    const uint64_t eight_rows = 1024 >> 4, swizzle_128 = 1;
    return start | uint64_t{1} << 16 | eight_rows << 32 | swizzle_128 << 62;
}

// Before the first product and whenever d was touched since the last wait.
__device__ __forceinline__ void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Closes a group of products.
__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most N groups are under way.
template <int N>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

#define PYNST_D8(i)                                                                             \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define PYNST_D32(i) PYNST_D8(i), PYNST_D8(i + 8), PYNST_D8(i + 16), PYNST_D8(i + 24)
#define PYNST_R0                                                             \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PYNST_R32                                                                      \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PYNST_R64                                                                      \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define PYNST_R96                                                                                  \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "   \
    "%127"
// "p" is false where d is to be overwritten; the last four: plus a, plus b, both by rows of k.
#define PYNST_WGMMA(n, registers, a_, b_, p_, ...)                                         \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p_                                    \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32.f16.f16 {" registers \
                 "}, " a_ ", " b_ ", p, 1, 1, 0, 0;\n}"                                    \
                 : __VA_ARGS__                                                             \
                 : "l"(a), "l"(b), "r"(accumulate ? 1 : 0)                                 \
                 : "memory")

// d (64 x N, float32) = (accumulate ? d : 0) + a (64 x 16) * b (N x 16)^T, halves, by the 128
// threads of a warpgroup. With w = warp % 4, g = lane / 4, t = lane % 4:
//   d[j] = row 16 w + g + 8 (j / 2 % 2), column 8 (j / 4) + 2 t + j % 2
// d must not be touched until the group's wait.
template <int N>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[N / 2],
                                             uint64_t a,
                                             uint64_t b,
                                             bool accumulate) {
    static_assert(N == 64 || N == 128 || N == 256, "no such width");
    if constexpr (N == 64) {
        PYNST_WGMMA("64", PYNST_R0, "%32", "%33", "%34", PYNST_D32(0));
    } else if constexpr (N == 128) {
        PYNST_WGMMA(
            "128", PYNST_R0 ", " PYNST_R32, "%64", "%65", "%66", PYNST_D32(0), PYNST_D32(32));
    } else {
        PYNST_WGMMA("256",
                    PYNST_R0 ", " PYNST_R32 ", " PYNST_R64 ", " PYNST_R96,
                    "%128",
                    "%129",
                    "%130",
                    PYNST_D32(0),
                    PYNST_D32(32),
                    PYNST_D32(64),
                    PYNST_D32(96));
    }
}

#undef PYNST_WGMMA
#undef PYNST_R0
#undef PYNST_R32
#undef PYNST_R64
#undef PYNST_R96
#undef PYNST_D32
#undef PYNST_D8

// ---- registers -----------------------------------------------------------------------------------

// A warpgroup gives registers back, down to N a thread, or takes more, up to N; multiples of 8.
template <int N>
__device__ __forceinline__ void registers_give() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ __forceinline__ void registers_take() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

}  // namespace pynst

#endif
