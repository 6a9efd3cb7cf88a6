// conv3x3_walk.cuh: what a warp multiplies: one column of taps, walking down the rows of the input.
//
// A warp sums rows of 16 pixels x 32 output channels. It holds the weights of the taps (0, s), (1,
// s), (2, s) and walks down the input, shifted by s. So each row of the input is read once and
// serves three output rows.
//
// ldmatrix takes any address, so we are free to choose which pixel is which row of a fragment, and
// which channel is which column. Rows 0-7 are the even pixels of an image row, rows 8-15 the odd
// ones; column 2 t + e of block j of 8 is channel 8 t + 2 j + e. A thread thus ends with eight
// neighbouring channels of squares of 2 x 2 pixels, which it can pool and store alone. The even
// pixels of a row lie before its odd ones in shared memory, so that the eight rows of a fragment
// are neighbours there and cause no bank conflicts.

#pragma once

#include "conv3x3_tile.cuh"

namespace pynst::conv3x3 {

// The registers of a warp: three rows of input, and the weights of a column of taps (0, s), (1, s),
// (2, s) in four blocks of 8 channels.
struct Fragments {
    uint32_t rows[3][4];
    uint32_t taps[3][4][2];
};

template <int kChannels>
__device__ __forceinline__ void load_tap(uint32_t (&tap)[4][2], const uint4* weights, int r) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
        uint32_t two[4];
        ldmatrix_x4(two, weights + (r * kChannels + pair * 16) * kPieces);
        tap[2 * pair][0] = two[0];
        tap[2 * pair][1] = two[1];
        tap[2 * pair + 1][0] = two[2];
        tap[2 * pair + 1][1] = two[3];
    }
}

// Addresses in shared memory from which one walk down the rows of the input loads its fragments.
struct Operands {
    const uint4 *input, *weights;
};

// Loads what a walk expects on entry: rows 0 and 1 and taps 0 and 1.
template <class Tile>
__device__ __forceinline__ void begin(Fragments& held, Operands first) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        ldmatrix_x4(held.rows[i], first.input + i * kRowPieces);
        load_tap<Tile::kChannels>(held.taps[i], first.weights, i);
    }
}

// sum += three taps of 16 channels. Row y of the input serves the output rows y, y - 1 and y - 2.
// Everything is loaded two rows before it is used, also across the end of the walk: on entry rows 0
// and 1 and taps 0 and 1 are in registers, on return those of `next`. chore(y) is called in row y
// before its loads.
template <class Tile, int kFirst, bool kLoadTaps, bool kNextTaps, class Chore>
__device__ __forceinline__ void walk(float (&sum)[Tile::kRows][4][4],
                                     Fragments& held,
                                     Operands here,
                                     Operands next,
                                     const Chore& chore) {
    constexpr int kRows = Tile::kRows;
#pragma unroll
    for (int y = 0; y < kRows + 2; ++y) {
        chore(y);
        const uint4* row =
            y < kRows ? here.input + (y + 2) * kRowPieces : next.input + (y - kRows) * kRowPieces;
        ldmatrix_x4(held.rows[(kFirst + y + 2) % 3], row);
        if (kLoadTaps && y == 0) {
            load_tap<Tile::kChannels>(held.taps[2], here.weights, 2);
        }
        if (kNextTaps && y >= kRows) {
            load_tap<Tile::kChannels>(held.taps[y - kRows], next.weights, y - kRows);
        }
#pragma unroll
        for (int r = 2; r >= 0; --r) {
            if (y - r >= 0 && y - r < kRows) {
#pragma unroll
                for (int block = 0; block < 4; ++block) {
                    mma_m16n8k16(
                        sum[y - r][block], held.rows[(kFirst + y) % 3], held.taps[r][block]);
                }
            }
        }
    }
}

template <int kRows>
__device__ __forceinline__ void add(float (&sum)[kRows][4][4],
                                    const float (&more)[kRows][4][4],
                                    float factor) {
#pragma unroll
    for (int y = 0; y < kRows; ++y) {
#pragma unroll
        for (int block = 0; block < 4; ++block) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                sum[y][block][i] = fmaf(more[y][block][i], factor, sum[y][block][i]);
            }
        }
    }
}

// One column of taps. Halves need one product. Floats need three (split.cuh): high * high, and the
// two small ones, which are summed apart. The chores are spread over these three walks so that
// fewest registers are in use at a time: chore(1) .. chore(kRows - 1) in the first walk, chore(0),
// which brings the input, in the second, and chore(kRows), after which the next step may begin, in
// the third.
template <class Tile, int kFirst, class Chore>
__device__ __forceinline__ void advance(float (&sum)[Tile::kRows][4][4],
                                        Fragments& held,
                                        Operands here,
                                        Operands next,
                                        const Chore& chore) {
    if constexpr (Tile::kPlanes == 1) {
        walk<Tile, kFirst, true, true>(sum, held, here, next, chore);
    } else {
        static_assert((Tile::kRows + 2) % 3 == 0, "every walk begins with the same registers");
        const Operands low = {here.input + Tile::kInputPlane, here.weights + Tile::kWeightPlane};
        const auto copies = [&](int y) {
            if (y + 1 < Tile::kRows) {
                chore(y + 1);
            }
        };
        const auto input = [&](int y) {
            if (y == 0) {
                chore(y);
            }
        };
        const auto ahead = [&](int y) {
            if (y == Tile::kRows) {
                chore(y);
            }
        };
        float large[Tile::kRows][4][4] = {};
        walk<Tile, 0, true, false>(large, held, here, low, copies);
        add<Tile::kRows>(sum, large, 1.0f);
        float small[Tile::kRows][4][4] = {};
        walk<Tile, 0, false, true>(small, held, low, {here.input, low.weights}, input);
        walk<Tile, 0, true, true>(small, held, {here.input, low.weights}, next, ahead);
        add<Tile::kRows>(sum, small, 1.0f / kSplitScale);
    }
}

// Offsets at which this lane finds its rows of fragments: of the input for s = 0, 1, 2, and of the
// weights.
struct LaneRows {
    int input[3], weights;

    __device__ explicit LaneRows(unsigned lane) {
        const unsigned row = lane % 8, odd = lane / 8 % 2, piece = lane / 16;
#pragma unroll
        for (int s = 0; s < 3; ++s) {
            const unsigned column = 2 * row + odd + s;
            input[s] = swizzled(column % 2 * kFirstOdd + column / 2, piece);
        }
        weights = swizzled(lane / 16 * 8 + row, odd);
    }
    // Selects instead of indexing: an array that is indexed in a loop that is not unrolled would
    // lie in memory, not in registers.
    __device__ __forceinline__ int of_column(int s) const {
        const int first = s == 0 ? input[0] : input[1];
        return s == 2 ? input[2] : first;
    }
};

}  // namespace pynst::conv3x3
