// conformance_sm90a.cu: the same as conformance.cu, for the wrappers of ptx_sm90a.cuh.

#include "conformance.h"
#include "warpgroup_product.cuh"

namespace pynst {
namespace {

// One box of (z, y, x) halves, as it lies in shared memory.
__global__ void bulk_copy_kernel(
    const __grid_constant__ TensorMap map, int x, int y, int z, int count, uint16_t* tile_out) {
    DYN_SHARED(unsigned char, memory);
    uint64_t* landed = reinterpret_cast<uint64_t*>(memory + 2 * count);
    if (threadIdx.x == 0) {
        mbarrier_init(landed, 1);
        mbarrier_fence_init();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect(landed, 2 * count);
        tma_load(memory, map, landed, x, y, z);
    }
    mbarrier_wait(landed, 0);
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        tile_out[i] = reinterpret_cast<const uint16_t*>(memory)[i];
    }
}

// d (64, N) += a (64, 64) b (N, 64)^T; the tiles are stored by hand, swizzled.
template <int N>
__global__ void warpgroup_kernel(const uint4* a, const uint4* b, float* d) {
    DYN_SHARED(unsigned char, memory);
    unsigned char* tile_b = memory + 64 * kRowBytes;
    const auto store = [](unsigned char* tile, const uint4* rows, int count) {
        for (int i = threadIdx.x; i < 8 * count; i += blockDim.x) {
            const int row = i / 8, chunk = i % 8 ^ row % 8;
            *reinterpret_cast<uint4*>(tile + row * kRowBytes + 16 * chunk) = rows[i];
        }
    };
    store(memory, a, 64);
    store(tile_b, b, N);
    fence_async_proxy();
    __syncthreads();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const auto at = [=](int j) {
        return (16 * warp + lane / 4 + 8 * (j / 2 % 2)) * N + 8 * (j / 4) + lane % 4 * 2 + j % 2;
    };
    float values[N / 2];
    for (int j = 0; j < N / 2; ++j) {
        values[j] = d[at(j)];
    }
    wgmma_fence();
    for (int k = 0; k < 4; ++k) {
        wgmma_m64k16<N>(
            values, wgmma_descriptor(memory) + 2 * k, wgmma_descriptor(tile_b) + 2 * k, true);
        if (k == 1) {
            wgmma_commit();
        }
    }
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_wait<0>();
    for (int j = 0; j < N / 2; ++j) {
        d[at(j)] = values[j];
    }
}

// Threads of one warp pass a value around through a barrier of two phases.
__global__ void mbarrier_kernel(const int* values, int* results) {
    SHARED(uint64_t, barrier, 1);
    SHARED(int, passed, 128);
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 128);
        mbarrier_fence_init();
    }
    __syncthreads();
    passed[threadIdx.x] = values[threadIdx.x];
    mbarrier_arrive(barrier);
    mbarrier_wait(barrier, 0);
    const int next = passed[(threadIdx.x + 1) % 128];
    mbarrier_arrive(barrier);
    mbarrier_wait(barrier, 1);
    passed[threadIdx.x] = 2 * next;
    mbarrier_arrive(barrier);
    mbarrier_wait(barrier, 0);
    results[threadIdx.x] = passed[(threadIdx.x + 1) % 128];
}

template <int N>
void run_warpgroup(const uint4* a, const uint4* b, float* d) {
    const size_t bytes = (64 + N) * kRowBytes;
    LAUNCH(warpgroup_kernel<N>, (1), (128), bytes, nullptr, a, b, d);
    CHECK_LAUNCH("warpgroup");
}

}  // namespace
}  // namespace pynst

using namespace pynst;

// array (sizes[2], sizes[1], sizes[0]), dense; at: x, y, z of the box's corner.
EXPORT void bulk_copy(
    const half* array, const int* sizes, const int* box, const int* at, uint16_t* tile) {
    TensorShape shape{};
    uint64_t stride = 2;
    for (int axis = 0; axis < 3; ++axis) {
        shape.size[axis] = static_cast<uint64_t>(sizes[axis]);
        shape.stride[axis] = stride;
        shape.box[axis] = static_cast<uint32_t>(box[axis]);
        stride *= shape.size[axis];
    }
    const int count = box[0] * box[1] * box[2];
    const size_t bytes = 2 * static_cast<size_t>(count) + sizeof(uint64_t);
    LAUNCH(bulk_copy_kernel,
           (1),
           (64),
           bytes,
           nullptr,
           tensor_map(array, shape),
           at[0],
           at[1],
           at[2],
           count,
           tile);
    CHECK_LAUNCH("bulk_copy");
}
EXPORT void warpgroup_64(const uint4* a, const uint4* b, float* d) {
    run_warpgroup<64>(a, b, d);
}
EXPORT void warpgroup_128(const uint4* a, const uint4* b, float* d) {
    run_warpgroup<128>(a, b, d);
}
EXPORT void warpgroup_256(const uint4* a, const uint4* b, float* d) {
    run_warpgroup<256>(a, b, d);
}
EXPORT void mbarrier(const int* values, int* results) {
    LAUNCH(mbarrier_kernel, (1), (128), 0, nullptr, values, results);
    CHECK_LAUNCH("mbarrier");
}
EXPORT void product_by_warpgroups(const half* A, const half* B, int M, int N, int K, float* C) {
    warpgroup_product<kNoneInProduct>(A, B, M, N, K, C, nullptr);
}
