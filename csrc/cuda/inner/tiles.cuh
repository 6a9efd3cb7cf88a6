// tiles.cuh: tiles of an image and its border, for the ops that read the image itself.

#pragma once

#include "common.cuh"

namespace pynst {

// Upper left pixel of this block's tile; tiles are numbered along the rows by blockIdx.x.
struct TileOrigin {
    int row, column;

    __device__ TileOrigin(int W, int tile_rows, int tile_columns) {
        const int in_row = (W - 1) / tile_columns + 1;
        row = static_cast<int>(blockIdx.x) / in_row * tile_rows;
        column = static_cast<int>(blockIdx.x) % in_row * tile_columns;
    }
};

inline unsigned tiles(int H, int W, int tile_rows, int tile_columns) {
    return static_cast<unsigned>((H - 1) / tile_rows + 1) * ((W - 1) / tile_columns + 1);
}

// Index i of a line of n whose ends are repeated.
__device__ __forceinline__ int repeated(int i, int n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

// Index i of a line of n that is mirrored at its ends, with the last pixel repeated. Far outside,
// where only threads without a pixel of their own look, it gives some index within the line.
__device__ __forceinline__ int mirrored(int i, int n) {
    return repeated(i < 0 ? -1 - i : i >= n ? 2 * n - 1 - i : i, n);
}

// Pixel (row, column) of one plane (H, W); both may lie outside the image.
__device__ __forceinline__ float padded_pixel(
    const float* __restrict__ plane, int row, int column, int H, int W, Padding padding) {
    const int inner_row = repeated(row, H), inner_column = repeated(column, W);
    const bool outside = inner_row != row || inner_column != column;
    return outside && padding == Padding::zero
               ? 0.0f
               : plane[static_cast<size_t>(inner_row) * W + inner_column];
}

}  // namespace pynst
