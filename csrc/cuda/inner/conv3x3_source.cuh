// conv3x3_source.cuh: what a 3x3 convolution reads: features, or gradients behind ReLU and pooling.
//
// A source gives eight channels of any pixel, and zeros outside of the image. fetch() starts the
// loads. open() uses what they brought, much later: between the two a kernel multiplies.

#pragma once

#include "common.cuh"
#include "lanes.cuh"

namespace pynst::conv3x3 {

// Eight channels of a pixel as they lie in memory.
template <class T>
struct Packed {
    static constexpr int kParts = sizeof(T) * kLanes / sizeof(uint4);
    uint4 part[kParts];
};

template <class T>
__device__ __forceinline__ Packed<T> load_packed(const T* from) {
    Packed<T> packed;
#pragma unroll
    for (int i = 0; i < Packed<T>::kParts; ++i) {
        packed.part[i] = reinterpret_cast<const uint4*>(from)[i];
    }
    return packed;
}

template <class T>
__device__ __forceinline__ Packed<T> packed_zeros() {
    Packed<T> packed;
#pragma unroll
    for (int i = 0; i < Packed<T>::kParts; ++i) {
        packed.part[i] = make_uint4(0, 0, 0, 0);
    }
    return packed;
}

// The mask for 32-bit word `word` of eight channels; `open` has one bit for each channel.
template <class T>
__device__ __forceinline__ unsigned word_mask(unsigned open, int word) {
    if (sizeof(T) == sizeof(float)) {
        return 0u - (open >> word & 1u);
    }
    const unsigned pair = open >> (2 * word);
    return (pair & 1u) * 0x0000ffffu | (pair >> 1 & 1u) * 0xffff0000u;
}

// Zero where a channel's bit is not set, even if the channel holds a NaN.
template <class T>
__device__ __forceinline__ void keep_open(Packed<T>& packed, unsigned open) {
#pragma unroll
    for (int i = 0; i < Packed<T>::kParts; ++i) {
        packed.part[i].x &= word_mask<T>(open, 4 * i);
        packed.part[i].y &= word_mask<T>(open, 4 * i + 1);
        packed.part[i].z &= word_mask<T>(open, 4 * i + 2);
        packed.part[i].w &= word_mask<T>(open, 4 * i + 3);
    }
}

// The channels, one bit each, whose choice is `corner`.
__device__ __forceinline__ unsigned chosen(unsigned choices, unsigned corner) {
    const unsigned differs = choices ^ (corner * 0x5555u);
    unsigned equal = ~(differs | differs >> 1) & 0x5555u;
    equal = (equal | equal >> 1) & 0x3333u;  // every second bit, moved together
    equal = (equal | equal >> 2) & 0x0f0fu;
    return (equal | equal >> 4) & 0x00ffu;
}

// H x W pixels of `groups` times eight channels.
struct Extent {
    int H, W, groups;

    // y and x may be negative.
    __device__ __forceinline__ bool has(int y, int x, int group) const {
        return static_cast<unsigned>(y) < static_cast<unsigned>(H) &&
               static_cast<unsigned>(x) < static_cast<unsigned>(W) && group < groups;
    }
    __device__ __forceinline__ size_t at(int y, int x, int group) const {
        return static_cast<size_t>(y * W + x) * groups + group;
    }
};

// x
template <class T>
struct Features {
    const T* x;

    using Fetched = Packed<T>;
    __device__ __forceinline__ Fetched fetch(Extent extent, int row, int column, int group) const {
        if (!extent.has(row, column, group)) {
            return packed_zeros<T>();
        }
        return load_packed(x + extent.at(row, column, group) * kLanes);
    }
    __device__ __forceinline__ Packed<T> open(const Fetched& fetched, int, int) const {
        return fetched;
    }
};

// dy where the ReLU let its input through, else 0
template <class T>
struct Gated {
    const T* dy;
    const uint8_t* bits;

    struct Fetched {
        Packed<T> values;
        unsigned open;
    };
    __device__ __forceinline__ Fetched fetch(Extent extent, int row, int column, int group) const {
        if (!extent.has(row, column, group)) {
            return {packed_zeros<T>(), 0};
        }
        const size_t at = extent.at(row, column, group);
        return {load_packed(dy + at * kLanes), bits[at]};
    }
    __device__ __forceinline__ Packed<T> open(const Fetched& fetched, int, int) const {
        Packed<T> values = fetched.values;
        keep_open<T>(values, fetched.open);
        return values;
    }
};

// dy of the pooled map where the ReLU let its input through, else 0. The average gives dy to all
// four pixels of its square (the factor of a quarter is applied to the result), the maximum to the
// chosen pixel.
template <class T>
struct Unpooled {
    const T* dy;
    const uint8_t* bits;
    const uint16_t* choices;  // null: average

    struct Fetched {
        Packed<T> values;
        unsigned open, choices;
    };
    __device__ __forceinline__ Fetched fetch(Extent extent, int row, int column, int group) const {
        const Extent pooled = {extent.H / 2, extent.W / 2, extent.groups};
        // the odd last row and column were dropped; an arithmetic shift keeps -1 outside
        if (!pooled.has(row >> 1, column >> 1, group)) {
            return {packed_zeros<T>(), 0, 0};
        }
        const size_t at = pooled.at(row >> 1, column >> 1, group);
        return {load_packed(dy + at * kLanes),
                bits[extent.at(row, column, group)],
                choices == nullptr ? 0u : choices[at]};
    }
    __device__ __forceinline__ Packed<T> open(const Fetched& fetched, int row, int column) const {
        Packed<T> values = fetched.values;
        unsigned open = fetched.open;
        if (choices != nullptr) {
            open &= chosen(fetched.choices, (row & 1) * 2 + (column & 1));
        }
        keep_open<T>(values, open);
        return values;
    }
};

}  // namespace pynst::conv3x3
