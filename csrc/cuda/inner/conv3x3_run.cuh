// conv3x3_run.cuh: the tiles of a 3x3 convolution, and the launch of its kernel.
//
// A convolution goes from a source (conv3x3_source.cuh) to a result (conv3x3_result.cuh). C
// channels go into the product and N come out of it; the backward ops call with the two exchanged.
//
// The tiles were chosen by calculation for an H200, not yet by measurement.

#pragma once

#include "conv3x3_simt.cuh"
#include "conv3x3_tensor.cuh"

namespace pynst::conv3x3 {

// With 64 output channels, or an odd multiple of 64, the wide tiles would waste a half or less of
// their channels: the narrow one has none to waste. The large tile reads least from memory. The flat
// tile makes twice as many blocks, for layers of few pixels.
//
//                           rows, warps down x across, blocks on a multiprocessor
using LargeTile = TensorTile<half, 8, 2, 4, 1>;   // 256 pixels x 128 channels
using NarrowTile = TensorTile<half, 8, 2, 2, 2>;  // 256 x 64
using FlatTile = TensorTile<half, 8, 1, 4, 2>;    // 128 x 128
using SplitTile = TensorTile<float, 4, 2, 2, 2>;  // 128 x 64

// The sizes of a convolution as its caller gives them.
struct Sizes {
    int C, N, H, W;
    Division division;
    const char* op;  // for messages
};

// Launches the kernel of a product, of which each block needs shared_bytes, and adds the parts.
template <class Tile, class Source, class Weights, class Result>
void run_kernel(void (*kernel)(Source, Weights, Layer, Result),
                int shared_bytes,
                Source source,
                Weights w,
                Sizes s,
                Result result,
                void* scratch,
                cudaStream_t stream) {
    const Layer layer = make_layer(s.C, s.N, s.H, s.W, s.division, scratch);
    const int bytes =
        layer.clustered ? std::max(shared_bytes, InCluster<Tile>::kBytes) : shared_bytes;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), s.op);
    LAUNCH_CLUSTERS(kernel,
                    (grid_of<Tile>(layer, layer.parts)),
                    (Tile::kThreads),
                    bytes,
                    stream,
                    layer.clustered ? layer.parts : 1,
                    source,
                    w,
                    layer,
                    result);
    if (layer.parts > 1 && !layer.clustered) {
        sum_parts<Tile>(layer, result, stream);
    }
}

template <class Tile, class Source, class Weights, class Result>
void run_tensor(
    Source source, Weights w, Sizes s, Result result, void* scratch, cudaStream_t stream) {
    const auto kernel = conv3x3_tensor_kernel<Tile, Source, Weights, Result>;
    run_kernel<Tile>(kernel, Tile::kSharedBytes, source, w, s, result, scratch, stream);
}

template <class Source, class Result>
void run_conv3x3(
    Source source, const half* w, Sizes s, Result result, void* scratch, cudaStream_t stream) {
    switch (s.division.tile) {
        case ConvTile::large:
            return run_tensor<LargeTile>(source, w, s, result, scratch, stream);
        case ConvTile::narrow:
            return run_tensor<NarrowTile>(source, w, s, result, scratch, stream);
        default:
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
    const auto kernel = conv3x3_simt_kernel<Source, Result>;
    run_kernel<SimtTile>(kernel, 0, source, w, s, result, scratch, stream);
}

}  // namespace pynst::conv3x3
