// conv3x3_relu.cpp: 3x3 convolution with its ReLU, and the gradient with respect to the input.
//
//   y = max(0, w * x + b),   dx = w^T * (dy where y > 0 else 0)
//                              the "zero where F <= 0" of Gatys et al. 2016, Eq. 2 and 6
//
//   in      x (C, H, W) in blocks, w packed by conv3x3_pack, b (blocks of N, 16); backward: dy
//           (N, H, W) and the bits of the forward pass. With pooling, dy has the pooled size.
//   out     y (N, H, W), 2x2 pooled in the _pool ops, and one bit per ReLU; backward: dx (C, H, W).
//   mapping Winograd F(4x4, 3x3): tiles of 6 x 6 inputs give 4 x 4 outputs for 36 instead of 144
//           multiplications; F(6x6, 3x3) where it pays: 8 x 8 inputs, 6 x 6 outputs, 64
//           instead of 324. A task has a block of tiles. It transforms them (V); then, for one
//           panel of output channels after the other, it multiplies them Winograd position by
//           position (M = V U) and transforms the products back. U, the transformed weights, is
//           made beforehand where tiles outnumber channels. Otherwise each task makes the U of
//           one panel at a time, and the panels are shared among tasks, too. Both directions are
//           the same code: backward, the weights are read transposed and reversed. Bias, ReLU and
//           pooling are applied on the way out of the registers, the gates of ReLU and pooling on
//           the way in.
//   bounds  any C, N, H, W >= 1; tiles at the border read zeros and store only what is inside.
//   order   each sum over C is made of chains in the order of C, whose sums are added in order: one
//           chain for each chunk of channels, and shorter ones for large tiles. With AMX the matrix
//           unit has an order of its own (inner/multiply_amx.h). The order never depends on the
//           partition into tasks.
//   cost    2.25 C N multiply-adds per pixel, 1.78 with large tiles. U, 144 or 256 C N bytes, is
//           made anew in every call: to keep it for both directions of VGG-19 would take over
//           400 MB, and to read it from memory takes longer than to make it from the weights,
//           which are a quarter of its size.

#include <algorithm>

#include "kernels.h"
#include "partition.h"

namespace pynst {
namespace {

constexpr int kTaps = 9;

// ---- tuned numbers ------------------------------------------------------------------------------
//
// All of them were set by timing the closure and single convolutions at 128 to 1024 pixels, old
// against new in alternation, on x86-64 servers with two cores. bench/RESULTS.md, "Convolution by
// convolution" and "The closure", shows the speed with these values. What half or twice a value
// would cost is not on record; where a step was measured, its figure stands beside it.
//
// A large tile has 6 x 6 outputs, a small one 4 x 4. "L2" is the second-level cache of a core.

// Tiles of one task: small ones, large ones (rounded up to whole groups), and those of a task that
// transforms its own weights, where more tiles make better use of each transformed weight.
constexpr int kTaskTiles = 64;
constexpr int kLargeTaskTiles = 38;
constexpr int kOwnTaskTiles = 256;

// Bytes of V and of one panel's M that a task keeps in L2: 704 KB. Only where all of U is at most
// kSmallWeights does a task have fewer large tiles for that, because U is then read more often.
constexpr size_t kTaskBytes = 704 << 10;
constexpr size_t kSmallWeights = 2 << 20;

// Input channels are multiplied in chunks where M of one panel has at most kChunkedBytes, 640 KB,
// or where a task's own U of one panel has at least kChunkedWeights. Then M stays in L2 together
// with the U of one chunk, or at least both stay in the third-level cache.
constexpr size_t kChunkedBytes = 640 << 10;
constexpr size_t kChunkedWeights = 3 << 20;

// Input channels of a chunk. Short chunks round less, which matters in small images. Long ones add
// to M less often; they are taken from so many input channels and tiles on.
constexpr int kChunkChannels = 64;
constexpr int kLongChunkChannels = 128;
constexpr int kLongChunksFromChannels = 256;
constexpr int kLongChunksFromTiles = 32;

// Large tiles amplify the rounding errors of the sums over channels. Each of their sums is
// therefore made of up to kChains chains, none shorter than kChainChannels input channels. With
// random weights that took the gradient's error at 256 pixels from 2.0e-5 to 8.7e-6.
constexpr int kChains = 4;
constexpr int kChainChannels = 32;

// From this many input channels on, V no longer fits into L2 beside M anyway, so that a wide panel
// costs nothing.
constexpr int kWideChannels = 128;

// The cost of transforming the weights of one Winograd position, in units of multiplying one tile
// by them.
constexpr int kWeightTiles = 20;

// Large tiles round more than small ones. Below kManyChannels channels they are taken only if they
// need at most this share of the multiplications; above, they save more time than that count says.
constexpr int kManyChannels = 512;
constexpr double kWorthwhile = 0.9;

int tiles_of(const Conv3x3Job& job, int side) {
    return ceil_div(job.H, side) * ceil_div(job.W, side);
}

int channels(const Conv3x3Job& job) {
    return std::max(job.blocks_in, job.blocks_out) * kLanes;
}

// Winograd positions of a transformed tile: 36 or 64.
int positions(const Conv3x3Job& job) {
    return (job.tile + 2) * (job.tile + 2);
}

// Bytes of M for one panel and all tiles.
size_t panel_bytes(const Conv3x3Job& job) {
    const size_t lines = static_cast<size_t>(positions(job)) * tiles_of(job, job.tile);
    return lines * kPanelBlocks * kLanes * sizeof(float);
}

// Bytes of U for so many blocks of output channels.
size_t weights_bytes(const Conv3x3Job& job, int blocks) {
    const size_t pairs = static_cast<size_t>(job.blocks_in) * blocks * kLanes * kLanes;
    return positions(job) * pairs * sizeof(float);
}

// Whether each task transforms the weights that it needs, one panel at a time, instead of reading a
// U that all tasks share. With few tiles a panel's U stays in L2. With more tiles, but fewer than
// channels, U is larger than V, and passing a large U from thread to thread costs more than making
// it again. The faster the multiplication, the earlier that holds (own_weights, shared_weights).
bool transforms_own_weights(const Conv3x3Job& job) {
    return panel_bytes(job) <= kChunkedBytes ||
           (tiles_of(job, job.tile) <= job.inner->own_weights * channels(job) &&
            weights_bytes(job, job.blocks_out) > job.inner->shared_weights);
}

// Tiles of a task that reads the shared U.
int shared_task_tiles(const Conv3x3Job& job) {
    if (job.tile == 4) {
        return kTaskTiles;
    }
    const size_t line = static_cast<size_t>(positions(job)) * kLanes * sizeof(float);
    const int group = job.inner->group_rows, groups = ceil_div(kLargeTaskTiles, group);
    const int fit = static_cast<int>(kTaskBytes / (line * (job.blocks_in + kPanelBlocks))) / group;
    const bool small = weights_bytes(job, job.blocks_out) <= kSmallWeights;
    return (small && fit > 0 ? std::min(fit, groups) : groups) * group;
}

// Large tiles need a fifth fewer multiplications, unless much of them lies outside the image. They
// do not pay where few of them share a U that passes between threads, nor where the multiplication
// is so fast that the transforms take most of the time (large_tiles).
void choose_tile(Conv3x3Job& job) {
    const double small = 36.0 * (tiles_of(job, 4) + kWeightTiles);
    const double large = 64.0 * (tiles_of(job, 6) + kWeightTiles);
    const double limit = channels(job) < kManyChannels ? kWorthwhile : 1.0;
    job.tile = 6;
    if (large > std::min(job.inner->large_tiles, limit) * small ||
        (tiles_of(job, 6) < channels(job) && !transforms_own_weights(job))) {
        job.tile = 4;
    }
}

// Cuts the work of `job`, whose sizes are set, into tasks.
void partition(const Threads& threads, Conv3x3Job& job) {
    job.inner = tiles_of(job, 4) < inner().few_tiles ? inner().for_few : &inner();
    const int group = job.inner->group_rows, width = job.inner->block_columns;
    const int wanted = threads.count() == 1 ? 1 : 2 * threads.count();  // number of tasks

    // 1. panels of output channels; tiles in tasks of even size, tasks in even numbers for the
    // threads, and groups of even size
    choose_tile(job);
    const bool own = transforms_own_weights(job);
    const bool chunked = own && (panel_bytes(job) <= kChunkedBytes ||
                                 weights_bytes(job, kPanelBlocks) >= kChunkedWeights);
    const bool wide = !chunked && job.blocks_in * kLanes >= kWideChannels;
    job.columns = ceil_div(job.blocks_out, width);
    job.panel_blocks = std::min(wide ? job.inner->wide_panel : kPanelBlocks, job.columns * width);
    job.panels = ceil_div(job.blocks_out, job.panel_blocks);
    const int tiles = tiles_of(job, job.tile);
    if (own) {
        job.tile_blocks = std::max(ceil_div(tiles, kOwnTaskTiles), ceil_div(wanted, job.panels));
        job.tile_blocks = std::min(job.tile_blocks, ceil_div(tiles, group));
    } else {
        job.tile_blocks = ceil_div(tiles, shared_task_tiles(job));
        if (job.tile_blocks > threads.count()) {
            job.tile_blocks = ceil_div(job.tile_blocks, threads.count()) * threads.count();
        }
    }
    job.tiles = ceil_div(tiles, job.tile_blocks);
    job.tile_blocks = ceil_div(tiles, job.tiles);
    const int step = job.inner->row_step;
    job.group = ceil_div(ceil_div(job.tiles, ceil_div(job.tiles, group)), step) * step;
    job.rows = ceil_div(job.tiles, step) * step;

    // 2. panels: shared among tasks only where there are too few blocks of tiles
    job.shares = std::min(job.panels, ceil_div(wanted, job.tile_blocks));

    // 3. chunks and chains of input channels
    const size_t position = static_cast<size_t>(job.rows) * job.panel_blocks * kLanes;
    const bool long_chunks =
        job.blocks_in * kLanes >= kLongChunksFromChannels && tiles >= kLongChunksFromTiles;
    const int chunk = long_chunks ? kLongChunkChannels : kChunkChannels;
    job.chunk_blocks = chunked ? std::min(chunk / kLanes, job.blocks_in) : job.blocks_in;
    job.chunks = ceil_div(job.blocks_in, job.chunk_blocks);
    job.chain_blocks = job.chunk_blocks;
    if (job.tile == 6) {
        job.chain_blocks = std::max(kChainChannels / kLanes, ceil_div(job.blocks_in, kChains));
    }

    // 4. scratch: the stride from one position to the next is one line more than a position needs,
    // since with a power of two the lines of one tile would share a few places of the first-level
    // cache
    const size_t rows = static_cast<size_t>(job.group) * ceil_div(job.tiles, job.group);
    const size_t steps = ceil_div(job.chunk_blocks, job.inner->step_blocks);
    job.U = steps * job.inner->step_floats + kLanes;
    job.V = (rows * job.blocks_in + 1) * kLanes;
    job.M = position + kLanes;
}

// Floats of scratch.
struct Scratch {
    size_t weights, tiles;  // transformed weights and tiles that all tasks share
    size_t own;             // what each thread has for itself

    explicit Scratch(const Conv3x3Job& job) {
        const bool own_weights = transforms_own_weights(job);
        const size_t slab = positions(job) * job.U, V = positions(job) * job.V;
        const int panel_columns = job.panel_blocks / job.inner->block_columns;
        weights = own_weights ? 0 : job.columns * slab;
        tiles = job.shares > 1 ? job.tile_blocks * V : 0;
        own = positions(job) * job.M + (own_weights ? panel_columns * slab : 0) +
              (tiles == 0 ? V : 0);
    }
    size_t bytes(const Threads& threads) const {
        return (weights + tiles + threads.count() * own) * sizeof(float);
    }
};

Conv3x3Job forward_job(const Threads& threads, ConvShape s) {
    Conv3x3Job job = {};
    job.blocks_in = channel_blocks(s.C);
    job.blocks_out = channel_blocks(s.N);
    job.H = s.H;
    job.W = s.W;
    partition(threads, job);
    return job;
}

Conv3x3Job backward_job(const Threads& threads, ConvShape s) {
    Conv3x3Job job = forward_job(threads, {s.N, s.C, s.H, s.W});
    job.transposed = true;
    return job;
}

void run(Threads& threads, Conv3x3Job job, void* memory) {
    const int step = job.pool == Pooling::none ? 1 : 2;
    job.past_caches = past_caches(job.y, job.blocks_out, job.H / step, job.W / step);
    const Scratch scratch(job);
    float* const weights = static_cast<float*>(memory);
    float* const tiles = weights + scratch.weights;
    float* const own = tiles + scratch.tiles;
    if (scratch.weights > 0) {
        job.all_weights = weights;
        job.weights_by_rows = job.tile == 6 && threads.count() > 1;
        threads.run(job.columns, [&](int task, int) { job.inner->conv3x3_weights(job, task); });
    }
    if (scratch.tiles > 0) {
        job.all_tiles = tiles;
        threads.run(job.tile_blocks * job.blocks_in,
                    [&](int task, int) { job.inner->conv3x3_tiles(job, task); });
    }
    threads.run(job.tile_blocks * job.shares, [&](int task, int thread) {
        job.inner->conv3x3(job, task, own + thread * scratch.own);
    });
}

}  // namespace

void conv3x3_pack(const float* weight, int C, int N, float* packed) {
    const int blocks_in = channel_blocks(C), blocks_out = channel_blocks(N);
    std::fill_n(
        packed, static_cast<size_t>(blocks_in) * blocks_out * kTaps * kLanes * kLanes, 0.0f);
    for (int n = 0; n < N; ++n) {
        for (int c = 0; c < C; ++c) {
            const size_t pair = static_cast<size_t>(n / kLanes) * blocks_in + c / kLanes;
            float* to = packed + (pair * kLanes + c % kLanes) * kTaps * kLanes + n % kLanes;
            for (int tap = 0; tap < kTaps; ++tap) {
                to[tap * kLanes] = weight[(static_cast<size_t>(n) * C + c) * kTaps + tap];
            }
        }
    }
}

size_t conv3x3_relu_scratch(const Threads& threads, ConvShape s) {
    return std::max(Scratch(forward_job(threads, s)).bytes(threads),
                    Scratch(backward_job(threads, s)).bytes(threads));
}

void conv3x3_relu(Threads& threads,
                  ConvShape s,
                  const float* x,
                  const float* packed,
                  const float* bias,
                  float* y,
                  uint16_t* bits,
                  void* scratch) {
    conv3x3_relu_pool(threads, s, x, packed, bias, Pooling::none, y, bits, nullptr, scratch);
}

void conv3x3_relu_pool(Threads& threads,
                       ConvShape s,
                       const float* x,
                       const float* packed,
                       const float* bias,
                       Pooling mode,
                       float* y,
                       uint16_t* bits,
                       uint32_t* choices,
                       void* scratch) {
    Conv3x3Job job = forward_job(threads, s);
    job.x = x;
    job.weights = packed;
    job.bias = bias;
    job.y = y;
    job.bits = bits;
    job.pool = mode;
    job.pool_choices = choices;
    run(threads, job, scratch);
}

void conv3x3_relu_backward(Threads& threads,
                           ConvShape s,
                           const float* dy,
                           const uint16_t* bits,
                           const float* packed,
                           float* dx,
                           void* scratch) {
    conv3x3_relu_pool_backward(threads, s, dy, bits, Pooling::none, nullptr, packed, dx, scratch);
}

void conv3x3_relu_pool_backward(Threads& threads,
                                ConvShape s,
                                const float* dy,
                                const uint16_t* bits,
                                Pooling mode,
                                const uint32_t* choices,
                                const float* packed,
                                float* dx,
                                void* scratch) {
    Conv3x3Job job = backward_job(threads, s);
    job.x = dy;
    job.mask = bits;
    job.source = mode;
    job.choices = choices;
    job.weights = packed;
    job.y = dx;
    run(threads, job, scratch);
}

}  // namespace pynst
