// product_tile.cuh: tiles of a row-major matrix on their way from global to shared memory as
// halves.
//
// A tile of halves is copied as it is (cp.async). A tile of float32 is split on the way
// (split.cuh): it passes through registers and is stored as two tiles, `high` and behind it `low`.
// Both kinds are used alike: fetch() starts the copy, and land() ends it before the barrier that
// publishes the tile.

#pragma once

#include <cstring>

#include "common.cuh"
#include "ptx.cuh"
#include "split.cuh"

namespace pynst {

// Blocks that shall share a multiprocessor, for __launch_bounds__. On sm_75 shared memory has room
// for one block only.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int resident(int) {
    return 1;
}
#else
constexpr int resident(int blocks) {
    return blocks;
}
#endif

// The bits of a value as another type of the same size; a copy in registers. The value is passed by
// value: from a reference to global memory nvcc would make sixteen copies of single bytes.
template <class To, class From>
__device__ __forceinline__ To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "a view of the same bytes");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

// A row-major matrix with 16-byte aligned rows. What lies outside reads as zero; at() may give the
// address of an element outside, which must not be read.
template <class T>
struct Matrix {
    const T* data;
    int rows, columns;  // columns is a multiple of 8, and the distance between rows

    __device__ __forceinline__ bool holds(int row, int column) const {
        return row < rows && column < columns;
    }
    __device__ __forceinline__ const T* at(int row, int column) const {
        return data + static_cast<size_t>(row) * columns + column;
    }
    // The matrix of the same size that lies `index` places behind this one.
    __device__ __forceinline__ Matrix part(int index) const {
        return {at(index * rows, 0), rows, columns};
    }
};

// Shape of a tile in shared memory. Rows stand an odd number of 16-byte pieces apart, so that the
// eight rows that one phase of ldmatrix reads lie in different banks.
template <int kRows, int kColumns>
struct Tile {
    static_assert(kColumns % 16 == 0, "an even number of pieces, to be made odd");
    static constexpr int kStride = kColumns + 8;
    static constexpr int kHalves = kRows * kStride;
};

template <class T, int kRows, int kColumns, int kThreads>
class TileCopy;

template <int kRows, int kColumns, int kThreads>
class TileCopy<half, kRows, kColumns, kThreads> : public Tile<kRows, kColumns> {
   public:
    static constexpr int kParts = 1;

    __device__ __forceinline__ void fetch(const Matrix<half>& from,
                                          int row,
                                          int column,
                                          half* tile) {
        constexpr int kAcross = kColumns / 8, kPieces = kRows * kAcross;
        const half* corner = from.at(row, column);
#pragma unroll
        for (int i = 0; i < ceil_div(kPieces, kThreads); ++i) {
            const int piece = threadIdx.x + i * kThreads;
            const int r = piece / kAcross, c = piece % kAcross * 8;
            if ((i + 1) * kThreads <= kPieces || piece < kPieces) {
                cp_async_16(tile + r * this->kStride + c,
                            corner + r * from.columns + c,
                            from.holds(row + r, column + c));
            }
        }
    }

    __device__ __forceinline__ void land(half*) {}
};

template <int kRows, int kColumns, int kThreads>
class TileCopy<float, kRows, kColumns, kThreads> : public Tile<kRows, kColumns> {
   public:
    static constexpr int kParts = 2;

    __device__ __forceinline__ void fetch(const Matrix<float>& from, int row, int column, half*) {
        const float* corner = from.at(row, column);
#pragma unroll
        for (int i = 0; i < kTurns; ++i) {
            const int piece = threadIdx.x + i * kThreads;
            const int r = piece / kAcross, c = piece % kAcross * 4;
            const bool valid = from.holds(row + r, column + c) && inside(i, piece);
            values_[i] = valid ? *reinterpret_cast<const float4*>(corner + r * from.columns + c)
                               : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }

    __device__ __forceinline__ void land(half* tile) {
#pragma unroll
        for (int i = 0; i < kTurns; ++i) {
            const int piece = threadIdx.x + i * kThreads;
            if (inside(i, piece)) {
                half* to = tile + piece / kAcross * this->kStride + piece % kAcross * 4;
                store(values_[i], to, to + this->kHalves);
            }
        }
    }

   private:
    static constexpr int kAcross = kColumns / 4, kPieces = kRows * kAcross;
    static constexpr int kTurns = ceil_div(kPieces, kThreads);
    struct Halves {
        half x, y, z, w;
    };

    __device__ __forceinline__ static bool inside(int turn, int piece) {
        return (turn + 1) * kThreads <= kPieces || piece < kPieces;
    }

    __device__ __forceinline__ static void store(const float4& value, half* high, half* low) {
        const Split x = split(value.x), y = split(value.y), z = split(value.z), w = split(value.w);
        *reinterpret_cast<uint2*>(high) = bits_as<uint2>(Halves{x.high, y.high, z.high, w.high});
        *reinterpret_cast<uint2*>(low) = bits_as<uint2>(Halves{x.low, y.low, z.low, w.low});
    }

    float4 values_[kTurns];
};

}  // namespace pynst
