// inner.h: the table of inner kernels of one instruction set, and the jobs they work on.
//
// A job describes one call of an op. The op's file cuts the work into tasks and hands them to
// threads; a task depends on no other task, and its result does not depend on the thread that
// computes it. This header holds plain data only, because code of every instruction set includes
// it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pynst {

constexpr int kLanes = 16;  // channels of one block: features are (blocks, H, W, kLanes)

// Blocks of the narrowest panel. A panel is the output channels of a convolution that a task
// multiplies, and then transforms back, together.
constexpr int kPanelBlocks = 2;

// Pixels that gram sums in one go: few enough that all channels of a tile of the Gram matrix stay
// in the first-level cache. The strips of gram.cpp are multiples of it.
constexpr int kGramRun = 64;

enum class Pooling { none, average, max };
enum class Padding { zero, replicate, mirror };

// One call of conv3x3_relu.cpp, which hands out three kinds of tasks: `columns` tasks that
// transform weights, tile_blocks * blocks_in tasks that transform tiles, then tile_blocks * shares
// tasks that multiply. Pooled arrays have H / 2 rows and W / 2 columns.
struct Conv3x3Job {
    const struct Inner* inner;  // the kernels that work on this job
    int blocks_in, blocks_out, H, W;

    // The input: features, or a gradient that comes back through a pooling and a ReLU.
    const float* x;
    const uint16_t* mask;     // ReLU bits that gate x, or null
    const uint32_t* choices;  // choices of the maximum pooling that x comes back through, or null
    Pooling source;           // the pooling that x comes back through
    const float* weights;     // (blocks of N, blocks of C, C % 16, 9, N % 16)
    bool transposed;          // backward: the weights' C are the outputs, and taps are reversed

    // The output.
    const float* bias;       // null: neither bias nor ReLU
    float* y;                // has the pooled size where `pool` is not none
    bool past_caches;        // y is stored past the caches
    uint16_t* bits;          // one bit per ReLU, of the unpooled size, or null
    uint32_t* pool_choices;  // choices of the maximum pooling, or null
    Pooling pool;

    // The partition into tasks.
    int tile;          // outputs along one side of a Winograd tile: 4 or 6
    int tile_blocks;   // blocks of tiles; a task works on one of them
    int tiles;         // tiles of one block; the last block may have fewer
    int group;         // tiles that are multiplied together, e.g. 14 with AVX-512
    int rows;          // rows of M: `tiles`, rounded up to what is multiplied together
    int panels;        // panels of output channels
    int panel_blocks;  // channel blocks of one panel
    int shares;        // tasks that share the panels of one block of tiles; 1: a task has them all
    int columns;       // register blocks that the output channels make
    int chunks;        // chunks of input channels, which are multiplied one after the other
    int chunk_blocks;  // channel blocks of one chunk
    int chain_blocks;  // channel blocks whose products are summed in one chain
    bool weights_by_rows;  // all_weights are written row of positions by row, for several threads
    float* all_weights;    // transformed weights, one chunk; null: each task transforms its own
    float* all_tiles;      // transformed tiles; null: each task transforms its own
    size_t U, V, M;        // floats from one Winograd position to the next in transformed arrays
};

// One call of image_conv3x3_relu.cpp (size 3) or filter7x7.cpp (size 7). A task is a strip of rows.
struct PlanarJob {
    int blocks, H, W;
    Padding padding;
    const float* weights;   // (groups, planes, size * size, 16)
    const int32_t* planes;  // (groups,) bit p: this group of filters reads plane p; null: all
    const float* bias;      // (blocks, 16); size 3 only
    const float* image;     // forward: the input (3, H, W)
    float* features;        // forward: the output
    bool past_caches;       // the features are stored past the caches
    uint16_t* features_bits;
    const float* dy;  // backward: the input
    const uint16_t* dy_bits;
    float* dx;  // backward: the output (3, H, W); size 7 adds to it
    int strip;  // rows of one task
};

// One call of gram.cpp. A task sums over the pixels [begin, end) for one tile of the Gram matrix,
// whose first channel blocks are `row` and `column`.
struct GramJob {
    const float* F;
    const float* pixel_weights;  // (M,), or null for ones
    size_t M;
    int blocks;
    int tile;  // channel blocks along one side of a tile of the Gram matrix
};

// One call of style_loss.cpp. A task computes dF += m D F on the pixels [begin, end).
struct StyleGradientJob {
    const float* F;
    const float* pixel_weights;  // m (M,), or null for ones
    const float* D;  // in panels of kBlocks channel blocks, as the multiplication reads them
    size_t M;
    int blocks;
    float* dF;
};

// One call of content_loss.cpp. A task has some pixels of one channel block.
struct ContentJob {
    const float* F;
    const float* P;
    const float* scale;          // 16 factors per block, or null
    const float* pixel_weights;  // (M,), or null for ones
    float factor;                // the gradient's constant factor
    size_t M;
    float* dF;
};

// One call of pool2x2.cpp. A task has some rows of one channel block.
struct PoolJob {
    int H, W;  // before pooling
    Pooling mode;
    const float* in;
    float* out;
    const uint32_t* choices_in;
    uint32_t* choices_out;
};

// The kernels of one instruction set, and the sizes that the ops need to cut their work.
struct Inner {
    const char* name;  // as PYNST_CPU_ISA spells it, e.g. "avx512"

    // Sizes of the matrix multiplication (inner/multiply*.h), whose rows are the Winograd tiles of
    // a convolution or the pixels of style_loss.
    int group_rows;     // the most rows of one group, e.g. 14 with AVX-512 (they share registers)
    int row_step;       // a group has a multiple of this many rows, e.g. 16 with AMX, else 1
    int block_columns;  // channel blocks of one register block, e.g. 2 with AVX-512
    int step_blocks;    // channel blocks of input in one step, e.g. 2 with AMX, else 1
    int step_floats;    // floats that the weights of one step take
    int slice_pixels;   // pixels that style_gradient multiplies together, e.g. 56 with AVX-512

    // How the speed of the multiplication decides the partition of a convolution.
    int wide_panel;         // channel blocks of a wide panel, e.g. 4 with AMX
    int own_weights;        // a task transforms its own weights up to this many tiles per channel
    size_t shared_weights;  // weights of at most this many bytes are shared all the same
    double large_tiles;     // 6 x 6 tiles need at most this share of the multiplications, e.g. 0.95
    int few_tiles;          // a convolution of fewer tiles than this goes to `for_few`, e.g. 48
    const Inner* for_few;   // the kernels for convolutions of few tiles; null where few_tiles is 0

    // Brings the weights of style_loss, u (16 * blocks, block_columns, 16), into the order in which
    // the multiplication reads them. Null where they are in that order already.
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
// variable PYNST_CPU_ISA names. It is chosen at the first call, which throws std::runtime_error if
// the named one is unknown or this processor does not have it.
const Inner& inner();

// The names of the instruction sets that this processor has, best first.
std::vector<const char*> instruction_sets();

}  // namespace pynst
