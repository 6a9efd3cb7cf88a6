// planted.cuh: small kernels with a bug that can be switched on; see planted.cu.
//
// "// SEEN: name" marks the line that the report of a planted bug has to name.

#pragma once

#include "inner/ptx.cuh"
#include "kernels.h"

namespace pynst {
namespace {

constexpr unsigned kAll = 0xffffffffu;

// ---- memory -------------------------------------------------------------------------------------

// y_i = x_i + x_(i + 1), the last plus zero.
__global__ void neighbour_sum(const float* x, int n, float* y, bool planted) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const int end = planted ? n + 1 : n;
        y[i] = x[i] + (i + 1 < end ? x[i + 1] : 0.0f);  // SEEN: global_overrun
    }
}

// y_i = x_(63 - i), through shared memory.
__global__ void reverse(const float* x, float* y, bool planted) {
    SHARED(float, tile, 64);
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x + (planted ? 1 : 0)];  // SEEN: shared_overrun
}

// The last element of the tile is nobody's to fill.
__global__ void sum_of_tile(const float* x, float* y, bool planted) {
    SHARED(float, tile, 65);
    tile[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == 0 && !planted) {
        tile[64] = 0.0f;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < 65; ++i) {
        sum += tile[i];
    }
    y[threadIdx.x] = sum;
}

// Four floats at a time; the planted one begins at the second.
__global__ void load_vectors(const float* x, float* y, bool planted) {
    const float4 v = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x + (planted ? 1 : 0));
    *reinterpret_cast<float4*>(y + 4 * threadIdx.x) = v;  // SEEN: misaligned_vector
}

// ---- barriers -----------------------------------------------------------------------------------

// y = x reversed in pieces of 128, each through the same tile.
__global__ void reverse_pieces(
    const float* x, int pieces, float* y, bool no_barrier_after, bool no_barrier_before) {
    SHARED(float, tile, 128);
    const int t = threadIdx.x;
    for (int piece = 0; piece < pieces; ++piece) {
        tile[t] = x[128 * piece + t];  // SEEN: no_barrier_before_refill
        if (!no_barrier_after) {
            __syncthreads();
        }
        y[128 * piece + t] = tile[127 - t];  // SEEN: no_barrier_after_fill
        if (!no_barrier_before) {
            __syncthreads();
        }
    }
}

// y = sum of 128 values: within warps, then over warps.
__global__ void block_sum(const float* x, float* y, bool planted) {
    SHARED(float, sums, 4);
    float v = x[threadIdx.x];
    for (int step = 16; step > 0; step /= 2) {
        v += __shfl_xor_sync(kAll, v, step);
    }
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = v;
    }
    if (!planted) {
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        *y = sums[0] + sums[1] + sums[2] + sums[3];  // SEEN: no_barrier_in_reduction
    }
}

// Lanes pass their value to the next one through shared memory.
__global__ void rotate_warp(const float* x, float* y, bool planted) {
    SHARED(float, tile, 32);
    tile[threadIdx.x] = x[threadIdx.x];
    if (!planted) {
        __syncwarp();
    }
    y[threadIdx.x] = tile[(threadIdx.x + 1) % 32];  // SEEN: no_syncwarp
}

__global__ void wait_for_some(const float* x, int n, float* y, bool planted) {
    SHARED(float, tile, 64);
    const int t = threadIdx.x;
    tile[t] = t < n ? x[t] : 0.0f;
    if (!planted) {
        __syncthreads();
    } else if (t < n) {
        __syncthreads();  // SEEN: divergent_barrier
    }
    y[t] = tile[63 - t];
    __syncthreads();
}

// ---- warps --------------------------------------------------------------------------------------

__global__ void warp_sum_of_some(const float* x, float* y, bool planted) {
    float v = x[threadIdx.x];
    if (!planted || threadIdx.x % 2 == 0) {
        for (int step = 16; step > 0; step /= 2) {
            v += __shfl_xor_sync(kAll, v, step);  // SEEN: divergent_shuffle
        }
    }
    __syncthreads();
    y[threadIdx.x] = v;
}

// The lower half of a warp, on its own.
__global__ void shuffle_half(const float* x, float* y, bool planted) {
    const float v = x[threadIdx.x];
    y[threadIdx.x] = v;
    if (threadIdx.x < 16) {
        y[threadIdx.x] = __shfl_down_sync(0xffffu, v, 1, planted ? 32 : 16);
    }
}

__global__ void product_of_some(float* y, bool planted) {
    if (planted && threadIdx.x == 31) {
        return;
    }
    float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    const uint32_t a[4] = {}, b[2] = {};
    mma_m16n8k16(d, a, b);  // SEEN: product_without_a_lane
    y[threadIdx.x] = d[0];
}

__global__ void load_matrix_at(const float* x, float* y, bool planted) {
    SHARED(float, tile, 32 * 4 + 4);
    for (int i = 0; i < 4; ++i) {
        tile[4 * threadIdx.x + i] = x[4 * threadIdx.x + i];
    }
    __syncwarp();
    uint32_t r[4];
    ldmatrix_x4(r, tile + 4 * threadIdx.x + (planted ? 1 : 0));  // SEEN: misaligned_ldmatrix
    // Lane l holds the 32 bits at column l % 4 of row l / 4.
    y[threadIdx.x] = __uint_as_float(r[0]);
}

// ---- blocks -------------------------------------------------------------------------------------

__global__ void count_blocks(int* count, bool planted) {
    if (threadIdx.x == 0) {
        if (planted) {
            *count += 1;  // SEEN: no_atomic_between_blocks
        } else {
            atomicAdd(count, 1);
        }
    }
}

__global__ void fill_dynamic(float* y, int n) {
    DYN_SHARED(float, tile);
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        tile[i] = 2.0f;
    }
    __syncthreads();
    y[threadIdx.x] = tile[n - 1 - threadIdx.x];
}

// ---- clusters -----------------------------------------------------------------------------------

// y = x of the other block of a cluster of two, reversed, through its shared memory.
__global__ void exchange(const float4* x,
                         float4* y,
                         bool no_barrier_before,
                         bool no_barrier_after) {
    DYN_SHARED(float4, tile);
    const int t = threadIdx.x, mine = blockIdx.z, other = 1 - mine;
    tile[t] = x[64 * mine + t];
    if (!no_barrier_before) {
        cluster_barrier();
    }
    const ClusterPointer from = of_block(tile + 63 - t, other);
    y[64 * mine + t] = load_from_cluster(from);  // SEEN: early_cluster_read, early_cluster_exit
    if (!no_barrier_after) {
        cluster_barrier();
    }
}

// ---- copies -------------------------------------------------------------------------------------

// y = x, 32 lanes x 16 bytes at a time through two slots; lanes read what they copied themselves.
__global__ void copy_ahead(const float4* x, int steps, float4* y, bool planted) {
    SHARED(float4, slots, 2 * 32);
    const int t = threadIdx.x;
    cp_async_16(slots + t, x + t, true);
    cp_async_commit();
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) {
            cp_async_16(slots + (step + 1) % 2 * 32 + t, x + 32 * (step + 1) + t, true);
        }
        cp_async_commit();
        if (planted) {
            cp_async_wait<2>();
        } else {
            cp_async_wait<1>();
        }
        y[32 * step + t] = slots[step % 2 * 32 + t];
    }
}

// Each thread reads what another one copied.
__global__ void copy_for_others(const float4* x, float4* y, bool no_barrier, bool misaligned) {
    SHARED(float4, slots, 64 + 1);
    const int t = threadIdx.x;
    float* to = reinterpret_cast<float*>(slots + t) + (misaligned ? 1 : 0);
    cp_async_16(to, x + t, true);  // SEEN: misaligned_copy
    cp_async_commit();
    cp_async_wait<0>();
    if (!no_barrier) {
        __syncthreads();
    }
    y[63 - t] = slots[63 - t];  // SEEN: copy_without_barrier
}

}  // namespace
}  // namespace pynst
