// gram.cpp: Gram matrix of one layer's feature maps.
//
//   G_ij = sum_p m_p F_ip F_jp / sum_p m_p      Gatys et al. 2016, Eq. 3, divided by the number of
//                                               pixels; with m the guided form of 2017, m = T^2
//
//   in      F (N, M) in blocks of 16 channels. N = channels, M = height * width. m (M,) in [0, 1],
//           or null for ones, and its sum.
//   out     G (N, N) float64, exactly symmetric, overwritten.
//   mapping a task has one tile, up to 128 x 128, of the upper triangle and one strip of pixels. In
//           a tile, register blocks of rows x columns sum outer products over runs of pixels: the
//           blocked layout is already the packed form that a matrix multiplication wants.
//   bounds  any N, M >= 1.
//   order   float32 over runs of 64 pixels, then over the runs of a strip; float64 over the strips.
//   cost    N (N + 16) M / 2 multiply-adds; F is read once per 128 channels. With m, one more
//           multiplication per pixel and row of each tile.

#include <algorithm>

#include "kernels.h"
#include "partition.h"

namespace pynst {
namespace {

constexpr int kTileBlocks = 8;         // channel blocks along one side of a tile
constexpr int kTasks = 32;             // tasks wanted, for an even load
constexpr size_t kLeastPixels = 1024;  // of a strip, because adding its sums takes time, too
constexpr size_t kMostPixels = 4096;   // of a strip, because it is summed in float32

struct Partition {
    int across;           // tiles along one side of G
    int tiles;            // tiles of the upper triangle
    int strips;           // strips of pixels
    size_t strip;         // pixels of one strip
    size_t sums_of_tile;  // floats that the sums of one tile take

    Partition(int N, size_t M) {
        across = ceil_div(channel_blocks(N), kTileBlocks);
        tiles = across * (across + 1) / 2;
        const size_t side = std::min(kTileBlocks, channel_blocks(N)) * kLanes;
        sums_of_tile = side * side;
        const size_t wanted = M / ceil_div(kTasks, tiles);
        strip = std::min(std::max(wanted, kLeastPixels), kMostPixels);
        strip = (strip + kGramRun - 1) / kGramRun * kGramRun;
        strips = static_cast<int>((M + strip - 1) / strip);
    }

    float* sums(void* scratch, int strip, int tile) const {
        return static_cast<float*>(scratch) +
               (static_cast<size_t>(strip) * tiles + tile) * sums_of_tile;
    }
    size_t sums_bytes() const {
        return static_cast<size_t>(strips) * tiles * sums_of_tile * sizeof(float);
    }
};

// Row and column of tile `tile` of the upper triangle, counted row by row.
void locate(int across, int tile, int* row, int* column) {
    for (*row = 0; tile >= across - *row; ++*row) {
        tile -= across - *row;
    }
    *column = *row + tile;
}

// Writes 16 x 16 elements of G, those of the channel blocks `row` and `column`, and their mirror
// image. Their sums are in those of tile `tile`.
void finish_block(const Partition& p,
                  void* scratch,
                  int tile,
                  int N,
                  double total,
                  int row,
                  int column,
                  double* G) {
    const int first_column = column / kTileBlocks * kTileBlocks;
    const size_t columns = std::min(kTileBlocks, channel_blocks(N) - first_column) * kLanes;
    const size_t at = row % kTileBlocks * kLanes * columns + (column - first_column) * kLanes;
    const int i_end = std::min(kLanes, N - row * kLanes),
              j_end = std::min(kLanes, N - column * kLanes);
    double* const upper = G + static_cast<size_t>(row) * kLanes * N + column * kLanes;
    double* const lower = G + static_cast<size_t>(column) * kLanes * N + row * kLanes;
    // G has left the caches since it was last used; without these prefetches each row would wait
    // for its cache lines.
    for (int i = 0; i < i_end; ++i) {
        __builtin_prefetch(upper + static_cast<size_t>(i) * N, 1);
        __builtin_prefetch(upper + static_cast<size_t>(i) * N + j_end - 1, 1);
    }
    for (int j = 0; j < j_end; ++j) {
        __builtin_prefetch(lower + static_cast<size_t>(j) * N, 1);
        __builtin_prefetch(lower + static_cast<size_t>(j) * N + i_end - 1, 1);
    }
    double block[kLanes][kLanes];
    for (int i = 0; i < kLanes; ++i) {
        double sum[kLanes] = {};
        for (int strip = 0; strip < p.strips; ++strip) {
            const float* sums = p.sums(scratch, strip, tile) + at + i * columns;
            for (int j = 0; j < kLanes; ++j) {
                sum[j] += sums[j];
            }
        }
        for (int j = 0; j < kLanes; ++j) {
            block[i][j] = sum[j] / total;
        }
        // Weighted sums below the diagonal have their factors in another order than those above.
        for (int j = 0; j < i && row == column; ++j) {
            block[i][j] = block[j][i];
        }
    }
    for (int i = 0; i < i_end; ++i) {
        for (int j = 0; j < j_end; ++j) {
            upper[static_cast<size_t>(i) * N + j] = block[i][j];
        }
    }
    for (int j = 0; j < j_end && column > row; ++j) {
        for (int i = 0; i < i_end; ++i) {
            lower[static_cast<size_t>(j) * N + i] = block[i][j];
        }
    }
}

}  // namespace

size_t gram_scratch(const Threads&, int N, size_t M) {
    return Partition(N, M).sums_bytes();
}

void gram(
    Threads& threads, int N, size_t M, const float* F, PixelWeights m, double* G, void* scratch) {
    const Partition p(N, M);
    const GramJob job = {F, m.values, M, channel_blocks(N), kTileBlocks};

    // 1. sums over the pixels of each strip
    threads.run(p.tiles * p.strips, [&](int task, int) {
        const int tile = task % p.tiles, strip = task / p.tiles;
        int row, column;
        locate(p.across, tile, &row, &column);
        const size_t begin = strip * p.strip, end = std::min(begin + p.strip, M);
        inner().gram(
            job, row * kTileBlocks, column * kTileBlocks, begin, end, p.sums(scratch, strip, tile));
    });

    // 2. sum over the strips, mirrored below the diagonal
    threads.run(p.tiles * kTileBlocks, [&](int task, int) {
        int row, column;
        locate(p.across, task / kTileBlocks, &row, &column);
        const int first = row * kTileBlocks + task % kTileBlocks;
        const int end = std::min((column + 1) * kTileBlocks, channel_blocks(N));
        for (int block = std::max(first, column * kTileBlocks); block < end; ++block) {
            finish_block(p, scratch, task / kTileBlocks, N, m.total, first, block, G);
        }
    });
}

}  // namespace pynst
