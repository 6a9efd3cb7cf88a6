// multiply.h: the matrix multiplication at the bottom of conv3x3_relu and of style_loss, with
// vector instructions. multiply_amx.h defines the same names for a processor with a matrix unit.

namespace pynst {
namespace PYNST_ISA {

constexpr int kRows = kRegisterRows;  // of a group
constexpr int kRowStep = 1;           // groups have room for multiples of it

// What a thread has to do before it multiplies and after.
struct MatrixUnit {};

// Blocks of channels whose weights lie together, and how many floats of kBlocks of the other side.
constexpr int kStepBlocks = 1;
constexpr int kStepFloats = kLanes * kBlocks * kLanes;

constexpr void (*kPackWeights)(const float* u, int blocks, float* to) = nullptr;

constexpr int kFetches = kAheads;  // of lines ahead, during a step

// For the partition of a convolution: inner.h tells of each.
constexpr int kWidePanel = kPanelBlocks;
constexpr int kOwnWeights = 1;
constexpr size_t kSharedWeights = 6 << 20;
constexpr double kLargeTiles = 0.95;
constexpr int kFewTiles = 0;
constexpr const Inner* kForFew = nullptr;

// Vec i of the weights of channel c for block b, at u, the weights of a step.
PYNST_INLINE void store_weights(float* u, int c, int b, int i, const Vec* w) {
    store(u + (c * kBlocks + b) * kLanes + i * (kLanes / kVecs), w[0]);
}

// Claims the lines of kCount positions.
template <int kCount>
PYNST_INLINE void claim_weights(float* u, int c, int b, size_t position) {
    claim<kCount>(u + (c * kBlocks + b) * kLanes, position);
}

// out[b][t][i] = sum over c of v[c][t] u[c][b][i], for T rows t (tiles or pixels) and B blocks b of
// 16 lanes i; all T x B sums stay in registers. The sum over c is one chain in the order of c: what
// is rounded grows with its length, so that multiply() may make several of it.
//
//   v    blocks of 16 channels, v_stride floats apart, each (T, 16)
//   u    (16 * blocks, kBlocks, 16)
//   out  blocks out_stride floats apart, each (T, 16); with kAdd the sums are added to it
//
// Meanwhile lines from `ahead` on, every ahead_step floats, are fetched to the second-level cache,
// kFetched of them for each block.
template <int T, int B, bool kAdd, int kFetched = kFetches>
inline void multiply_block(const float* v,
                           size_t v_stride,
                           const float* u,
                           int blocks,
                           float* out,
                           size_t out_stride,
                           const float* ahead,
                           size_t ahead_step) {
    Lanes sums[T][B];
    PYNST_UNROLL
    for (int t = 0; t < T; ++t) {
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            sums[t][b] = zero();
        }
    }
    // Sixteen channels without a branch: the multiply-adds alone keep the processor at its limit of
    // power, and each instruction beside them takes something of its clock rate.
    for (int block = 0; block < blocks; ++block, v += v_stride, u += kLanes * kBlocks * kLanes) {
        PYNST_UNROLL
        for (int i = 0; i < kFetched; ++i, ahead += ahead_step) {
            __builtin_prefetch(ahead, 0, 2);
        }
        PYNST_UNROLL
        for (int c = 0; c < kLanes; ++c) {
            Lanes w[B];
            PYNST_UNROLL
            for (int b = 0; b < B; ++b) {
                w[b] = load(u + (c * kBlocks + b) * kLanes);
            }
            PYNST_UNROLL
            for (int t = 0; t < T; ++t) {
                const Lanes x = broadcast(v[t * kLanes + c]);
                PYNST_UNROLL
                for (int b = 0; b < B; ++b) {
                    add_product(sums[t][b], x, w[b]);
                }
            }
        }
    }
    PYNST_UNROLL
    for (int t = 0; t < T; ++t) {
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            float* to = out + b * out_stride + t * kLanes;
            store(to, kAdd ? load(to) + sums[t][b] : sums[t][b]);
        }
    }
}

// The same for a number of rows known only at run time, 1 <= rows <= T.
template <int T, int B, bool kAdd, int kFetched>
inline void multiply_group(int rows,
                           const float* v,
                           size_t v_stride,
                           const float* u,
                           int blocks,
                           float* out,
                           size_t out_stride,
                           const float* ahead,
                           size_t ahead_step) {
    if (rows == T) {
        multiply_block<T, B, kAdd, kFetched>(
            v, v_stride, u, blocks, out, out_stride, ahead, ahead_step);
    } else if constexpr (T > 1) {
        multiply_group<T - 1, B, kAdd, kFetched>(
            rows, v, v_stride, u, blocks, out, out_stride, ahead, ahead_step);
    }
}

// `count` products of `blocks` blocks of channels, summed in chains of `chain` blocks: product(i)
// is the i-th, ahead(i, g) the first line to be fetched during its group g.
template <bool kAdd, int kFetched = kFetches, class Products, class Ahead>
inline void multiply(const Rows& rows,
                     int blocks,
                     int chain,
                     int count,
                     Products product,
                     Ahead ahead,
                     size_t ahead_step) {
    for (int i = 0; i < count; ++i) {
        const Product p = product(i);
        for (int g = 0; g * rows.group < rows.count; ++g) {
            const int group_rows = min(rows.group, rows.count - g * rows.group);
            const float* const v = p.v + g * rows.v_group;
            float* const out = p.out + static_cast<size_t>(g) * rows.group * kLanes;
            const bool whole = p.width == kBlocks;
            const auto first = whole ? multiply_group<kRows, kBlocks, kAdd, kFetched>
                                     : multiply_group<kRows, 1, kAdd, kFetched>;
            const auto next = whole ? multiply_group<kRows, kBlocks, true, kFetched>
                                    : multiply_group<kRows, 1, true, kFetched>;
            const float* const lines = ahead(i, g);
            for (int b = 0; b < blocks; b += chain) {
                const auto group = b == 0 ? first : next;
                group(group_rows,
                      v + b * rows.v_stride,
                      rows.v_stride,
                      p.u + b * kStepFloats,
                      min(chain, blocks - b),
                      out,
                      rows.out_stride,
                      lines + b * kFetched * ahead_step,
                      ahead_step);
            }
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
