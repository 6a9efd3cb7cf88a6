// lanes.cuh: eight neighbouring channels of a pixel, the unit in which features are read and
// written.
//
// Eight halves are 16 bytes, the widest access of a thread; their ReLU bits are one byte and their
// choices one 16-bit word. Addresses are multiples of eight values, since pixels hold padded(C).

#pragma once

#include "common.cuh"

namespace pynst {

__device__ __forceinline__ void load_lanes(const float* from, float (&values)[kLanes]) {
    const float4* parts = reinterpret_cast<const float4*>(from);
    const float4 low = parts[0], high = parts[1];
    values[0] = low.x;
    values[1] = low.y;
    values[2] = low.z;
    values[3] = low.w;
    values[4] = high.x;
    values[5] = high.y;
    values[6] = high.z;
    values[7] = high.w;
}

__device__ __forceinline__ void load_lanes(const half* from, float (&values)[kLanes]) {
    const uint4 packed = *reinterpret_cast<const uint4*>(from);
    const half* halves = reinterpret_cast<const half*>(&packed);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        values[i] = __half2float(halves[i]);
    }
}

__device__ __forceinline__ void store_lanes(float* to, const float (&values)[kLanes]) {
    float4* parts = reinterpret_cast<float4*>(to);
    parts[0] = make_float4(values[0], values[1], values[2], values[3]);
    parts[1] = make_float4(values[4], values[5], values[6], values[7]);
}

__device__ __forceinline__ void store_lanes(half* to, const float (&values)[kLanes]) {
    uint4 packed;
    half* halves = reinterpret_cast<half*>(&packed);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        halves[i] = __float2half(values[i]);
    }
    *reinterpret_cast<uint4*>(to) = packed;
}

// A ReLU that lets NaN through, so that a forward pass that overflowed does not look healthy.
__device__ __forceinline__ float rectified(float z) {
    return z < 0.0f ? 0.0f : z;
}

// Rounds eight rectified values to T and tells which of them are positive as they are stored, so
// that the bits are those of the features that the next layer reads.
template <class T>
__device__ __forceinline__ unsigned rounded_bits(float (&values)[kLanes]) {
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        values[i] = to_float(from_float<T>(values[i]));
        bits |= (values[i] > 0.0f ? 1u : 0u) << i;
    }
    return bits;
}

// Rectifies and stores eight values, and returns the bits of those that are positive as stored.
__device__ __forceinline__ unsigned store_rectified(float* to, float (&values)[kLanes]) {
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        values[i] = rectified(values[i]);
    }
    store_lanes(to, values);
    return rounded_bits<float>(values);
}

// The same for halves, two at a time: adding 0x7fff carries into the sign bit of every half that is
// not zero.
__device__ __forceinline__ unsigned store_rectified(half* to, float (&values)[kLanes]) {
    uint32_t words[kLanes / 2], bits = 0;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        reinterpret_cast<half*>(words)[i] = __float2half(rectified(values[i]));
    }
#pragma unroll
    for (int i = 0; i < kLanes / 2; ++i) {
        words[i] &= 0x7fff7fffu;  // a negative zero is a zero
        bits |= ((words[i] + 0x7fff7fffu) & 0x80008000u) >> (15 - 2 * i);
    }
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
    return (bits | bits >> 15) &
           0xffu;  // the bits of the upper halves go between those of the lower ones
}

}  // namespace pynst
