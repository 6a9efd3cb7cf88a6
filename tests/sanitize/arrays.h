// arrays.h: seeded inputs, and logical arrays (C, H, W) in the layout of the CPU core.

#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels.h"
#include "naive.h"

using Floats = std::vector<float>;
using Bits = std::vector<uint16_t>;
using Choices = std::vector<uint32_t>;
using naive::Maps;
using naive::Values;
using pynst::channel_blocks;
using pynst::kLanes;

inline double noise() {
    static std::mt19937 generator(1);
    return std::normal_distribution<float>()(
        generator);  // a float, so that both sides see the same
}

inline Maps random_maps(int C, int H, int W) {
    Maps maps(C, H, W);
    for (double& v : maps.v) {
        v = noise();
    }
    return maps;
}

inline Values random_values(size_t n, double scale) {
    Values values(n);
    for (double& v : values) {
        v = static_cast<float>(scale * noise());
    }
    return values;
}

inline Floats floats(const Values& v) {
    return Floats(v.begin(), v.end());
}

inline size_t word(const Maps& m, int c, size_t pixel) {
    return static_cast<size_t>(c / kLanes) * m.H * m.W + pixel;
}

inline Floats blocked(const Maps& m) {
    const size_t M = static_cast<size_t>(m.H) * m.W;
    Floats out(channel_blocks(m.C) * M * kLanes);
    for (int c = 0; c < m.C; ++c) {
        for (size_t k = 0; k < M; ++k) {
            out[word(m, c, k) * kLanes + c % kLanes] = static_cast<float>(m.v[c * M + k]);
        }
    }
    return out;
}

inline Floats empty_features(int C, int H, int W) {
    return Floats(static_cast<size_t>(channel_blocks(C)) * H * W * kLanes, 1e30f);
}

inline Bits bits_of(const Maps& y) {
    const size_t M = static_cast<size_t>(y.H) * y.W;
    Bits bits(channel_blocks(y.C) * M);
    for (int c = 0; c < y.C; ++c) {
        for (size_t k = 0; k < M; ++k) {
            bits[word(y, c, k)] |= static_cast<uint16_t>((y.v[c * M + k] > 0) << c % kLanes);
        }
    }
    return bits;
}

inline Choices choices_of(const Maps& y, const std::vector<uint8_t>& chosen) {
    const size_t M = static_cast<size_t>(y.H) * y.W;
    Choices choices(channel_blocks(y.C) * M);
    for (int c = 0; c < y.C; ++c) {
        for (size_t k = 0; k < M; ++k) {
            choices[word(y, c, k)] |= static_cast<uint32_t>(chosen[c * M + k]) << 2 * (c % kLanes);
        }
    }
    return choices;
}

inline Values padded(const Values& v, int blocks) {
    Values out = v;
    out.resize(static_cast<size_t>(blocks) * kLanes);
    return out;
}
