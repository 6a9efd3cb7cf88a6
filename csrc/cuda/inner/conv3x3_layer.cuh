// conv3x3_layer.cuh: sizes of a 3x3 convolution, and how its sums are shared among blocks.
//
// A block computes kTileWidth x Tile::kHeight pixels of Tile::kChannels output channels. Where that
// makes too few blocks to keep a device busy, the input channels are cut into `parts`, too, with a
// block for each part. Each block then writes its float32 sums to scratch, and a second kernel adds
// the sums of the parts in order.

#pragma once

#include <algorithm>

#include "conv3x3_result.cuh"
#include "conv3x3_source.cuh"

namespace pynst::conv3x3 {

constexpr int kTileWidth = 16;
constexpr int kTileChannels = 32;  // output channels of a warp

// The multiprocessors of an H200. This is a constant, whatever the device, because the number of
// parts decides the order of the sums: equal inputs give equal bits on any device.
constexpr int kMultiprocessors = 132;
constexpr int kMostParts = 8;
constexpr int kLeastPart = 32;  // input channels of a part

struct TileSize {
    int height, channels;
    int resident;  // blocks that share a multiprocessor
};

struct Layer {
    int C, N, H, W;  // input and output channels, both padded; pixels
    int parts, part_channels;
    float* sums;  // (parts, H, W, N); used where parts > 1

    __device__ Extent input() const {
        return {H, W, C / kLanes};
    }
    __device__ Output output() const {
        return {H, W, N};
    }
};

inline size_t blocks_of_part(int N, int H, int W, TileSize tile) {
    return static_cast<size_t>(ceil_div(N, tile.channels)) * ceil_div(W, kTileWidth) *
           ceil_div(H, tile.height);
}

inline Layer make_layer(int C, int N, int H, int W, TileSize tile, void* scratch) {
    Layer layer = {padded(C), padded(N), H, W, 1, 0, static_cast<float*>(scratch)};
    const size_t blocks = blocks_of_part(layer.N, H, W, tile);
    const int wanted =
        static_cast<int>(std::min<size_t>(kMostParts, kMultiprocessors * tile.resident / blocks));
    const int units = ceil_div(layer.C, kLeastPart);
    const int unit_of_part = ceil_div(units, std::max(1, std::min(wanted, units)));
    layer.part_channels = unit_of_part * kLeastPart;
    layer.parts = ceil_div(units, unit_of_part);
    return layer;
}

// What a block computes. blockIdx.x counts tiles of output channels, so that the blocks that read
// the same pixels run together; y counts tiles across, z counts tiles down and parts.
struct Place {
    int part, first_channel, last_channel;  // its part of the input channels, [first, last)
    int row, column, n;                     // its first pixel and its first output channel

    __device__ Place(const Layer& layer, TileSize tile) {
        part = blockIdx.z % layer.parts;
        first_channel = part * layer.part_channels;
        last_channel = first_channel + layer.part_channels;
        last_channel = last_channel < layer.C ? last_channel : layer.C;
        row = blockIdx.z / layer.parts * tile.height;
        column = blockIdx.y * kTileWidth;
        n = blockIdx.x * tile.channels;
    }
};

inline dim3 grid_of(const Layer& layer, TileSize tile) {
    return dim3(ceil_div(layer.N, tile.channels),
                ceil_div(layer.W, kTileWidth),
                ceil_div(layer.H, tile.height) * layer.parts);
}

// Stores a square's sums of one part.
__device__ __forceinline__ void store_part(
    const Layer& layer, int part, int row, int column, int n, const Square& v) {
    const Output to = layer.output();
    float* sums = layer.sums + static_cast<size_t>(part) * layer.H * layer.W * layer.N;
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
        const int i = row + corner / 2, j = column + corner % 2;
        if (to.has(i, j)) {
            store_lanes(sums + to.at(i, j, n), v[corner]);
        }
    }
}

template <class Result>
__device__ __forceinline__ void store(
    const Layer& layer, const Place& place, int row, int column, int n, Square& v, Result& result) {
    if (n >= layer.N) {
        return;
    }
    if (layer.parts > 1) {
        store_part(layer, place.part, row, column, n, v);
    } else {
        result.store(layer.output(), row, column, n, v);
    }
}

constexpr int kSumThreads = 128;

// Adds the parts in order; a thread takes one square and eight channels.
template <class Result>
__global__ void __launch_bounds__(kSumThreads)
    conv3x3_sum_parts_kernel(Layer layer, Result result) {
    const Output to = layer.output();
    const int groups = layer.N / kLanes, item = blockIdx.x * kSumThreads + threadIdx.x;
    const int row = 2 * blockIdx.y, column = item / groups * 2, n = item % groups * kLanes;
    Square v = {};
    for (int part = 0; part < layer.parts; ++part) {
        const float* sums = layer.sums + static_cast<size_t>(part) * layer.H * layer.W * layer.N;
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            const int i = row + corner / 2, j = column + corner % 2;
            if (to.has(i, j)) {
                float of_part[kLanes];
                load_lanes(sums + to.at(i, j, n), of_part);
#pragma unroll
                for (int lane = 0; lane < kLanes; ++lane) {
                    v[corner][lane] += of_part[lane];
                }
            }
        }
    }
    result.store(to, row, column, n, v);
    result.finish();
}

template <class Result>
void sum_parts(const Layer& layer, Result result, cudaStream_t stream) {
    const int items = ceil_div(layer.W, 2) * (layer.N / kLanes);
    const dim3 grid(ceil_div(items, kSumThreads), ceil_div(layer.H, 2));
    LAUNCH(conv3x3_sum_parts_kernel<Result>, (grid), (kSumThreads), 0, stream, layer, result);
}

}  // namespace pynst::conv3x3
