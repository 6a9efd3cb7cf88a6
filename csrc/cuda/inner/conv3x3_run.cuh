// conv3x3_run.cuh: which kernel and which tile a 3x3 convolution runs with.
//
// A convolution goes from a source (conv3x3_source.cuh) to a result (conv3x3_result.cuh). C
// channels go into the product and N come out of it; the backward ops call with the two exchanged.
//
// The tiles were chosen by calculation for an H200, not yet by measurement.

#pragma once

#include "conv3x3_simt.cuh"
#include "conv3x3_tensor.cuh"

namespace pynst::conv3x3 {

//                           rows, warps down x across, blocks on a multiprocessor
using LargeTile = TensorTile<half, 8, 2, 4, 1>;   // 256 pixels x 128 channels
using NarrowTile = TensorTile<half, 8, 2, 2, 2>;  // 256 x 64
using FlatTile = TensorTile<half, 8, 1, 4, 2>;    // 128 x 128
using SplitTile = TensorTile<float, 4, 2, 2, 2>;  // 128 x 64

enum class HalfTile { large, narrow, flat };

inline int waves(int N, int H, int W, TileSize tile) {
    const size_t at_once = static_cast<size_t>(kMultiprocessors) * tile.resident;
    return static_cast<int>((blocks_of_part(N, H, W, tile) - 1) / at_once + 1);
}

// With 64 output channels, or an odd multiple of 64, the wide tiles would waste a half or less of
// their channels, so the narrow tile is taken. The large tile reads least from memory. The flat
// tile makes twice as many blocks, and is taken where pixels are few or where it needs fewer waves;
// one wave of either tile is the same amount of work. At 512 x 512 pixels conv3 takes the large
// tile (128 blocks), conv4 the flat one in two parts (256 blocks), conv5_1 in eight parts (256
// blocks).
inline HalfTile half_tile(int N, int H, int W) {
    const int n = padded(N);
    if (ceil_div(n, NarrowTile::kChannels) % 2 == 1) {
        return HalfTile::narrow;
    }
    const bool full = blocks_of_part(n, H, W, LargeTile::kSize) * 8 >= kMultiprocessors * 7;
    const bool fewer = waves(n, H, W, LargeTile::kSize) <= waves(n, H, W, FlatTile::kSize);
    return full && fewer ? HalfTile::large : HalfTile::flat;
}

inline TileSize half_tile_size(int N, int H, int W) {
    switch (half_tile(N, H, W)) {
        case HalfTile::large:
            return LargeTile::kSize;
        case HalfTile::narrow:
            return NarrowTile::kSize;
        default:
            return FlatTile::kSize;
    }
}

// The sizes of a convolution as its caller gives them.
struct Sizes {
    int C, N, H, W;
};

template <class Tile, class Source, class Weights, class Result>
void run_tensor(
    Source source, Weights w, Sizes s, Result result, void* scratch, cudaStream_t stream) {
    const Layer layer = make_layer(s.C, s.N, s.H, s.W, Tile::kSize, scratch);
    const auto kernel = conv3x3_tensor_kernel<Tile, Source, Weights, Result>;
    check(cudaFuncSetAttribute(
              kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes),
          "conv3x3_relu");
    LAUNCH(kernel,
           (grid_of(layer, Tile::kSize)),
           (Tile::kThreads),
           Tile::kSharedBytes,
           stream,
           source,
           w,
           layer,
           result);
    if (layer.parts > 1) {
        sum_parts(layer, result, stream);
    }
}

template <class Source, class Result>
void run_conv3x3(
    Source source, const half* w, Sizes s, Result result, void* scratch, cudaStream_t stream) {
    switch (half_tile(s.N, s.H, s.W)) {
        case HalfTile::large:
            return run_tensor<LargeTile>(source, w, s, result, scratch, stream);
        case HalfTile::narrow:
            return run_tensor<NarrowTile>(source, w, s, result, scratch, stream);
        case HalfTile::flat:
            return run_tensor<FlatTile>(source, w, s, result, scratch, stream);
    }
}

template <class Source, class Result>
void run_conv3x3(
    Source source, SplitWeights w, Sizes s, Result result, void* scratch, cudaStream_t stream) {
    run_tensor<SplitTile>(source, w, s, result, scratch, stream);
}

template <class Source, class Result>
void run_conv3x3(
    Source source, const float* w, Sizes s, Result result, void* scratch, cudaStream_t stream) {
    const Layer layer = make_layer(s.C, s.N, s.H, s.W, kSimtTile, scratch);
    const auto kernel = conv3x3_simt_kernel<Source, Result>;
    LAUNCH(
        kernel, (grid_of(layer, kSimtTile)), (kSimtThreads), 0, stream, source, w, layer, result);
    if (layer.parts > 1) {
        sum_parts(layer, result, stream);
    }
}

}  // namespace pynst::conv3x3
