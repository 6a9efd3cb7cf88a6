// conv3x3_tile.cuh: how a block on tensor cores brings its input and weights to shared memory.
//
// Shared memory holds two buffers of input and a ring of three stages of weights. A buffer has the
// tile with its halo, 16 channels of it, for all nine taps. The input passes through registers,
// where gates are applied and floats are split; in a row the even pixels lie before the odd ones
// (conv3x3_walk.cuh tells why). Stage s of the ring has the taps (0, s), (1, s), (2, s) of the same
// 16 channels, copied without passing through registers.

#pragma once

#include "conv3x3_layer.cuh"
#include "ptx.cuh"
#include "split.cuh"

namespace pynst::conv3x3 {

constexpr int kChunk = 16;              // input channels of one buffer
constexpr int kStages = 3;              // stages of the ring of weights, one for each s
constexpr int kHaloWidth = 18;          // pixels that are read for a row of 16
constexpr int kThird = kHaloWidth / 3;  // columns of the input that are brought at a time
constexpr int kNowhere = 1 << 30;       // the number of a row below every image
constexpr int kHaloPitch = 20;          // places for a row: even pixels at 0..8, odd ones at 10..18
constexpr int kFirstOdd = 10;  // is 2 modulo 4, so that neighbouring pixels have no bank conflict
constexpr int kPiece = 8;      // halves of a piece: 16 bytes, the unit of shared memory here
constexpr int kPieces = kChunk / kPiece;  // pieces of a pixel, or of an output channel's weights
constexpr int kRowPieces = kHaloPitch * kPieces;

template <class T, int kRows_, int kWarpsDown, int kWarpsAcross, int kResident>
struct TensorTile {
    static constexpr int kRows = kRows_;  // rows of pixels of a warp
    static constexpr int kPairs = kRows / 2;
    static constexpr int kDown = kWarpsDown;
    static constexpr int kThreads = 32 * kWarpsDown * kWarpsAcross;
    static constexpr int kHeight = kRows * kWarpsDown;
    static constexpr int kChannels = kTileChannels * kWarpsAcross;
    static constexpr ConvTileSize kSize = {kHeight, kChannels, kThreads / 32, kResident};
    static constexpr int kPlanes = sizeof(T) / sizeof(half);  // high and low halves of floats
    static constexpr int kInputPlane = (kHeight + 2) * kRowPieces;
    static constexpr int kInput = kPlanes * kInputPlane;
    static constexpr int kWeightPlane = 3 * kChannels * kPieces;
    static constexpr int kStage = kPlanes * kWeightPlane;
    static constexpr int kSharedBytes = (2 * kInput + kStages * kStage) * 16;
    static_assert(kSharedBytes <= 64 * 1024, "sm_75 has no more");

    // Groups of eight channels that a thread brings of a third of the input's columns.
    static constexpr int kItems = ((kHeight + 2) * kThird * kPieces + kThreads - 1) / kThreads;
    static_assert((kHeight + 2) % kItems == 0, "threads share the rows evenly");
    static_assert(kChannels * kPieces % kThreads == 0, "threads share a tap's weights evenly");
};

// The two 16-byte pieces of neighbouring pixels change places every four pixels, so that eight
// pixels' first pieces lie in eight different groups of banks.
__device__ __forceinline__ int swizzled(int place, int piece) {
    return place * kPieces + (piece ^ (place >> 2 & 1));
}

__device__ __forceinline__ void store_planes(uint4* to, int, const Packed<half>& values) {
    *to = values.part[0];
}

__device__ __forceinline__ void store_planes(uint4* to, int plane, const Packed<float>& values) {
    const float* from = reinterpret_cast<const float*>(values.part);
    uint4 planes[2];
    half* high = reinterpret_cast<half*>(&planes[0]);
    half* low = reinterpret_cast<half*>(&planes[1]);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
        const Split parts = split(from[lane]);
        high[lane] = parts.high;
        low[lane] = parts.low;
    }
    to[0] = planes[0];
    to[plane] = planes[1];
}

__device__ __forceinline__ const half* weight_plane(const half* w, int) {
    return w;
}
__device__ __forceinline__ const half* weight_plane(SplitWeights w, int plane) {
    return plane == 0 ? w.high : w.low;
}

// What one thread brings of a tile's input: for each third of the columns, eight channels of one
// pixel, or of several pixels that are kStep rows apart.
template <class Tile, class Source>
struct InputCopies {
    static constexpr int kStep = (Tile::kHeight + 2) / Tile::kItems;
    const Source& source;
    Extent extent;
    int y, x, group, row_place, column_place, piece;
    typename Source::Fetched fetched[Tile::kItems];

    __device__ __forceinline__ InputCopies(const Source& from,
                                           const Layer& layer,
                                           const Place<Tile>& tile,
                                           int first_channel)
        : source(from), extent(layer.input()) {
        const unsigned column = threadIdx.x / kPieces % kThird;
        const int row = threadIdx.x / (kPieces * kThird);
        piece = threadIdx.x % kPieces;
        group = first_channel / kLanes + piece;
        y = row < kStep ? tile.row + row - 1 : kNowhere;
        x = tile.column + column - 1;
        row_place = row * kRowPieces;
        column_place = column % 2 * kFirstOdd + column / 2;
    }
    // fetch() loads from global memory to registers; store() writes from there to shared memory.
    __device__ __forceinline__ void fetch(int third, int chunk) {
#pragma unroll
        for (int i = 0; i < Tile::kItems; ++i) {
            fetched[i] =
                source.fetch(extent, y + i * kStep, x + third * kThird, group + chunk * kPieces);
        }
    }
    __device__ __forceinline__ void store(uint4* to, int third) const {
        const int place = row_place + swizzled(column_place + third * (kThird / 2), piece);
        if (y < kNowhere) {
#pragma unroll
            for (int i = 0; i < Tile::kItems; ++i) {
                store_planes(to + place + i * kStep * kRowPieces,
                             Tile::kInputPlane,
                             source.open(fetched[i], y + i * kStep, x + third * kThird));
            }
        }
    }
};

// What one thread copies of the weights: eight input channels of one output channel, or of several.
template <class Tile>
struct WeightCopies {
    static constexpr int kAtOnce = Tile::kThreads / kPieces;  // output channels
    static constexpr int kMore = Tile::kChannels / kAtOnce;
    int channel, at, to;
    bool valid[kMore];

    __device__ __forceinline__ WeightCopies(const Layer& layer,
                                            const Place<Tile>& place,
                                            int first_channel) {
        const unsigned piece = threadIdx.x % kPieces, first = threadIdx.x / kPieces;
        // column 2 t + e of block j is channel 8 t + 2 j + e of 32
        const int n = place.n + first / kTileChannels * kTileChannels + first % 8 / 2 * 8 +
                      first / 8 % 4 * 2 + first % 2;
        channel = first_channel + piece * kPiece;
        at = n * layer.C + channel;
        to = swizzled(first, piece);
#pragma unroll
        for (int i = 0; i < kMore; ++i) {
            valid[i] = n + i * kAtOnce < layer.N;
        }
    }
    // Tap (r, s) of a chunk.
    template <class Weights>
    __device__ __forceinline__ void start(
        uint4* ring, Weights w, const Layer& layer, int chunk, int r, int s) const {
        uint4* const stage = ring + s * Tile::kStage;
        const int tap = (3 * r + s) * layer.N * layer.C + chunk * kChunk;
        const bool inside = channel + chunk * kChunk < layer.C;
#pragma unroll
        for (int plane = 0; plane < Tile::kPlanes; ++plane) {
            const half* const from = weight_plane(w, plane);
#pragma unroll
            for (int i = 0; i < kMore; ++i) {
                cp_async_16(stage + plane * Tile::kWeightPlane +
                                (r * Tile::kChannels + i * kAtOnce) * kPieces + to,
                            inside && valid[i] ? from + (at + i * kAtOnce * layer.C + tap) : from,
                            inside && valid[i]);
            }
        }
    }
};

}  // namespace pynst::conv3x3
