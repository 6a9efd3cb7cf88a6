// product_simt.cuh: a block's 64 x 64 tile of a float32 matrix product without tensor cores.
//
//   sum_mn += sum_k left_km right_kn
//
// 16 x 16 threads, each with 4 x 4 of the tile. Tiles of operands hold kSimtDepth rows (k) of 64.

#pragma once

#include "product_tile.cuh"

namespace pynst {

constexpr int kSimtTile = 64;
constexpr int kSimtDepth = 16;
constexpr int kSimtThreads = 256;
constexpr int kSimtStride = kSimtTile + 4;  // float4 stays aligned, columns spread over the banks
constexpr int kSimtFloats = kSimtDepth * kSimtStride;

struct SimtSums {
    float value[4][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            value[i / 4][i % 4] = 0.0f;
        }
    }

    __device__ __forceinline__ void add(const SimtSums& other) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            value[i / 4][i % 4] += other.value[i / 4][i % 4];
        }
    }

    __device__ __forceinline__ float4 row(int i) const {
        return make_float4(value[i][0], value[i][1], value[i][2], value[i][3]);
    }

    __device__ __forceinline__ void multiply(const float* left, const float* right) {
        const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
        for (int k = 0; k < kSimtDepth; ++k) {
            const float4 l = *reinterpret_cast<const float4*>(left + k * kSimtStride + row);
            const float4 r = *reinterpret_cast<const float4*>(right + k * kSimtStride + column);
            add_row(0, l.x, r);
            add_row(1, l.y, r);
            add_row(2, l.z, r);
            add_row(3, l.w, r);
        }
    }

   private:
    __device__ __forceinline__ void add_row(int i, float l, const float4& r) {
        value[i][0] = fmaf(l, r.x, value[i][0]);
        value[i][1] = fmaf(l, r.y, value[i][1]);
        value[i][2] = fmaf(l, r.z, value[i][2]);
        value[i][3] = fmaf(l, r.w, value[i][3]);
    }
};

__device__ __forceinline__ float4 load_or_zero(const Matrix<float>& from, int row, int column) {
    return from.holds(row, column) ? *reinterpret_cast<const float4*>(from.at(row, column))
                                   : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// A tile whose rows are k. Each thread moves one float4 through registers, so that the load of the
// next tile is under way while this one is used.
class SimtRows {
   public:
    __device__ __forceinline__ void fetch(const Matrix<float>& from, int k, int column) {
        value_ = load_or_zero(from, k + threadIdx.x / 16, column + threadIdx.x % 16 * 4);
    }
    __device__ __forceinline__ void land(float* tile) const {
        float* to = tile + threadIdx.x / 16 * kSimtStride + threadIdx.x % 16 * 4;
        *reinterpret_cast<float4*>(to) = value_;
    }

   private:
    float4 value_;
};

// A tile whose columns are k in global memory: it is transposed on the way.
class SimtColumns {
   public:
    __device__ __forceinline__ void fetch(const Matrix<float>& from, int row, int k) {
        value_ = load_or_zero(from, row + threadIdx.x / 4, k + threadIdx.x % 4 * 4);
    }
    __device__ __forceinline__ void land(float* tile) const {
        float* to = tile + threadIdx.x % 4 * 4 * kSimtStride + threadIdx.x / 4;
        to[0] = value_.x;
        to[kSimtStride] = value_.y;
        to[2 * kSimtStride] = value_.z;
        to[3 * kSimtStride] = value_.w;
    }

   private:
    float4 value_;
};

}  // namespace pynst
