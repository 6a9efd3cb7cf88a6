// conv3x3_layer.cuh: sizes of a 3x3 convolution, and how its sums are shared among blocks.
//
// A block computes kTileWidth x Tile::kHeight pixels of Tile::kChannels output channels. Where that
// makes too few blocks to keep a device busy, the input channels are cut into `parts`, too, with a
// block for each part. Each block then writes its float32 sums to scratch, and a second kernel adds
// the sums of the parts in order. The sums lie in scratch as the threads hold them, so that a warp
// writes and reads 512 bytes in a row.

#pragma once

#include <algorithm>

#include "conv3x3_result.cuh"
#include "conv3x3_source.cuh"

namespace pynst::conv3x3 {

constexpr int kTileWidth = 16;
constexpr int kTileChannels = 32;  // output channels of a warp
constexpr int kLeastPart = 32;     // input channels of a part

struct Layer {
    int C, N, H, W;  // input and output channels, both padded; pixels
    int parts, part_channels;
    float4* sums;  // where parts > 1: (parts, tiles, Tile::kPairs, kQuads, Tile::kThreads)

    __device__ Extent input() const {
        return {H, W, C / kLanes};
    }
    __device__ Output output() const {
        return {H, W, N};
    }
};

inline Layer make_layer(int C, int N, int H, int W, int parts, void* scratch) {
    Layer layer = {padded(C), padded(N), H, W, 1, 0, static_cast<float4*>(scratch)};
    const int units = ceil_div(layer.C, kLeastPart);
    const int unit_of_part = ceil_div(units, std::min(parts, units));
    layer.part_channels = unit_of_part * kLeastPart;
    layer.parts = ceil_div(units, unit_of_part);
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
    __device__ __forceinline__ int square_row() const {
        return row + static_cast<int>(threadIdx.x / 32 % Tile::kDown * Tile::kRows);
    }
    __device__ __forceinline__ int square_column() const {
        return column + static_cast<int>(threadIdx.x % 32 / 4 * 2);
    }
    __device__ __forceinline__ int square_n() const {
        return n + static_cast<int>(threadIdx.x / 32 / Tile::kDown * kTileChannels +
                                    threadIdx.x % 4 * kLanes);
    }
};

constexpr int kQuads = 4 * kLanes / 4;  // float4 of a square

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

// Stores the sums of a thread's square, those of one part to scratch. The place is computed anew:
// held in registers during the product it would make them spill.
template <class Tile, class Result>
__device__ __forceinline__ void store(const Layer& layer, int pair, Square& v, Result& result) {
    const Place<Tile> place(layer.parts);
    if (layer.parts > 1) {
        float4* to = sums_of<Tile>(layer, place.inner, place.row / Tile::kHeight, pair);
#pragma unroll
        for (int i = 0; i < kQuads; ++i) {
            const float* from = v[i / 2] + i % 2 * 4;
            to[i * Tile::kThreads] = make_float4(from[0], from[1], from[2], from[3]);
        }
    } else if (place.square_n() < layer.N) {
        result.store(layer.output(),
                     place.square_row() + 2 * pair,
                     place.square_column(),
                     place.square_n(),
                     v);
    }
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
            const float4 of_part = from[i * Tile::kThreads];
            float* to = v[i / 2] + i % 2 * 4;
            to[0] += of_part.x;
            to[1] += of_part.y;
            to[2] += of_part.z;
            to[3] += of_part.w;
        }
    }
    if (place.square_n() < layer.N) {
        result.store(layer.output(),
                     place.square_row() + 2 * pair,
                     place.square_column(),
                     place.square_n(),
                     v);
    }
    result.finish();
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
