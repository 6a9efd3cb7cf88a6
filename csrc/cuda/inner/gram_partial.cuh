// gram_partial.cuh: one tile of F F^T, summed over a split of the pixels: the first half of
// gram.cu.
//
// F lies pixel by pixel, so that both operands are boxes of pixels x channels of the same array,
// and k, the index summed over, runs down their rows. On the diagonal they are the same box, read
// once.
//
// The sums are folded after every kFoldPixels pixels (FoldedSums in product_warp.cuh tells why).

#pragma once

#include "gram_sums.cuh"
#include "product_ring.cuh"
#include "product_simt.cuh"
#include "product_warp.cuh"

namespace pynst {

constexpr int kFoldPixels = kFoldDepth;

// A block computes pixels [begin, end) of the tile of G whose corner is (row, column).
struct GramTask {
    int begin, end, row, column;
    size_t out;

    __device__ __forceinline__ GramTask(const GramPartition& p, int M) {
        const int split = blockIdx.x / p.tiles, tile_index = blockIdx.x % p.tiles;
        begin = split * p.pixels;
        end = M - begin < p.pixels ? M : begin + p.pixels;
        locate_in_triangle(p.across, tile_index, &row, &column);
        row *= p.tile;
        column *= p.tile;
        out = p.at(split, tile_index);
    }
};

// A block has kTile x kTile elements of G, a warp kRows x kColumns of them; a stage of the ring has
// kPixels pixels.
template <int kTile_, int kRows_, int kColumns_, int kPixels_, int kStages_, bool kSquare_>
struct GramShape {
    static constexpr int kTile = kTile_, kRows = kRows_, kColumns = kColumns_;
    static constexpr int kPixels = kPixels_, kStages = kStages_;
    static constexpr bool kSquare =
        kSquare_;  // one tile holds all of G, so that there is one operand
    static constexpr int kDown = kTile / kRows, kAcross = kTile / kColumns;  // warps
    // There are no warps for what lies below the diagonal of a tile that lies on it.
    static constexpr bool kTriangle = kSquare && kRows == kColumns;
    static constexpr int kThreads = 32 * (kTriangle ? kDown * (kDown + 1) / 2 : kDown * kAcross);
    static constexpr int kBlocks = kTile > 64 ? 1 : 3;  // blocks that share a multiprocessor
    static_assert(kTile % kRows == 0 && kTile % kColumns == 0 && kFoldPixels % kPixels == 0, "");

    template <class T>
    using Copy = TileCopy<T, kPixels, kTile, kThreads>;
    template <class T>
    static constexpr int kOperandHalves = Copy<T>::kParts * Copy<T>::kHalves;
    template <class T>
    static constexpr int kStageHalves = (kSquare ? 1 : 2) * kOperandHalves<T>;
    template <class T>
    static constexpr int kSharedBytes = kStages * kStageHalves<T> * static_cast<int>(sizeof(half));

    // Corner of this warp's part of the tile.
    static __device__ __forceinline__ void locate_warp(int* row, int* column) {
        const int warp = threadIdx.x / 32;
        *row = warp / kAcross;
        *column = warp % kAcross;
        if constexpr (kTriangle) {
            locate_in_triangle(kAcross, warp, row, column);
        }
        *row *= kRows;
        *column *= kColumns;
    }
};

// Stores a warp's sums; `to` is its corner of the tile.
template <class Shape, class Sums>
__device__ __forceinline__ void store_sums(const Sums& sums, float* to) {
    to += threadIdx.x % 32 / 4 * Shape::kTile + threadIdx.x % 4 * 2;
#pragma unroll
    for (int m = 0; m < Sums::kRowBlocks; ++m) {
#pragma unroll
        for (int i = 0; i < 2 * Sums::kColumnBlocks; ++i) {
            const int n = i / 2, upper = i % 2 * 2;
            *reinterpret_cast<float2*>(to + (16 * m + 4 * upper) * Shape::kTile + 8 * n) = {
                sums.value(m, n, upper), sums.value(m, n, upper + 1)};
        }
    }
}

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, resident(Shape::kBlocks)) gram_tensor_kernel(
    const T* __restrict__ F, int N, int M, GramPartition partition, float* __restrict__ partials) {
    using Copy = typename Shape::template Copy<T>;
    constexpr int kStageHalves = Shape::template kStageHalves<T>;
    constexpr int kOperandHalves = Shape::template kOperandHalves<T>;
    DYN_SHARED(half, ring);

    const GramTask task(partition, M);
    const Matrix<T> pixels = {F, task.end, padded(N)};
    const bool diagonal = Shape::kSquare || task.row == task.column;
    int m0, n0;
    Shape::locate_warp(&m0, &n0);
    const int left = lane_offset<Depth::rows, Copy::kStride, true>(m0);
    const int right =
        lane_offset<Depth::rows, Copy::kStride, false>(n0) + (diagonal ? 0 : kOperandHalves);

    // 1. sums over the split
    FoldedSums<Shape::kRows, Shape::kColumns, Copy::kParts> sums;
    sums.clear();
    Copy left_copy, right_copy;
    const auto fetch = [&](int step, int slot) {
        half* stage = ring + slot * kStageHalves;
        const int first = task.begin + step * Shape::kPixels;
        left_copy.fetch(pixels, first, task.row, stage);
        if (!diagonal) {
            right_copy.fetch(pixels, first, task.column, stage + kOperandHalves);
        }
    };
    const auto land = [&](int slot) {
        half* stage = ring + slot * kStageHalves;
        left_copy.land(stage);
        if (!diagonal) {
            right_copy.land(stage + kOperandHalves);
        }
    };
    int unfolded = 0;
    const auto use = [&](int slot) {
        const half* stage = ring + slot * kStageHalves;
#pragma unroll
        for (int k = 0; k < Shape::kPixels * Copy::kStride; k += 16 * Copy::kStride) {
            sums.template multiply<Depth::rows, Copy, Copy>(stage + left + k, stage + right + k);
        }
        unfolded += Shape::kPixels;
        if (unfolded == kFoldPixels) {
            sums.fold();
            unfolded = 0;
        }
    };
    run_ring<Shape::kStages>(ceil_div(task.end - task.begin, Shape::kPixels), fetch, land, use);
    sums.fold();

    // 2. store
    store_sums<Shape>(sums, partials + task.out + m0 * Shape::kTile + n0);
}

static __global__ void __launch_bounds__(kSimtThreads)
    gram_simt_kernel(const float* __restrict__ F,
                     int N,
                     int M,
                     GramPartition partition,
                     float* __restrict__ partials) {
    SHARED(float, ring, 4 * kSimtFloats);  // two stages of left and right

    const GramTask task(partition, M);
    const Matrix<float> pixels = {F, task.end, padded(N)};

    // 1. sums over the split
    SimtSums sums, folded;
    sums.clear();
    folded.clear();
    SimtRows left_copy, right_copy;
    const auto fetch = [&](int step, int) {
        left_copy.fetch(pixels, task.begin + step * kSimtDepth, task.row);
        right_copy.fetch(pixels, task.begin + step * kSimtDepth, task.column);
    };
    const auto land = [&](int slot) {
        left_copy.land(ring + 2 * slot * kSimtFloats);
        right_copy.land(ring + (2 * slot + 1) * kSimtFloats);
    };
    int unfolded = 0;
    const auto use = [&](int slot) {
        sums.multiply(ring + 2 * slot * kSimtFloats, ring + (2 * slot + 1) * kSimtFloats);
        unfolded += kSimtDepth;
        if (unfolded == kFoldPixels) {
            folded.add(sums);
            sums.clear();
            unfolded = 0;
        }
    };
    run_ring<2>(ceil_div(task.end - task.begin, kSimtDepth), fetch, land, use);
    folded.add(sums);

    // 2. store
    float* to = partials + task.out + threadIdx.x / 16 * 4 * kSimtTile + threadIdx.x % 16 * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        *reinterpret_cast<float4*>(to + i * kSimtTile) = folded.row(i);
    }
}

}  // namespace pynst
