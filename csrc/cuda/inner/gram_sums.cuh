// gram_sums.cuh: rows of G out of the sums over splits of the pixels: the second half of gram.cu, and
// the first step of style_difference.cu.
//
// A block has eight rows. What lies left of them in the lower triangle is read where its mirror image
// was stored, eight values side by side, so that each sector of memory that is read is used.

#pragma once

#include "common.cuh"
#include "ptx.cuh"

namespace pynst {

// Row and column of an element on or above the diagonal, counted row by row.
__device__ __forceinline__ void locate_in_triangle(int across, int index, int* row, int* column) {
    for (*row = 0; index >= across - *row; ++*row) {
        index -= across - *row;
    }
    *column = *row + index;
}

// How the upper triangle of G and the pixels are divided among blocks.
struct GramPartition {
    int tile;    // channels along one side of a tile, a multiple of eight
    int across;  // tiles along one side of G
    int tiles;   // tiles on and above the diagonal
    int pixels;  // pixels of one split
    int splits;

    // Partial sums of one split and tile, (tile, tile).
    __host__ __device__ size_t at(int split, int tile_index) const {
        return (static_cast<size_t>(split) * tiles + tile_index) * tile * tile;
    }
    // Those of the first split for an element on or above the diagonal.
    __device__ __forceinline__ size_t at_element(int row, int column) const {
        const int down = row / tile, right = column / tile;
        const int before = down * across - down * (down - 1) / 2;  // tiles of the rows above
        return at(0, before + right - down) + row % tile * tile + column % tile;
    }
};

// Partial sums of G, the sum of the pixels' weights, and where G belongs. Without partial sums G has
// been computed already.
struct GramSums {
    const float* partials;
    GramPartition partition;
    double total;
    double* G;
};

// Launches the first half of gram.cu; `scratch` has gram_scratch or gram_weighted_scratch bytes.
template <class T>
GramSums gram_partials(const T* F,
                       int N,
                       int M,
                       PixelWeights m,
                       Products products,
                       double* G,
                       void* scratch,
                       cudaStream_t stream);

constexpr int kGramRows = 8;       // of a block
constexpr int kGramThreads = 256;  // of a block, each of which adds four neighbours in a row
constexpr int kGramAhead = 8;      // splits that a thread asks for before it adds the first of them

// Row and column of the first of four neighbours on or above the diagonal, for item `item` of the
// 2 padded(N) of a block's rows: first those whose mirror images lie left of the rows.
__device__ __forceinline__ void locate_in_rows(
    int channels, int first, int item, int* row, int* column) {
    const int mirrored = 2 * first, quads = (channels - first) / 4;
    if (item < mirrored) {
        *row = item / 2;
        *column = first + item % 2 * 4;
    } else {
        *row = first + (item - mirrored) / quads;
        *column = first + (item - mirrored) % quads * 4;
    }
}

// Sets rows [first, first + kGramRows) of G, as far as there are any. The threads of a block that has
// fewer items share the splits of each. All threads take part, and each sees what all have written
// when it returns.
__device__ __forceinline__ void set_gram_rows(const GramSums& sums, int N, int first) {
    // In doubles; the eight more put the two halves of an item into different banks.
    constexpr int kHalf = 2 * kGramThreads + 8;
    SHARED(double, shared, 2 * kHalf);
    // Each thread reads what it has copied itself. Loads to registers would do, but ptxas makes them
    // wait for one another to save a few of these.
    SHARED(float4, landed, kGramAhead * kGramThreads);
    const GramPartition& partition = sums.partition;
    const int channels = padded(N), items = 2 * channels;
    const int runs = items < kGramThreads ? kGramThreads / items : 1;
    const int at_once = items < kGramThreads ? items : kGramThreads;
    const int run = threadIdx.x / at_once, mine = threadIdx.x % at_once;
    const size_t step = partition.at(1, 0);

    for (int begin = 0; begin < items; begin += at_once) {
        // 1. every runs-th split, four neighbours
        double sum[4] = {};
        if (run < runs && begin + mine < items) {
            int row, column;
            locate_in_rows(channels, first, begin + mine, &row, &column);
            const float* from = sums.partials + partition.at_element(row, column);
            for (int split = run; split < partition.splits; split += runs * kGramAhead) {
#pragma unroll
                for (int i = 0; i < kGramAhead; ++i) {
                    const int at = split + i * runs;
                    const bool counts = at < partition.splits;
                    const float* of_split = counts ? from + at * step : from;
                    cp_async_16(landed + i * kGramThreads + threadIdx.x, of_split, counts);
                }
                cp_async_commit();
                cp_async_wait<0>();
#pragma unroll
                for (int i = 0; i < kGramAhead; ++i) {
                    const float4 values = landed[i * kGramThreads + threadIdx.x];
                    sum[0] += values.x;
                    sum[1] += values.y;
                    sum[2] += values.z;
                    sum[3] += values.w;
                }
            }
        }
        double2* mine_of = reinterpret_cast<double2*>(shared) + threadIdx.x;
        mine_of[0] = make_double2(sum[0], sum[1]);
        mine_of[kHalf / 2] = make_double2(sum[2], sum[3]);
        __syncthreads();

        // 2. the runs, one element of G
        for (int e = threadIdx.x; e < 4 * at_once && begin + e / 4 < items; e += kGramThreads) {
            const double* of_run = shared + e % 4 / 2 * kHalf + e / 4 * 2 + e % 2;
            double value = 0.0;
            for (int r = 0; r < runs; ++r) {
                value += of_run[2 * at_once * r];
            }
            value /= sums.total;
            int row, column;
            locate_in_rows(channels, first, begin + e / 4, &row, &column);
            column += e % 4;
            if (row > column || column >= N) {
                continue;
            }
            if (row >= first) {
                sums.G[static_cast<size_t>(row) * N + column] = value;
            }
            if (column < first + kGramRows) {
                sums.G[static_cast<size_t>(column) * N + row] = value;
            }
        }
        __syncthreads();
    }
}

}  // namespace pynst
