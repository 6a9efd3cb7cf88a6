// inner.h: the table of inner kernels of one instruction set, and the jobs they work on.
//
// A job describes one call of an op. Its work is cut into tasks that do not depend on each other,
// whose results do not depend on who computes them; the op files do the cutting and hand tasks to
// threads. Plain data only: this header is seen by code of every instruction set.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pynst {

constexpr int kLanes = 16;  // channels of one block: features are (blocks, H, W, kLanes)

// Channel blocks of a convolution whose products are transformed back together, at least.
constexpr int kPanelBlocks = 2;

enum class Pooling { none, average, maximum };
enum class Border { zero, replicate, mirror };

// conv3x3_relu.cpp. Weight tasks: columns; tile tasks: tile_blocks * blocks_in; then
// tasks: tile_blocks * parts. Pooled arrays have H / 2 rows and W / 2 columns.
struct Conv3x3Job {
    const struct Inner* inner;  // the kernels that work on it
    int blocks_in, blocks_out, H, W;
    // Where the input comes from: features, or a gradient that passes a pooling and a ReLU on the
    // way.
    const float* x;
    const uint16_t* mask;     // ReLU bits that gate x, or null
    const uint32_t* choices;  // of the maximum pooling that x has to pass, or null
    Pooling source;
    const float* weights;    // (blocks of N, blocks of C, C % 16, 9, N % 16)
    bool transposed;         // backward: the weights' C are the outputs here, taps reversed
    const float* bias;       // null: no bias and no ReLU either
    float* y;                // pooled where `pool` says so
    bool past_caches;        // how y is stored
    uint16_t* bits;          // of the ReLU, never pooled, or null
    uint32_t* pool_choices;  // of the maximum pooling, or null
    Pooling pool;
    // Partition into tasks.
    int tile;                         // outputs of a tile along one side: 4 or 6
    int tile_blocks, tiles, group;    // a task: `tiles` tiles, the last one fewer, in groups
    int rows;                         // of M: tiles, filled up to what is multiplied
    int parts, panels, panel_blocks;  // panels of output blocks, shared among the parts
    int columns;                      // register blocks of output channels
    int chunks, chunk_blocks;         // of input channels, multiplied one after the other
    int chain_blocks;                 // of input channels, summed in one chain
    bool weights_by_rows;             // how all_weights are written
    float* all_weights;  // transformed, in one chunk; null: each task transforms what it needs
    float* all_tiles;    // transformed; null: likewise
    size_t U, V, M;      // floats from one position to the next in transformed arrays
};

// image_conv3x3_relu.cpp (size 3) and filter7x7.cpp (size 7). Tasks: strips of rows.
struct PlanarJob {
    int blocks, H, W;
    Border border;
    const float* weights;   // (groups, planes, size * size, 16)
    const int32_t* planes;  // (groups,) bit p: this group of filters reads plane p; null: all
    const float* bias;      // size 3 only
    const float* image;     // forward: in; (3, H, W)
    float* features;        // forward: out
    bool past_caches;       // how the features are stored
    uint16_t* features_bits;
    const float* dy;  // backward: in
    const uint16_t* dy_bits;
    float* dx;  // backward: out; size 7 adds
    int strip;  // rows of one task
};

// gram.cpp: sums over the pixels [begin, end) for the tile whose first blocks are row and column.
struct GramJob {
    const float* F;
    size_t M;
    int blocks;
    int tile;  // blocks along a side of one tile
};

// style_loss.cpp: dF += D F on pixels [begin, end).
struct StyleGradientJob {
    const float* F;
    const float* D;  // in panels of kBlocks blocks, as they are multiplied
    size_t M;
    int blocks;
    float* dF;
};

// content_loss.cpp: one run of pixels of one channel block.
struct ContentJob {
    const float* F;
    const float* P;
    const float* scale;  // 16 factors per block, or null
    float factor;        // of the gradient
    size_t M;
    float* dF;
};

// pool2x2.cpp: one channel block.
struct PoolJob {
    int H, W;
    Pooling mode;
    const float* in;
    float* out;
    const uint32_t* choices_in;
    uint32_t* choices_out;
};

struct Inner {
    const char* name;

    // The matrix multiplication (inner/multiply*.h):
    int tiles;          // tiles (or pixels) that are multiplied together at most,
    int row_step;       // in multiples of so many
    int block_columns;  // channel blocks of one register block
    int step_blocks;    // channel blocks whose weights lie together, in
    int step_floats;    // so much room

    // and what follows from its speed for the partition of a convolution:
    int wide_panel;         // channel blocks of a panel where more of them are better
    int own_weights;        // tiles for each channel up to which tasks transform their weights
    size_t shared_weights;  // bytes of transformed weights that are shared all the same
    double large_tiles;     // tiles of 6 x 6 outputs for at most so much of the multiplications
    int few_tiles;          // convolutions of fewer tiles than that are better left to
    const Inner* for_few;   // these kernels

    // Weights of style_loss as they are multiplied: u (16 * blocks, block_columns, 16) to the steps
    // of channels at `to`. Null: they are already.
    void (*pack_weights)(const float* u, int blocks, float* to);
    void (*conv3x3_weights)(const Conv3x3Job&, int task);
    void (*conv3x3_tiles)(const Conv3x3Job&, int task);
    void (*conv3x3)(const Conv3x3Job&, int task, float* scratch);
    void (*image_conv3x3)(const PlanarJob&, int task, float* scratch);
    void (*image_conv3x3_backward)(const PlanarJob&, int task, float* scratch);
    void (*filter7x7)(const PlanarJob&, int task, float* scratch);
    void (*filter7x7_backward)(const PlanarJob&, int task, float* scratch);
    void (*gram)(const GramJob&, int row, int column, size_t begin, size_t end, float* sums);
    void (*style_gradient)(const StyleGradientJob&, size_t begin, size_t end, float* scratch);
    double (*content)(const ContentJob&, int block, size_t begin, size_t end);
    void (*pool2x2)(const PoolJob&, int block, int row);
    void (*pool2x2_backward)(const PoolJob&, int block, int row);
};

// The table of the best instruction set that this processor has, or of the one that the environment
// variable PYNST_CPU_ISA names. Chosen at the first call; throws std::runtime_error if that one is
// unknown or not supported here.
const Inner& inner();

// The names of those that this processor has, best first.
std::vector<const char*> instruction_sets();

}  // namespace pynst
