// partition.h: arithmetic for cutting work and scratch into pieces.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "inner.h"

namespace pynst {

constexpr int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

// Pieces of scratch begin at multiples of 64 bytes, the length of a cache line.
constexpr size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

// Whether the blocks of H x W pixels that are written to `to` are more than the caches hold until
// the next op reads them. If so, they are stored past the caches, which saves fetching their lines
// first: about 1 % of a closure at 512 pixels, 1 to 2 % at 1024.
inline bool past_caches(const float* to, int blocks, int H, int W) {
    constexpr size_t kCached = 6 << 20;  // bytes
    const size_t bytes = static_cast<size_t>(blocks) * H * W * kLanes * sizeof(float);
    return bytes > kCached && reinterpret_cast<uintptr_t>(to) % 64 == 0;
}

// Bytes of scratch of one task of a planar op, for `groups` groups of 16 filters of 2 radius + 1
// taps.
inline size_t planar_scratch(int groups, int W, int radius, int strip) {
    // A padded row, and room for one register block more.
    const size_t pixels = static_cast<size_t>(W) + 4 * radius + kLanes;
    const size_t forward = 3 * (strip + 2 * radius) * pixels;
    const size_t backward = 3 * pixels + kLanes + (2 * radius + 1) * groups * pixels * kLanes;
    return round_up(std::max(forward, backward) * sizeof(float));
}

}  // namespace pynst
