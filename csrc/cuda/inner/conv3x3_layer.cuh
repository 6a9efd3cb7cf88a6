// conv3x3_layer.cuh: sizes of a 3x3 convolution, and how its sums are shared among blocks.
//
// A block computes kTileWidth x Tile::kHeight pixels of Tile::kChannels output channels. Where that
// makes too few blocks to keep a device busy, the input channels are cut into `parts`, too, with a
// block for each part. The float32 sums of the parts are added in the order of the parts, in one of
// two ways that give the same bits:
//
//   in a cluster (compute capability 9.0 and later)
//       The blocks of a tile's parts are a cluster. Each writes its sums to its shared memory, and
//       then adds all parts of its share of the tile, which it reads from the memory of the others.
//       Each sum is written and read once, and never leaves the multiprocessors.
//   by a second kernel
//       Each block writes its sums to scratch, from where conv3x3_sum_parts_kernel reads them.
//
// Either way the sums lie as the threads hold them, so that a warp writes and reads 512 bytes in a
// row. With 64 KB of them on each multiprocessor of an H200, the first way takes about 4 us and the
// second one 6 us; both are estimates.

#pragma once

#include <algorithm>

#include "conv3x3_result.cuh"
#include "conv3x3_source.cuh"
#include "ptx.cuh"

namespace pynst::conv3x3 {

constexpr int kTileWidth = 16;
constexpr int kTileChannels = 32;  // output channels of a warp
constexpr int kLeastPart = 32;     // input channels of a part

struct Layer {
    int C, N, H, W;  // input and output channels, both padded; pixels
    int parts, part_channels;
    bool clustered;  // a cluster adds the parts, else a second kernel does
    float4* sums;    // for the second kernel: (parts, tiles, Tile::kPairs, kQuads, Tile::kThreads)

    __device__ Extent input() const {
        return {H, W, C / kLanes};
    }
    __device__ Output output() const {
        return {H, W, N};
    }
};

inline Layer make_layer(int C, int N, int H, int W, Division division, void* scratch) {
    Layer layer = {padded(C), padded(N), H, W, 1, 0, false, static_cast<float4*>(scratch)};
    const int units = ceil_div(layer.C, kLeastPart);
    const int unit_of_part = ceil_div(units, std::min(division.parts, units));
    layer.part_channels = unit_of_part * kLeastPart;
    layer.parts = ceil_div(units, unit_of_part);
    layer.clustered = division.clustered && layer.parts > 1;
    return layer;
}

// Blocks that the pixels and output channels make, without the parts. x counts tiles of output
// channels, so that the blocks that read the same pixels run together; y counts tiles across, z
// tiles down.
inline dim3 tiles_of(int N, int H, int W, int height, int channels) {
    return dim3(ceil_div(N, channels), ceil_div(W, kTileWidth), ceil_div(H, height));
}

// The part of a layer that a block computes. blockIdx.z counts the tiles downwards and, fastest, the
// `inner` blocks of each tile.
template <class Tile>
struct Place {
    int inner;           // the part of the input channels, or the pair of rows
    int row, column, n;  // its first pixel and its first output channel

    __device__ explicit Place(int inner_blocks) {
        inner = blockIdx.z % inner_blocks;
        row = blockIdx.z / inner_blocks * Tile::kHeight;
        column = blockIdx.y * kTileWidth;
        n = blockIdx.x * Tile::kChannels;
    }
    // A thread holds the sums of eight channels of Tile::kPairs squares of pixels, one below the
    // other. The first of them:
    __device__ __forceinline__ int square_row(unsigned thread) const {
        return row + static_cast<int>(thread / 32 % Tile::kDown * Tile::kRows);
    }
    __device__ __forceinline__ int square_column(unsigned thread) const {
        return column + static_cast<int>(thread % 32 / 4 * 2);
    }
    __device__ __forceinline__ int square_n(unsigned thread) const {
        return n +
               static_cast<int>(thread / 32 / Tile::kDown * kTileChannels + thread % 4 * kLanes);
    }
};

constexpr int kQuads = 4 * kLanes / 4;  // float4 of a square

__device__ __forceinline__ float4 quad_of(const Square& v, int i) {
    const float* from = v[i / 2] + i % 2 * 4;
    return make_float4(from[0], from[1], from[2], from[3]);
}
__device__ __forceinline__ void add_quad(Square& v, int i, float4 of_part) {
    float* to = v[i / 2] + i % 2 * 4;
    to[0] += of_part.x;
    to[1] += of_part.y;
    to[2] += of_part.z;
    to[3] += of_part.w;
}

// Hands over the square that `thread` holds in a pair of rows, unless it lies outside.
template <class Tile, class Result>
__device__ __forceinline__ void store_square(const Layer& layer,
                                             const Place<Tile>& place,
                                             int pair,
                                             unsigned thread,
                                             Square& v,
                                             Result& result) {
    if (place.square_n(thread) < layer.N) {
        result.store(layer.output(),
                     place.square_row(thread) + 2 * pair,
                     place.square_column(thread),
                     place.square_n(thread),
                     v);
    }
}

// ---- parts that a cluster adds ------------------------------------------------------------------

// How many pairs of rows a cluster adds at a time, and the dynamic shared memory that their sums
// take. More than 64 KB would not fit beside the static memory of the plain kernel on all devices.
constexpr int kMostClusterBytes = 64 * 1024;

template <class Tile>
struct InCluster {
    static constexpr int kPairBytes = kQuads * 16 * Tile::kThreads;
    static constexpr int kFit = kMostClusterBytes / kPairBytes;
    static constexpr int kPairs = kFit < Tile::kPairs ? kFit : Tile::kPairs;
    static constexpr int kSquares = kPairs * Tile::kThreads;
    static constexpr int kBytes = kPairs * kPairBytes;
    static_assert(Tile::kPairs % kPairs == 0, "every round has as many pairs");
};

// Adds the parts of the squares from `first` to `last` of those that lie in shared memory.
template <class Tile, class Result>
__device__ __forceinline__ void add_share(const Layer& layer,
                                          const Place<Tile>& place,
                                          const float4* shared,
                                          int pair,
                                          int first,
                                          int last,
                                          Result& result) {
#pragma unroll 1
    for (int square = first + threadIdx.x; square < last; square += Tile::kThreads) {
        const int of_round = square / Tile::kThreads, thread = square % Tile::kThreads;
        const float4* const mine = shared + of_round * kQuads * Tile::kThreads + thread;
        Square v = {};
#pragma unroll 1
        for (int part = 0; part < layer.parts; ++part) {
            const ClusterPointer from = of_block(mine, part);
            float4 of_part[kQuads];  // all are loaded before the first is waited for
#pragma unroll
            for (int i = 0; i < kQuads; ++i) {
                of_part[i] = load_from_cluster(from + i * Tile::kThreads * sizeof(float4));
            }
#pragma unroll
            for (int i = 0; i < kQuads; ++i) {
                add_quad(v, i, of_part[i]);
            }
        }
        store_square(layer, place, pair + of_round, thread, v, result);
    }
}

// Called by all blocks of a cluster, which need nothing of their shared memory any more.
// squares(pair, v) tells the sums of a thread's part.
template <class Tile, class Squares, class Result>
__device__ __forceinline__ void store_clustered(const Layer& layer,
                                                const Squares& squares,
                                                Result& result) {
    using Round = InCluster<Tile>;
    DYN_SHARED(float4, shared);
    const Place<Tile> place(layer.parts);
    const int share = ceil_div(Round::kSquares / 32, layer.parts) * 32;  // whole warps
    const int first = place.inner * share, after = first + share;
    const int last = after < Round::kSquares ? after : Round::kSquares;
    __syncthreads();
#pragma unroll
    for (int pair = 0; pair < Tile::kPairs; pair += Round::kPairs) {
#pragma unroll
        for (int i = 0; i < Round::kPairs; ++i) {
            Square v;
            squares(pair + i, v);
#pragma unroll
            for (int j = 0; j < kQuads; ++j) {
                shared[(i * kQuads + j) * Tile::kThreads + threadIdx.x] = quad_of(v, j);
            }
        }
        cluster_barrier();
        add_share(layer, place, shared, pair, first, last, result);
        cluster_barrier();  // the others have read: the memory may be written again, or given up
    }
}

// ---- parts that a second kernel adds ------------------------------------------------------------

// Where this thread's sums of one square begin; the next float4 lies Tile::kThreads further on.
template <class Tile>
__device__ __forceinline__ float4* sums_of(const Layer& layer, int part, int row, int pair) {
    const size_t tile =
        (static_cast<size_t>(row) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const size_t tiles =
        static_cast<size_t>(ceil_div(layer.H, Tile::kHeight)) * gridDim.y * gridDim.x;
    const size_t square = (part * tiles + tile) * Tile::kPairs + pair;
    return layer.sums + square * kQuads * Tile::kThreads + threadIdx.x;
}

// Adds the parts in order; a block takes one pair of rows of each warp of a tile. The launch bounds
// leave room for 512 threads on a multiprocessor; for more, nvcc spilled a register on sm_120.
template <class Tile, class Result>
__global__ void __launch_bounds__(Tile::kThreads, 512 / Tile::kThreads)
    conv3x3_sum_parts_kernel(Layer layer, Result result) {
    const Place<Tile> place(Tile::kPairs);
    const int pair = place.inner;
    Square v = {};
    for (int part = 0; part < layer.parts; ++part) {
        const float4* from = sums_of<Tile>(layer, part, place.row / Tile::kHeight, pair);
#pragma unroll
        for (int i = 0; i < kQuads; ++i) {
            add_quad(v, i, from[i * Tile::kThreads]);
        }
    }
    store_square(layer, place, pair, threadIdx.x, v, result);
    result.finish();
}

// ---- the end of a convolution's kernel ----------------------------------------------------------

// Stores the sums of a thread's squares, where squares(pair, v) tells them: to the result, or, for
// one part of several, to where the parts are added. The place is computed anew: held in registers
// during the product it would make them spill. All threads of a block call this.
template <class Tile, class Squares, class Result>
__device__ __forceinline__ void store_tile(const Layer& layer,
                                           const Squares& squares,
                                           Result& result) {
    if constexpr (kHasClusters) {
        if (layer.clustered) {
            store_clustered<Tile>(layer, squares, result);
            result.finish();
            return;
        }
    }
#pragma unroll
    for (int pair = 0; pair < Tile::kPairs; ++pair) {
        Square v;
        squares(pair, v);
        const Place<Tile> place(layer.parts);
        if (layer.parts == 1) {
            store_square(layer, place, pair, threadIdx.x, v, result);
            continue;
        }
        float4* to = sums_of<Tile>(layer, place.inner, place.row / Tile::kHeight, pair);
#pragma unroll
        for (int i = 0; i < kQuads; ++i) {
            to[i * Tile::kThreads] = quad_of(v, i);
        }
    }
    if (layer.parts == 1) {
        result.finish();
    }
}

// The grid of a tile's blocks with `inner` of them for each tile.
template <class Tile>
dim3 grid_of(const Layer& layer, int inner) {
    dim3 grid = tiles_of(layer.N, layer.H, layer.W, Tile::kHeight, Tile::kChannels);
    grid.z *= inner;
    return grid;
}

template <class Tile, class Result>
void sum_parts(const Layer& layer, Result result, cudaStream_t stream) {
    const auto kernel = conv3x3_sum_parts_kernel<Tile, Result>;
    LAUNCH(
        kernel, (grid_of<Tile>(layer, Tile::kPairs)), (Tile::kThreads), 0, stream, layer, result);
}

}  // namespace pynst::conv3x3
