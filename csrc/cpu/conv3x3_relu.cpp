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
//           instead of 324. A task has a block of tiles; it transforms them (V), then, for one
//           panel of output channels after the other, multiplies position by position (M = V U)
//           and transforms back. U, the transformed weights, is made beforehand where tiles
//           outnumber channels; otherwise each task makes a panel of it at a time, and panels are
//           shared out too. Both directions are the same code: backward the weights are read
//           transposed and reversed. Bias, ReLU and pooling happen on the way out of the registers,
//           the gates of ReLU and pooling on the way in.
//   bounds  any C, N, H, W >= 1; tiles at the border read zeros and store what is inside.
//   order   each sum over C is one chain in the order of C, or several, added in order: one for each
//           chunk, and of large tiles shorter ones. A matrix unit sums in its own order
//           (inner/multiply_amx.h). Never a matter of the partition into tasks.
//   cost    2.25 C N multiply-adds per pixel, 1.78 with large tiles. U, 144 or 256 C N bytes, is
//           made anew in every call: to keep it for both directions of VGG-19 would take over 400 MB, and
//           to read it from memory takes longer than to make it from the weights, which are a
//           quarter of its size.

#include <algorithm>

#include "kernels.h"
#include "partition.h"

namespace pynst {
namespace {

constexpr int kTaps = 9;

// Tiles wanted in a task that reads the weights transformed, of 4 x 4 and (in whole groups) of 6 x 6
// outputs; and in one that transforms them.
constexpr int kTaskTiles = 64, kLargeTaskTiles = 38, kOwnTaskTiles = 256;

// What had better stay in a second-level cache meanwhile, V and M of one panel, in bytes; and up to
// which size U may be read more often for that.
constexpr size_t kTaskBytes = 11 << 16, kSmallWeights = 2 << 20;

// Input channels of a chunk, and up to which size of M in bytes, or from which size of a task's own U
// on, there are chunks: what is added to stays in the second-level cache with the chunk's U, or both
// at least in the third. Short chunks round less, which tells in small images; long ones, of so many
// channels and tiles, are added less often.
constexpr int kChunkChannels = 64, kLongChunkChannels = 128;
constexpr int kLongChunksFromChannels = 256, kLongChunksFromTiles = 32;
constexpr size_t kChunkedBytes = 5 << 17, kChunkedWeights = 3 << 20;

// Large tiles amplify what is rounded in the sums. Theirs are made of so many chains, each of so many
// channels at least: of deep features, random weights, that leaves half the error.
constexpr int kChains = 4, kChainChannels = 32;

// From so many input channels on a panel may be wide: then V is read from far, and M is not in its way.
constexpr int kWideChannels = 128;

int tiles_of(const Conv3x3Job& job, int side) {
    return ceil_div(job.H, side) * ceil_div(job.W, side);
}

int channels(const Conv3x3Job& job) {
    return std::max(job.blocks_in, job.blocks_out) * kLanes;
}

// Of a transformed tile.
int positions(const Conv3x3Job& job) {
    return (job.tile + 2) * (job.tile + 2);
}

// M of one panel of all tiles.
size_t panel_bytes(const Conv3x3Job& job) {
    const size_t lines = static_cast<size_t>(positions(job)) * tiles_of(job, job.tile);
    return lines * kPanelBlocks * kLanes * sizeof(float);
}

// U of so many blocks of output channels.
size_t weights_bytes(const Conv3x3Job& job, int blocks) {
    const size_t pairs = static_cast<size_t>(job.blocks_in) * blocks * kLanes * kLanes;
    return positions(job) * pairs * sizeof(float);
}

// Whether each task transforms the weights that it needs, a panel at a time. With few tiles that is
// done in the second-level cache. Otherwise, with fewer tiles than channels U is larger than V, and
// a large U had better not pass from thread to thread; the quicker the multiplication, the sooner.
bool transforms_own_weights(const Conv3x3Job& job) {
    return panel_bytes(job) <= kChunkedBytes ||
           (tiles_of(job, job.tile) <= job.inner->own_weights * channels(job) &&
            weights_bytes(job, job.blocks_out) > job.inner->shared_weights);
}

// Tiles of a task that reads the weights transformed.
int shared_task_tiles(const Conv3x3Job& job) {
    if (job.tile == 4) {
        return kTaskTiles;
    }
    const size_t line = static_cast<size_t>(positions(job)) * kLanes * sizeof(float);
    const int group = job.inner->tiles, groups = ceil_div(kLargeTaskTiles, group);
    const int fit = static_cast<int>(kTaskBytes / (line * (job.blocks_in + kPanelBlocks))) / group;
    const bool small = weights_bytes(job, job.blocks_out) <= kSmallWeights;
    return (small && fit > 0 ? std::min(fit, groups) : groups) * group;
}

// To make a position of U takes as long as to multiply so many tiles by it.
constexpr int kWeightTiles = 20;

// What else they round is worth a tenth of the multiplications, unless channels are so many that this
// saves more time than the count says.
constexpr int kManyChannels = 512;
constexpr double kWorthwhile = 0.9;

// Tiles of 6 x 6 outputs take a fifth fewer multiplications, if not too much of them is over the
// border. They pay unless few of them share a U that passes between threads, or the multiplications
// are too quick for it.
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
    const int group = job.inner->tiles, width = job.inner->block_columns;
    const int wanted = threads.count() == 1 ? 1 : 2 * threads.count();  // tasks

    // 1. panels of output channels; tiles, evened out over the tasks and those over the threads, and
    // the groups over the tiles
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

    // 2. output channels: shared among tasks only where there are too few blocks of tiles
    job.parts = std::min(job.panels, ceil_div(wanted, job.tile_blocks));

    // 3. input channels
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

    // 4. scratch: one line more than a position takes, since a power of two from position to
    // position would make the lines of a tile share a few places of the first-level cache
    const size_t rows = static_cast<size_t>(job.group) * ceil_div(job.tiles, job.group);
    const size_t steps = ceil_div(job.chunk_blocks, job.inner->step_blocks);
    job.U = steps * job.inner->step_floats + kLanes;
    job.V = (rows * job.blocks_in + 1) * kLanes;
    job.M = position + kLanes;
}

// Floats of scratch: what all tasks share, and what each has for itself.
struct Scratch {
    size_t weights, tiles, own;

    explicit Scratch(const Conv3x3Job& job) {
        const bool own_weights = transforms_own_weights(job);
        const size_t slab = positions(job) * job.U, V = positions(job) * job.V;
        const int panel_columns = job.panel_blocks / job.inner->block_columns;
        weights = own_weights ? 0 : job.columns * slab;
        tiles = job.parts > 1 ? job.tile_blocks * V : 0;
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
    threads.run(job.tile_blocks * job.parts, [&](int task, int thread) {
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
