// product_channels.cuh: dF_pn += m_p factor_n sum_k F_pk D_nk: the last step of style_loss.cu.
//
// The left operand is F (M, padded(N)), the right one D (N, N), and k, the index summed over, runs
// along the rows of both. Row n of D makes channel n of dF and has a factor of its own; so has each
// pixel where there are weights m. The sums pass through shared memory, so that dF is read and
// written 16 bytes at a time.

#pragma once

#include <type_traits>

#include "product_ring.cuh"
#include "product_simt.cuh"
#include "product_warp.cuh"
#include "style_operand.cuh"

namespace pynst {

// 16 bytes of dF: 8 halves or 4 float32. They are read and written as one uint4 that is put together
// in registers: nvcc would split a copy between this structure and global memory into single values.
template <class T>
struct Piece {
    static constexpr int kValues = 16 / static_cast<int>(sizeof(T));
    T values[kValues];

    __device__ __forceinline__ void load(const T* from) {
        const uint4 packed = *reinterpret_cast<const uint4*>(from);
#pragma unroll
        for (int i = 0; i < kValues; ++i) {
            values[i] = reinterpret_cast<const T*>(&packed)[i];
        }
    }
    __device__ __forceinline__ void store(T* to) const {
        uint4 packed;
#pragma unroll
        for (int i = 0; i < kValues; ++i) {
            reinterpret_cast<T*>(&packed)[i] = values[i];
        }
        *reinterpret_cast<uint4*>(to) = packed;
    }

    // Adds factor * weight * product, value by value. Returns the bits of the largest magnitude;
    // those of a NaN are larger than those of infinity.
    __device__ __forceinline__ unsigned add(const float* factors,
                                            float weight,
                                            const float* product) {
        unsigned largest = 0;
#pragma unroll
        for (int i = 0; i < kValues; ++i) {
            const float sum = fmaf(weight * factors[i], product[i], to_float(values[i]));
            const unsigned magnitude = __float_as_uint(sum) & 0x7fffffffu;
            largest = magnitude > largest ? magnitude : largest;
            values[i] = from_float<T>(sum);
        }
        return largest;
    }
};

// The kRows x kColumns elements of dF that a warp updates. load() reads the first of them early,
// before the product; add() changes and writes them after it.
template <class T, int kRows, int kColumns>
class WarpPieces {
   public:
    static constexpr int kSumStride = kColumns + 8;  // floats; puts the rows into different banks

    __device__ __forceinline__ WarpPieces(T* dF, int M, int channels, int pixel, int column)
        : corner_(dF + static_cast<size_t>(pixel) * channels + column),
          channels_(channels),
          rows_(M - pixel),
          columns_(channels - column) {}

    // Reads the first kAhead blocks of 16 rows.
    __device__ __forceinline__ void load() {
#pragma unroll
        for (int m = 0; m < kAhead && m < kRows / 16; ++m) {
            load_block(m);
        }
    }

    // Adds factors * sums, each row times its weight where there are any; `factors` are those of the
    // warp's channels. The sums pass through 16 rows of float32 in shared memory, which belong to
    // this warp alone.
    template <class Sums>
    __device__ __forceinline__ unsigned add(const float* factors,
                                            const float* __restrict__ weights,
                                            const Sums& sums,
                                            float* own) {
        unsigned largest = 0;
#pragma unroll
        for (int m = 0; m < Sums::kRowBlocks; ++m) {
            store_block(sums, m, own);
            __syncwarp();
            if (m + kAhead < Sums::kRowBlocks) {
                load_block(m + kAhead);
            }
#pragma unroll
            for (int i = m * kTurns; i < (m + 1) * kTurns; ++i) {
                if (row(i) < rows_ && column(i) < columns_) {
                    const float* product = own + (row(i) - 16 * m) * kSumStride + column(i);
                    const float weight = weights == nullptr ? 1.0f : weights[row(i)];
                    const unsigned magnitude = pieces_[i].add(factors + column(i), weight, product);
                    largest = magnitude > largest ? magnitude : largest;
                    pieces_[i].store(at(i));
                }
            }
            __syncwarp();
        }
        return largest;
    }

   private:
    static constexpr int kAcross = kColumns / Piece<T>::kValues, kTurns = 16 * kAcross / 32;
    static constexpr int kPieces = kRows / 16 * kTurns;  // pieces of one lane
    // Blocks of 16 rows that are read ahead: as many as fill 16 registers of a lane, at least one.
    static constexpr int kAhead = kTurns > 2 ? 1 : 4 / kTurns;
    static_assert(16 * kAcross % 32 == 0, "whole turns");

    __device__ __forceinline__ static int row(int i) {
        return i / kTurns * 16 + (threadIdx.x % 32 + i % kTurns * 32) / kAcross;
    }
    __device__ __forceinline__ static int column(int i) {
        return (threadIdx.x % 32 + i % kTurns * 32) % kAcross * Piece<T>::kValues;
    }
    __device__ __forceinline__ T* at(int i) const {
        return corner_ + row(i) * channels_ + column(i);
    }

    __device__ __forceinline__ void load_block(int m) {
#pragma unroll
        for (int i = m * kTurns; i < (m + 1) * kTurns; ++i) {
            if (row(i) < rows_ && column(i) < columns_) {
                pieces_[i].load(at(i));
            }
        }
    }

    template <class Sums>
    __device__ __forceinline__ static void store_block(const Sums& sums, int m, float* own) {
        float* to = own + threadIdx.x % 32 / 4 * kSumStride + threadIdx.x % 4 * 2;
#pragma unroll
        for (int n = 0; n < Sums::kColumnBlocks; ++n) {
#pragma unroll
            for (int i = 0; i < 4; i += 2) {
                *reinterpret_cast<float2*>(to + 4 * i * kSumStride + 8 * n) = {
                    sums.value(m, n, i), sums.value(m, n, i + 1)};
            }
        }
    }

    T* corner_;
    int channels_, rows_, columns_;
    Piece<T> pieces_[kPieces];
};

// A block updates kPixels x kColumns elements of dF, each warp kRows x kWarpColumns of them; a
// stage of the ring has kDepth channels. kEarly: dF is read before the product, because the product
// is too short to hide that time after it.
template <int kPixels_,
          int kColumns_,
          int kRows_,
          int kWarpColumns_,
          int kDepth_,
          int kStages_,
          int kBlocks_,
          bool kEarly_>
struct ProductShape {
    static constexpr bool kEarly = kEarly_;
    static constexpr int kPixels = kPixels_, kColumns = kColumns_;
    static constexpr int kRows = kRows_, kWarpColumns = kWarpColumns_;
    static constexpr int kDepth = kDepth_, kStages = kStages_;
    static constexpr int kAcross = kColumns / kWarpColumns;  // warps side by side
    static constexpr int kBlocks = kBlocks_;                 // blocks that share a multiprocessor
    static constexpr int kThreads = 32 * (kPixels / kRows) * kAcross;
    static_assert(kPixels % kRows == 0 && kColumns % kWarpColumns == 0 && kDepth % 16 == 0, "");

    template <class T>
    using Pieces = WarpPieces<T, kRows, kWarpColumns>;
    template <class T>
    using Left = TileCopy<T, kPixels, kDepth, kThreads>;
    using Right = TileCopy<half, kColumns, kDepth, kThreads>;
    template <class T>
    static constexpr int kStageHalves = Left<T>::kParts * (Left<T>::kHalves + Right::kHalves);
    // A product of fewer steps than stages uses as many stages as steps.
    template <class T>
    static int shared_bytes(int steps) {
        const int stages = steps < kStages ? steps : kStages;
        const int ring = stages * kStageHalves<T> * static_cast<int>(sizeof(half));
        const int sums =
            kThreads / 32 * 16 * Pieces<T>::kSumStride * static_cast<int>(sizeof(float));
        return ring > sums ? ring : sums;
    }
};

// D: one or two matrices of padded(N) x padded(N) halves, one behind the other.
template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, resident(Shape::kBlocks))
    product_tensor_kernel(const T* __restrict__ F,
                          const half* __restrict__ D,
                          const float* __restrict__ factors,
                          const float* __restrict__ m,
                          int M,
                          StyleTotal total,
                          GradientScale* scale,
                          T* __restrict__ dF) {
    using Left = typename Shape::template Left<T>;
    using Right = typename Shape::Right;
    constexpr int kStageHalves = Shape::template kStageHalves<T>;
    DYN_SHARED(half, ring);

    const int channels = padded(total.N), across = ceil_div(channels, Shape::kColumns);
    const int pixel0 = blockIdx.x / across * Shape::kPixels;
    const int column0 = blockIdx.x % across * Shape::kColumns;
    const int warp = threadIdx.x / 32, m0 = warp / Shape::kAcross * Shape::kRows;
    const int n0 = warp % Shape::kAcross * Shape::kWarpColumns;
    typename Shape::template Pieces<T> pieces(dF, M, channels, pixel0 + m0, column0 + n0);
    if (Shape::kEarly) {
        pieces.load();
    }

    // 1. the product
    constexpr int kRight = Left::kParts * Left::kHalves;  // behind the left operand
    const int left = lane_offset<Depth::columns, Left::kStride, true>(m0);
    const int right = lane_offset<Depth::columns, Right::kStride, false>(n0) + kRight;
    const Matrix<T> features = {F, M, channels};
    const Matrix<half> differences = {D, channels, channels};
    Left left_copy;
    Right right_copy;
    const auto fetch = [&](int step, int slot) {
        half* stage = ring + slot * kStageHalves;
        left_copy.fetch(features, pixel0, step * Shape::kDepth, stage);
#pragma unroll
        for (int part = 0; part < Left::kParts; ++part) {
            right_copy.fetch(differences.part(part),
                             column0,
                             step * Shape::kDepth,
                             stage + kRight + part * Right::kHalves);
        }
    };
    const auto land = [&](int slot) { left_copy.land(ring + slot * kStageHalves); };
    // Rounding to halves hides what a long sum loses; float32 does not.
    constexpr bool kFolds = Left::kParts == 2;
    std::conditional_t<kFolds,
                       FoldedSums<Shape::kRows, Shape::kWarpColumns, Left::kParts>,
                       WarpSums<Shape::kRows, Shape::kWarpColumns, Left::kParts>>
        sums;
    sums.clear();
    int unfolded = 0;
    const auto fold = [&](int depth) {
        if constexpr (kFolds) {
            unfolded += Shape::kDepth;
            if (unfolded >= depth) {
                sums.fold();
                unfolded = 0;
            }
        }
    };
    const auto use = [&](int slot) {
        const half* stage = ring + slot * kStageHalves;
#pragma unroll
        for (int k = 0; k < Shape::kDepth; k += 16) {
            sums.template multiply<Depth::columns, Left, Right>(stage + left + k,
                                                                stage + right + k);
        }
        fold(kFoldDepth);
    };
    run_ring<Shape::kStages>(ceil_div(channels, Shape::kDepth), fetch, land, use);
    fold(0);

    // 2. dF
    if (!Shape::kEarly) {
        pieces.load();
    }
    __syncthreads();  // the ring is free
    float* own = reinterpret_cast<float*>(ring) + warp * 16 * pieces.kSumStride;
    const float* weights = m == nullptr ? nullptr : m + pixel0 + m0;
    const unsigned largest = pieces.add(factors + column0 + n0, weights, sums, own);
    note_largest(scale, __uint_as_float(largest));
    total.store();
}

static __global__ void __launch_bounds__(kSimtThreads)
    product_simt_kernel(const float* __restrict__ F,
                        const float* __restrict__ D,
                        const float* __restrict__ factors,
                        const float* __restrict__ m,
                        int M,
                        StyleTotal total,
                        GradientScale* scale,
                        float* __restrict__ dF) {
    SHARED(float, ring, 4 * kSimtFloats);  // two stages of left and right

    const int channels = padded(total.N), across = ceil_div(channels, kSimtTile);
    const int pixel0 = blockIdx.x / across * kSimtTile, column0 = blockIdx.x % across * kSimtTile;
    const Matrix<float> features = {F, M, channels}, differences = {D, channels, channels};

    // 1. the product
    SimtSums sums;
    sums.clear();
    SimtColumns left_copy;
    SimtColumns right_copy;
    const auto fetch = [&](int step, int) {
        left_copy.fetch(features, pixel0, step * kSimtDepth);
        right_copy.fetch(differences, column0, step * kSimtDepth);
    };
    const auto land = [&](int slot) {
        left_copy.land(ring + 2 * slot * kSimtFloats);
        right_copy.land(ring + (2 * slot + 1) * kSimtFloats);
    };
    const auto use = [&](int slot) {
        sums.multiply(ring + 2 * slot * kSimtFloats, ring + (2 * slot + 1) * kSimtFloats);
    };
    run_ring<2>(ceil_div(channels, kSimtDepth), fetch, land, use);

    // 2. dF
    const int column = column0 + threadIdx.x % 16 * 4;
    unsigned largest = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int pixel = pixel0 + threadIdx.x / 16 * 4 + i;
        if (pixel < M && column < channels) {
            float* to = dF + static_cast<size_t>(pixel) * channels + column;
            Piece<float> piece;
            piece.load(to);
            const float weight = m == nullptr ? 1.0f : m[pixel];
            const unsigned magnitude = piece.add(factors + column, weight, sums.value[i]);
            largest = magnitude > largest ? magnitude : largest;
            piece.store(to);
        }
    }
    note_largest(scale, __uint_as_float(largest));
    total.store();
}

}  // namespace pynst
