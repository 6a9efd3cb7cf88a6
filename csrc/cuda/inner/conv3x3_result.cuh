// conv3x3_result.cuh: what a 3x3 convolution does with its sums: bias, ReLU, pooling, and storing.
//
// A thread hands over the sums of eight channels in a square of 2 x 2 pixels, v[2 i + j] for pixel
// (y + i, x + j), y and x even: pooling needs no other thread, and a store is 16 bytes of halves.
// Pixels outside of the image are skipped here.

#pragma once

#include "common.cuh"
#include "lanes.cuh"

namespace pynst::conv3x3 {

using Square = float[4][kLanes];

struct Output {
    int H, W, N;  // N: padded

    __device__ bool has(int y, int x) const {
        return y < H && x < W;
    }
    __device__ size_t at(int y, int x, int n) const {
        return (static_cast<size_t>(y) * W + x) * N + n;
    }
};

// Adds the bias and rectifies.
__device__ __forceinline__ void rectify(const float* b, int n, Square& v) {
    float bias[kLanes];
    load_lanes(b + n, bias);
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
            v[corner][lane] = rectified(v[corner][lane] + bias[lane]);
        }
    }
}

// y = max(0, sum + b)
template <class T>
struct Rectified {
    const float* b;
    T* y;
    uint8_t* bits;

    __device__ __forceinline__ void store(Output to, int row, int column, int n, Square& v) {
        rectify(b, n, v);
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            const int i = row + corner / 2, j = column + corner % 2;
            const unsigned positive = rounded_bits<T>(v[corner]);
            if (to.has(i, j)) {
                const size_t at = to.at(i, j, n);
                store_lanes(y + at, v[corner]);
                if (bits != nullptr) {
                    bits[at / kLanes] = static_cast<uint8_t>(positive);
                }
            }
        }
    }
    __device__ __forceinline__ void finish() const {}
};

// The maximum of a square as features hold it, and which pixel it was, the first of equals. A NaN
// counts as the maximum, so that it stays visible.
__device__ __forceinline__ unsigned maximum(const Square& v, float (&best)[kLanes]) {
    unsigned choices = 0;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
        best[lane] = v[0][lane];
        unsigned choice = 0;
#pragma unroll
        for (unsigned corner = 1; corner < 4; ++corner) {
            const float other = v[corner][lane];
            const bool better = other > best[lane] || other != other;
            best[lane] = better ? other : best[lane];
            choice = better ? corner : choice;
        }
        choices |= choice << (2 * lane);
    }
    return choices;
}

// y = the mean or the maximum of four max(0, sum + b)
template <class T>
struct RectifiedAndPooled {
    const float* b;
    T* y;
    uint8_t* bits;
    uint16_t* choices;
    Pooling mode;

    __device__ __forceinline__ void store(Output to, int row, int column, int n, Square& v) {
        rectify(b, n, v);
        float pooled[kLanes];
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {  // before rounding, so that it is rounded once
            pooled[lane] = 0.25f * ((v[0][lane] + v[1][lane]) + (v[2][lane] + v[3][lane]));
        }
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            const int i = row + corner / 2, j = column + corner % 2;
            const unsigned positive = rounded_bits<T>(v[corner]);
            if (bits != nullptr && to.has(i, j)) {
                bits[to.at(i, j, n) / kLanes] = static_cast<uint8_t>(positive);
            }
        }
        if (!to.has(row + 1, column + 1)) {
            return;  // an odd last row or column is dropped
        }
        const size_t at = Output{to.H / 2, to.W / 2, to.N}.at(row / 2, column / 2, n);
        if (mode == Pooling::max) {
            const unsigned chosen = maximum(v, pooled);
            if (choices != nullptr) {
                choices[at / kLanes] = static_cast<uint16_t>(chosen);
            }
        }
        store_lanes(y + at, pooled);
    }
    __device__ __forceinline__ void finish() const {}
};

// dx = factor * sum
template <class T>
struct Gradient {
    T* dx;
    float factor;
    GradientScale* scale;
    unsigned largest = 0;  // bits of the largest magnitude; compared as bits, a NaN is the largest

    Gradient(T* dx_, float factor_, GradientScale* scale_)
        : dx(dx_), factor(factor_), scale(scale_) {}

    __device__ __forceinline__ void store(Output to, int row, int column, int n, Square& v) {
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            const int i = row + corner / 2, j = column + corner % 2;
            if (!to.has(i, j)) {
                continue;
            }
#pragma unroll
            for (int lane = 0; lane < kLanes; ++lane) {
                v[corner][lane] *= factor;
                const unsigned magnitude = __float_as_uint(v[corner][lane]) & 0x7fffffffu;
                largest = magnitude > largest ? magnitude : largest;
            }
            store_lanes(dx + to.at(i, j, n), v[corner]);
        }
    }
    // All threads of the block call this.
    __device__ __forceinline__ void finish() const {
        note_largest(scale, __uint_as_float(largest));
    }
};

}  // namespace pynst::conv3x3
