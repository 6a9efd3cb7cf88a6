// conv3x3_tensor.cuh: a 3x3 convolution on tensor cores, as a product without an unfolded matrix.
//
//   sum[y, x, n] = sum over r, s, c of w[3 r + s, n, c] in[y + r - 1, x + s - 1, c]
//
//   in      a source (conv3x3_source.cuh); weights (9, N, C) halves, for T = float high and low.
//   out     a result (conv3x3_result.cuh).
//   mapping a block computes kHeight x 16 pixels of kChannels channels, a warp kRows rows of 16
//           pixels of 32 channels (conv3x3_walk.cuh). While one chunk of 16 input channels is
//           multiplied, the input of the next chunk is loaded, and the weights of one column of
//           taps after the other (conv3x3_tile.cuh).
//   bounds  any size; what lies outside reads as zero and is not stored.
//   order   for each output: chunks of 16 channels; within a chunk s = 0, 1, 2; within these r = 0,
//           1, 2. This does not depend on the tile. With floats the sum over a column of taps is
//           added in float32 instructions, since tensor cores truncate where they should round.
//           The parts of the input channels, if there are several, are added in their order.
//   cost    9 C N multiply-adds per pixel, three times as many for floats. Per product of 16 x 8 x
//           16 a warp of 8 rows reads 85 bytes of shared memory. What parts cost beside that, tells
//           conv3x3_layer.cuh.

#pragma once

#include <type_traits>

#include "conv3x3_walk.cuh"

namespace pynst::conv3x3 {

template <class Tile, class Source, class Weights, class Result>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kSize.resident)
    conv3x3_tensor_kernel(Source source, Weights w, Layer layer, Result result) {
    DYN_SHARED(uint4, shared);
    uint4* const ring = shared + 2 * Tile::kInput;
    const Place<Tile> place(layer.parts);
    const int first_channel = place.inner * layer.part_channels;
    const int after_part = first_channel + layer.part_channels;
    const int last_channel = after_part < layer.C ? after_part : layer.C;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int warp_row = warp % Tile::kDown * Tile::kRows;
    const int warp_n = warp / Tile::kDown * kTileChannels;
    const LaneRows rows(lane);
    const auto operands = [&](int chunk, int s) -> Operands {
        return {shared + (chunk & 1) * Tile::kInput + warp_row * kRowPieces + rows.of_column(s),
                ring + s * Tile::kStage + warp_n * kPieces + rows.weights};
    };

    // 1. fill the first tile of input and all but one stage of weights
    const int chunks = (last_channel - first_channel + kChunk - 1) / kChunk;
    const WeightCopies<Tile> weights(layer, place, first_channel);
    InputCopies<Tile, Source> input(source, layer, place, first_channel);
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
#pragma unroll
        for (int r = 0; r < 3; ++r) {
            weights.start(ring, w, layer, 0, r, s);
        }
        cp_async_commit();
    }
#pragma unroll
    for (int s = 0; s < 3; ++s) {
        input.fetch(s, 0);
        input.store(shared, s);
    }
    input.fetch(0, 1);
    cp_async_wait<kStages - 2>();
    __syncthreads();
    Fragments held;
    begin<Tile>(held, operands(0, 0));

    // 2. multiply, a column of taps at a time. A third of the next chunk's input is fetched in one
    // step and stored in the next, so that no warp ever waits for it. The work beside the products
    // is spread over the rows. Its branches also keep the compiler from loading all fragments at
    // once, which would leave the tensor cores idle meanwhile.
    float sum[Tile::kRows][4][4] = {};
    for (int chunk = 0; chunk < chunks; ++chunk) {
        uint4* const next_input = shared + (chunk + 1 & 1) * Tile::kInput;
        const auto step = [&](int s, auto first) {
            const int copied = (s + kStages - 1) % 3;
            const int chunk_copied = chunk + (s + kStages - 1) / 3;
            const auto chore = [&](int y) {
                if (y == 0 && chunk + 1 < chunks) {
                    input.store(next_input, s);
                    input.fetch((s + 1) % 3, chunk + (s + 4) / 3);
                }
                if (y >= 1 && y <= 3 && chunk_copied < chunks) {
                    weights.start(ring, w, layer, chunk_copied, y - 1, copied);
                }
                if (y == Tile::kRows) {
                    // Everything that this step reads is in registers or on the way to them. What
                    // the next step reads has to be in shared memory now.
                    cp_async_commit();
                    cp_async_wait<kStages - 2>();
                    __syncthreads();
                }
            };
            advance<Tile, decltype(first)::value>(
                sum, held, operands(chunk, s), operands(chunk + (s + 1) / 3, (s + 1) % 3), chore);
        };
        // Each step begins with the registers that the step before ended with. Where these are the
        // same for every step, the steps are one loop. Its jump keeps the compiler from moving the
        // sums of one step into the next, for which there are no registers.
        constexpr int turn = (Tile::kRows + 2) % 3;
        if constexpr (turn == 0) {
#pragma unroll 1
            for (int s = 0; s < 3; ++s) {
                step(s, std::integral_constant<int, 0>());
            }
        } else {
            step(0, std::integral_constant<int, 0>());
            step(1, std::integral_constant<int, turn>());
            step(2, std::integral_constant<int, 2 * turn % 3>());
        }
    }

    // 3. store, a square of 2 x 2 pixels at a time
    const auto squares = [&](int pair, Square& v) {
#pragma unroll
        for (int i = 0; i < 4 * kLanes; ++i) {
            const int corner = i / kLanes, channel = i % kLanes;
            v[corner][channel] =
                sum[2 * pair + corner / 2][channel / 2][corner % 2 * 2 + channel % 2];
        }
    };
    store_tile<Tile>(layer, squares, result);
}

}  // namespace pynst::conv3x3
