// conformance.cu: one small kernel for each wrapper of ptx.cuh and each intrinsic the kernels use.
//
// The stand-in for CUDA and the kernels were written by the same hands, and could share an error.
// So conformance.py compares the results of this file with plain arithmetic, on the stand-in (g++)
// and on a GPU (nvcc).

#include "conformance.h"

namespace pynst {
namespace {

constexpr unsigned kAll = 0xffffffffu;

// d (16, 8) += a (16, 16) b (16, 8), row by row.
__global__ void product_kernel(const half* a, const half* b, float* d) {
    const int group = threadIdx.x / 4, pair = threadIdx.x % 4 * 2;
    const auto packed = [](half low, half high) {
        return static_cast<uint32_t>(__half_as_ushort(low)) |
               static_cast<uint32_t>(__half_as_ushort(high)) << 16;
    };
    uint32_t fa[4], fb[2];
    float fd[4];
    for (int i = 0; i < 4; ++i) {
        const half* from = a + (group + i % 2 * 8) * 16 + pair + i / 2 * 8;
        fa[i] = packed(from[0], from[1]);
        fd[i] = d[(group + i / 2 * 8) * 8 + pair + i % 2];
    }
    for (int i = 0; i < 2; ++i) {
        const half* from = b + (pair + i * 8) * 8 + group;
        fb[i] = packed(from[0], from[8]);
    }
    mma_m16n8k16(fd, fa, fb);
    for (int i = 0; i < 4; ++i) {
        d[(group + i / 2 * 8) * 8 + pair + i % 2] = fd[i];
    }
}

// rows (32, 8) of 16 bits; parts (32, 4): what each lane gets.
template <bool transposed>
__global__ void load_matrix_kernel(const uint4* rows, uint32_t* parts) {
    SHARED(uint4, tile, 32);
    tile[threadIdx.x] = rows[threadIdx.x];
    __syncwarp();
    uint32_t r[4];
    if (transposed) {
        ldmatrix_x4_trans(r, tile + threadIdx.x);
    } else {
        ldmatrix_x4(r, tile + threadIdx.x);
    }
    for (int i = 0; i < 4; ++i) {
        parts[4 * threadIdx.x + i] = r[i];
    }
}

// Each thread copies `from` [3 t], [3 t + 1], [3 t + 2] in groups of one; those not valid as zeros.
__global__ void copy_kernel(const uint4* from, const uint8_t* valid, uint4* to) {
    SHARED(uint4, tile, 3 * 64);
    const int first = 3 * threadIdx.x;
    for (int i = 0; i < 3; ++i) {
        cp_async_16(tile + first + i, from + first + i, valid[first + i] != 0);
        cp_async_commit();
    }
    cp_async_wait<2>();
    to[first] = tile[first];
    cp_async_wait<1>();
    to[first + 1] = tile[first + 1];
    cp_async_wait<0>();
    __syncthreads();
    // The third is read by another thread.
    const int other = 3 * ((threadIdx.x + 1) % 64) + 2;
    to[other] = tile[other];
}

// values (blocks, 64), results (blocks, n, 64): each block reads what all n of its cluster hold, from
// that of rank r the value of thread t + r.
__global__ void cluster_kernel(const float4* values, int n, float4* results) {
    SHARED(float4, tile, 64);
    const int t = threadIdx.x, block = blockIdx.z;
    tile[t] = values[64 * block + t];
    cluster_barrier();
    for (int rank = 0; rank < n; ++rank) {
        const ClusterPointer from = of_block(tile, rank);
        results[64 * (n * block + rank) + t] = load_from_cluster(from + (t + rank) % 64 * 16);
    }
    cluster_barrier();
}

// values (32); results (8, 32).
__global__ void shuffle_kernel(const int* values, long long* results) {
    const int lane = threadIdx.x, value = values[lane];
    results[lane] = __shfl_sync(kAll, value, 7 * lane + 3);
    results[32 + lane] = __shfl_sync(kAll, value, 3, 8);
    results[64 + lane] = __shfl_up_sync(kAll, value, 3);
    results[96 + lane] = __shfl_down_sync(kAll, value, 5, 16);
    results[128 + lane] = __shfl_xor_sync(kAll, value, 17);
    results[160 + lane] = __shfl_xor_sync(kAll, value, 12, 8);
    results[192 + lane] = __shfl_xor_sync(kAll, (1ll << 40) * value, 1);
    results[224 + lane] = static_cast<int>(__shfl_down_sync(kAll, 0.5f * value, 1) * 2.0f);
}

// results (7, threads): of a warp's votes, then of the block's.
__global__ void vote_kernel(const int* values, unsigned* results) {
    const int t = threadIdx.x, n = blockDim.x, value = values[t];
    results[t] = __ballot_sync(kAll, value > 0);
    results[n + t] = __any_sync(kAll, value > 90) != 0;
    results[2 * n + t] = __all_sync(kAll, value > -90) != 0;
    results[3 * n + t] = __syncthreads_or(value > 97) != 0;
    results[4 * n + t] = __syncthreads_and(value > -97) != 0;
    results[5 * n + t] = __syncthreads_count(value > 0);
    // Half a warp on its own.
    const unsigned half_of_warp = t % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
    results[6 * n + t] = __ballot_sync(half_of_warp, value > 0);
}

// bits (5, n): to half; half to float; both of a pair; to bfloat16 and back.
__global__ void convert_kernel(const float* values, int n, unsigned* bits) {
    const int i = threadIdx.x;
    const half h = __float2half(values[i]);
    bits[i] = __half_as_ushort(h);
    bits[n + i] = __float_as_uint(__half2float(h));
    const half2 pair = __floats2half2_rn(values[i], values[n - 1 - i]);
    bits[2 * n + i] = static_cast<unsigned>(__half_as_ushort(__low2half(pair))) |
                      static_cast<unsigned>(__half_as_ushort(__high2half(pair))) << 16;
    const float2 both = __half22float2(__halves2half2(h, __float2half_rn(values[n - 1 - i])));
    bits[3 * n + i] = __float_as_uint(both.x);
    bits[4 * n + i] = __float_as_uint(both.y);
}

// results (6): sums, maxima and a count, over all threads of all blocks.
__global__ void atomic_kernel(const int* values, int* results, float* sum) {
    const int value = values[blockIdx.x * blockDim.x + threadIdx.x];
    atomicAdd(&results[0], value);
    atomicMax(&results[1], value);
    atomicMin(&results[2], value);
    atomicMax(reinterpret_cast<unsigned*>(&results[3]), static_cast<unsigned>(value));
    atomicOr(&results[4], 1 << (value & 31));
    int before = results[5], seen;
    do {  // adds one, the slow way
        seen = before;
        before = atomicCAS(&results[5], seen, seen + 1);
    } while (before != seen);
    atomicAdd(sum, static_cast<float>(value));
}

// results (8, n)
__global__ void arithmetic_kernel(const int* values, int n, float* results) {
    const int i = threadIdx.x, value = values[i];
    const float x = __int_as_float(value), nan = __uint_as_float(0x7fc00000u);
    results[i] = static_cast<float>(__popc(static_cast<unsigned>(value)));
    results[n + i] = static_cast<float>(__ffs(value));
    results[2 * n + i] = static_cast<float>(__clz(value));
    results[3 * n + i] = min(x, nan);
    results[4 * n + i] = max(nan, x);
    results[5 * n + i] = isfinite(x) ? 1.0f : 0.0f;
    results[6 * n + i] = fmaf(0.5f, static_cast<float>(value % 1000), 3.0f);
    results[7 * n + i] = static_cast<float>(min(value, 7)) + static_cast<float>(max(value, 9));
}

}  // namespace
}  // namespace pynst

using namespace pynst;

EXPORT void product(const half* a, const half* b, float* d) {
    LAUNCH(product_kernel, (1), (32), 0, nullptr, a, b, d);
    CHECK_LAUNCH("product");
}
EXPORT void load_matrix(const uint4* rows, uint32_t* parts) {
    LAUNCH(load_matrix_kernel<false>, (1), (32), 0, nullptr, rows, parts);
    CHECK_LAUNCH("load_matrix");
}
EXPORT void load_matrix_transposed(const uint4* rows, uint32_t* parts) {
    LAUNCH(load_matrix_kernel<true>, (1), (32), 0, nullptr, rows, parts);
    CHECK_LAUNCH("load_matrix_transposed");
}
EXPORT void copy(const uint4* from, const uint8_t* valid, uint4* to) {
    LAUNCH(copy_kernel, (1), (64), 0, nullptr, from, valid, to);
    CHECK_LAUNCH("copy");
}
EXPORT void cluster(const float4* values, int blocks, int n, float4* results) {
    LAUNCH_CLUSTERS(cluster_kernel, (1, 1, blocks), (64), 0, nullptr, n, values, n, results);
    CHECK_LAUNCH("cluster");
}
EXPORT void shuffle(const int* values, long long* results) {
    LAUNCH(shuffle_kernel, (1), (32), 0, nullptr, values, results);
    CHECK_LAUNCH("shuffle");
}
EXPORT void vote(const int* values, int threads, unsigned* results) {
    LAUNCH(vote_kernel, (1), (threads), 0, nullptr, values, results);
    CHECK_LAUNCH("vote");
}
EXPORT void convert(const float* values, int n, unsigned* bits) {
    LAUNCH(convert_kernel, (1), (n), 0, nullptr, values, n, bits);
    CHECK_LAUNCH("convert");
}
EXPORT void atomics(const int* values, int blocks, int* results, float* sum) {
    LAUNCH(atomic_kernel, (blocks), (64), 0, nullptr, values, results, sum);
    CHECK_LAUNCH("atomics");
}
EXPORT void arithmetic(const int* values, int n, float* results) {
    LAUNCH(arithmetic_kernel, (1), (n), 0, nullptr, values, n, results);
    CHECK_LAUNCH("arithmetic");
}

// ---- device memory, for a caller that has only this library -------------------------------------

EXPORT void* memory_from(const void* host, size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "memory_from");
    check(cudaMemcpy(memory, host, bytes, cudaMemcpyHostToDevice), "memory_from");
    return memory;
}
EXPORT void memory_to(void* host, const void* memory, size_t bytes) {
    check(cudaDeviceSynchronize(), "memory_to");
    check(cudaMemcpy(host, memory, bytes, cudaMemcpyDeviceToHost), "memory_to");
}
EXPORT void memory_free(void* memory) {
    check(cudaFree(memory), "memory_free");
}
EXPORT const char* device_name() {
    static cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "device_name");
    return properties.name;
}
EXPORT int device_capability() {
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "capability");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "capability");
    return 10 * major + minor;
}
