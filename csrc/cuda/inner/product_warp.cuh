// product_warp.cuh: a warp's block of a matrix product on tensor cores, from tiles in shared
// memory.
//
//   sum_mn += sum_k left_mk right_nk
//
// The tiles hold halves, or the two halves of float32 numbers. In the second case high * high and
// high * low + low * high are summed apart (split.cuh).

#pragma once

#include "product_tile.cuh"

namespace pynst {

// The direction of k, the index summed over, in a tile.
enum class Depth { rows, columns };

// The address, within a tile, of the row of 8 halves that this lane gives to ldmatrix for a block
// of 16 x 16. Of the four 8 x 8 matrices, a left operand has the second one below the first, a
// right operand has it beside the first.
template <Depth kDepth, int kStride, bool kLeft>
__device__ __forceinline__ int lane_offset(int outer) {
    const int lane = threadIdx.x % 32, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    const int o = outer + (kLeft ? second : third), k = kLeft ? third : second;
    return kDepth == Depth::columns ? (o + lane % 8) * kStride + k : (k + lane % 8) * kStride + o;
}

template <Depth kDepth>
__device__ __forceinline__ void load_block(uint32_t (&r)[4], const half* row) {
    if constexpr (kDepth == Depth::columns) {
        ldmatrix_x4(r, row);
    } else {
        ldmatrix_x4_trans(r, row);
    }
}

// The kM x kN sums of a warp, in blocks of 16 x 8; mma_m16n8k16 tells which lane holds which of
// them.
template <int kM, int kN, int kParts>
class WarpSums {
    static_assert(kM % 16 == 0 && kN % 16 == 0, "blocks are loaded 16 x 16");

   public:
    static constexpr int kRowBlocks = kM / 16, kColumnBlocks = kN / 8;

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int n = 0; n < kColumnBlocks; ++n) {
#pragma unroll
                for (int i = 0; i < 4 * kParts; ++i) {
                    sums_[i / 4][m][n][i % 4] = 0.0f;
                }
            }
        }
    }

    __device__ __forceinline__ float value(int m, int n, int i) const {
        const float high = sums_[0][m][n][i];
        return kParts == 1 ? high : fmaf(sums_[kParts - 1][m][n][i], 1.0f / kSplitScale, high);
    }

    // Multiplies 16 steps of k. This lane reads its first blocks at `left` and `right`.
    template <Depth kDepth, class LeftTile, class RightTile>
    __device__ __forceinline__ void multiply(const half* left, const half* right) {
        constexpr int kLeftStep = 16 * (kDepth == Depth::columns ? LeftTile::kStride : 1);
        constexpr int kRightStep = 16 * (kDepth == Depth::columns ? RightTile::kStride : 1);
        uint32_t b[kParts][kN / 16][4];
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
#pragma unroll
            for (int n = 0; n < kN / 16; ++n) {
                load_block<kDepth>(b[part][n], right + part * RightTile::kHalves + n * kRightStep);
            }
        }
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
            uint32_t a[kParts][4];
#pragma unroll
            for (int part = 0; part < kParts; ++part) {
                load_block<kDepth>(a[part], left + part * LeftTile::kHalves + m * kLeftStep);
            }
            add(0, m, a[0], b[0]);
            if constexpr (kParts == 2) {
                add(1, m, a[0], b[1]);
                add(1, m, a[1], b[0]);
            }
        }
    }

   private:
    __device__ __forceinline__ void add(int part,
                                        int m,
                                        const uint32_t (&a)[4],
                                        const uint32_t (&b)[kN / 16][4]) {
#pragma unroll
        for (int n = 0; n < kColumnBlocks; ++n) {
            const uint32_t pair[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
            mma_m16n8k16(sums_[part][m][n], a, pair);
        }
    }

    float sums_[kParts][kRowBlocks][kColumnBlocks][4];
};

// Sums of a long product. Tensor cores truncate where they should round, and a long float32 sum of
// numbers of one sign would lose six bits. Therefore fold() adds the sums since the last fold, with
// rounding, to other sums; the caller calls it after every kFoldDepth steps of k.
constexpr int kFoldDepth = 128;

template <int kM, int kN, int kParts>
class FoldedSums : public WarpSums<kM, kN, kParts> {
   public:
    __device__ __forceinline__ void fold() {
#pragma unroll
        for (int i = 0; i < kValues; ++i) {
            folded_[i] += WarpSums<kM, kN, kParts>::value(i / 4 / kAcross, i / 4 % kAcross, i % 4);
        }
        this->clear();
    }

    __device__ __forceinline__ float value(int m, int n, int i) const {
        return folded_[(m * kAcross + n) * 4 + i];
    }

   private:
    static constexpr int kAcross = kN / 8;
    static constexpr int kValues = kM / 16 * kAcross * 4;
    float folded_[kValues] = {};
};

}  // namespace pynst
