// conv3x3_simt.cuh: a 3x3 convolution in plain float32, the reference on the device.
//
//   sum[y, x, n] = sum over r, s, c of w[3 r + s, n, c] in[y + r - 1, x + s - 1, c]
//
//   in      a source of float (conv3x3_source.cuh); weights (9, N, C) float.
//   out     a result (conv3x3_result.cuh).
//   mapping a block computes 16 x 16 pixels of 64 channels from 8 input channels at once; a thread
//           4 rows x 2 pixels of 8 channels: for each input channel it reads 24 pixels and 72
//           weights and does 576 multiply-adds.
//   bounds  any size; what lies outside reads as zero and is not stored.
//   order   per output one chain: channels, in each the taps row by row. The parts of the input
//           channels, if there are several, are added in their order.
//   cost    9 C N multiply-adds per pixel. What parts cost beside that, tells conv3x3_layer.cuh.

#pragma once

#include "conv3x3_layer.cuh"

namespace pynst::conv3x3 {

// A warp has 4 rows of 16 pixels of 32 channels.
struct SimtTile {
    static constexpr int kRows = 4, kPairs = kRows / 2, kDown = 4;
    static constexpr int kThreads = 256, kHeight = kRows * kDown, kChannels = 64;
    static constexpr ConvTileSize kSize = {kHeight, kChannels, kThreads / 32, 2};
};
constexpr int kSimtWidth = kTileWidth + 2;  // with halo
constexpr int kSimtPitch = 20;              // even: a thread reads two pixels at a time
constexpr int kSimtPlane = (SimtTile::kHeight + 2) * kSimtPitch;

// Reads eight channels of the tile with its halo, channel by channel.
template <class Source>
__device__ __forceinline__ void load_simt_input(float* input,
                                                const Source& source,
                                                const Layer& layer,
                                                const Place<SimtTile>& place,
                                                int channel) {
    const Extent extent = layer.input();
#pragma unroll 1
    for (int item = threadIdx.x; item < (SimtTile::kHeight + 2) * kSimtWidth;
         item += SimtTile::kThreads) {
        const int i = item / kSimtWidth, j = item % kSimtWidth;
        const int y = place.row + i - 1, x = place.column + j - 1;
        const auto values = source.open(source.fetch(extent, y, x, channel / kLanes), y, x);
        float* to = input + i * kSimtPitch + j;
#pragma unroll
        for (int half_of_lanes = 0; half_of_lanes < 2; ++half_of_lanes) {
            const uint4 part = values.part[half_of_lanes];
            to[(4 * half_of_lanes) * kSimtPlane] = __uint_as_float(part.x);
            to[(4 * half_of_lanes + 1) * kSimtPlane] = __uint_as_float(part.y);
            to[(4 * half_of_lanes + 2) * kSimtPlane] = __uint_as_float(part.z);
            to[(4 * half_of_lanes + 3) * kSimtPlane] = __uint_as_float(part.w);
        }
    }
}

// Weights of eight input channels, as (channel, tap, output channel).
__device__ __forceinline__ void load_simt_weights(
    float* weights, const float* w, const Layer& layer, const Place<SimtTile>& place, int channel) {
#pragma unroll 1
    for (int item = threadIdx.x; item < 9 * SimtTile::kChannels; item += SimtTile::kThreads) {
        const int n = place.n + item % SimtTile::kChannels, tap = item / SimtTile::kChannels;
        float values[kLanes] = {};
        if (n < layer.N) {
            load_lanes(w + (static_cast<size_t>(tap) * layer.N + n) * layer.C + channel, values);
        }
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
            weights[lane * 9 * SimtTile::kChannels + item] = values[lane];
        }
    }
}

using SimtSums = float[SimtTile::kRows][2][kLanes];

// One input channel: all nine taps.
__device__ __forceinline__ void multiply_simt(SimtSums& sum,
                                              const float* input,
                                              const float* weights) {
    float in[SimtTile::kRows + 2][4];
#pragma unroll
    for (int i = 0; i < SimtTile::kRows + 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            const float2 two = *reinterpret_cast<const float2*>(input + i * kSimtPitch + j);
            in[i][j] = two.x;
            in[i][j + 1] = two.y;
        }
    }
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
        float w[kLanes];
        load_lanes(weights + tap * SimtTile::kChannels, w);
#pragma unroll
        for (int i = 0; i < SimtTile::kRows; ++i) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
#pragma unroll
                for (int lane = 0; lane < kLanes; ++lane) {
                    sum[i][j][lane] = fmaf(in[i + tap / 3][j + tap % 3], w[lane], sum[i][j][lane]);
                }
            }
        }
    }
}

template <class Source, class Result>
__global__ void __launch_bounds__(SimtTile::kThreads, SimtTile::kSize.resident)
    conv3x3_simt_kernel(Source source, const float* w, Layer layer, Result result) {
    SHARED(float, input, kLanes* kSimtPlane);
    SHARED(float, weights, kLanes * 9 * SimtTile::kChannels);
    const Place<SimtTile> place(layer.parts);
    const int first_channel = place.inner * layer.part_channels;
    const int after_part = first_channel + layer.part_channels;
    const int last_channel = after_part < layer.C ? after_part : layer.C;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp % 4 * SimtTile::kRows, column = lane / 4 * 2;
    const int n = warp / 4 * kTileChannels + lane % 4 * kLanes;

    SimtSums sum = {};
    for (int channel = first_channel; channel < last_channel; channel += kLanes) {
        // 1. load eight channels
        __syncthreads();
        load_simt_input(input, source, layer, place, channel);
        load_simt_weights(weights, w, layer, place, channel);
        __syncthreads();
        // 2. multiply
#pragma unroll 1
        for (int c = 0; c < kLanes; ++c) {
            multiply_simt(sum,
                          input + c * kSimtPlane + row * kSimtPitch + column,
                          weights + c * 9 * SimtTile::kChannels + n);
        }
    }

    // 3. store
    const auto squares = [&](int pair, Square& v) {
#pragma unroll
        for (int i = 0; i < 4 * kLanes; ++i) {
            const int corner = i / kLanes;
            v[corner][i % kLanes] = sum[2 * pair + corner / 2][corner % 2][i % kLanes];
        }
    };
    store_tile<SimtTile>(layer, squares, result);
}

}  // namespace pynst::conv3x3
