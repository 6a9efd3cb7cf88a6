// multiply.h: the matrix multiplication at the bottom of conv3x3_relu and of style_loss, with
// vector instructions. multiply_amx.h defines the same names for a processor with a matrix unit.

namespace pynst {
namespace PYNST_ISA {

constexpr int kRows = kRegisterRows;  // the most rows of a group
constexpr int kRowStep = 1;           // a group has a multiple of this many rows

// What a thread has to do before and after it multiplies: nothing here.
struct MatrixUnit {};

// A step: the blocks of input channels whose weights lie together, and the floats that their
// weights for kBlocks blocks of output channels take.
constexpr int kStepBlocks = 1;
constexpr int kStepFloats = kLanes * kBlocks * kLanes;

constexpr void (*kPackWeights)(const float* u, int blocks, float* to) = nullptr;

constexpr int kFetches = kAheads;  // cache lines that are fetched ahead during a step

// Numbers for the partition of a convolution; inner.h explains each of them.
constexpr int kWidePanel = kPanelBlocks;
constexpr int kOwnWeights = 1;
constexpr size_t kSharedWeights = 6 << 20;
constexpr double kLargeTiles = 0.95;
constexpr int kFewTiles = 0;
constexpr const Inner* kForFew = nullptr;

// Stores register i of the weights of channel c for block b, in the weights u of a step.
PYNST_INLINE void store_weights(float* u, int c, int b, int i, const Vec* w) {
    store(u + (c * kBlocks + b) * kLanes + i * (kLanes / kVecs), w[0]);
}

// Claims the cache lines of kCount Winograd positions.
template <int kCount>
PYNST_INLINE void claim_weights(float* u, int c, int b, size_t position) {
    claim<kCount>(u + (c * kBlocks + b) * kLanes, position);
}

// out[b][t][i] = sum over c of v[c][t] u[c][b][i], for T rows t (tiles or pixels) and B blocks b of
// 16 lanes i. All T x B sums stay in registers. Each sum over c is one chain in the order of c. Its
// rounding error grows with its length, which is why multiply() can cut it into several chains.
//
//   v    blocks of 16 channels, v_stride floats apart, each (T, 16)
//   u    (16 * blocks, kBlocks, 16)
//   out  blocks out_stride floats apart, each (T, 16)
//   weights (T,), read where the sums are weighed
//
// While it runs, kFetched cache lines for each block of channels are fetched to the second-level
// cache: those that lie every ahead_step floats from `ahead` on.
template <int T, int B, Into kInto, int kFetched = kFetches>
inline void multiply_block(const float* v,
                           size_t v_stride,
                           const float* u,
                           int blocks,
                           float* out,
                           size_t out_stride,
                           const float* weights,
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
    // Sixteen channels are multiplied without a branch. The multiply-adds alone keep the processor
    // at its power limit, and every other instruction lowers the clock rate a little.
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
            if constexpr (kInto == Into::weighed) {
                store(to, fma(broadcast(weights[t]), sums[t][b], load(to)));
            } else {
                store(to, kInto == Into::added ? load(to) + sums[t][b] : sums[t][b]);
            }
        }
    }
}

// multiply_block for a number of rows known only at run time, 1 <= rows <= T.
template <int T, int B, Into kInto, int kFetched>
inline void multiply_group(int rows,
                           const float* v,
                           size_t v_stride,
                           const float* u,
                           int blocks,
                           float* out,
                           size_t out_stride,
                           const float* weights,
                           const float* ahead,
                           size_t ahead_step) {
    if (rows == T) {
        multiply_block<T, B, kInto, kFetched>(
            v, v_stride, u, blocks, out, out_stride, weights, ahead, ahead_step);
    } else if constexpr (T > 1) {
        multiply_group<T - 1, B, kInto, kFetched>(
            rows, v, v_stride, u, blocks, out, out_stride, weights, ahead, ahead_step);
    }
}

// Computes `count` products of `blocks` blocks of channels, which are summed in chains of `chain`
// blocks. product(i) gives the i-th product; ahead(i, g) gives the first cache line to be fetched
// while its group g is multiplied.
template <Into kInto, int kFetched = kFetches, class Products, class Ahead>
inline void multiply(const Rows& rows,
                     int blocks,
                     int chain,
                     int count,
                     Products product,
                     Ahead ahead,
                     size_t ahead_step) {
    constexpr Into kLater = kInto == Into::stored ? Into::added : kInto;
    for (int i = 0; i < count; ++i) {
        const Product p = product(i);
        for (int g = 0; g * rows.group < rows.count; ++g) {
            const int group_rows = min(rows.group, rows.count - g * rows.group);
            const float* const v = p.v + g * rows.v_group;
            float* const out = p.out + static_cast<size_t>(g) * rows.group * kLanes;
            const bool whole = p.width == kBlocks;
            const auto first = whole ? multiply_group<kRows, kBlocks, kInto, kFetched>
                                     : multiply_group<kRows, 1, kInto, kFetched>;
            const auto next = whole ? multiply_group<kRows, kBlocks, kLater, kFetched>
                                    : multiply_group<kRows, 1, kLater, kFetched>;
            const float* const lines = ahead(i, g);
            const float* const weights =
                kInto == Into::weighed ? rows.weights + g * rows.group : nullptr;
            for (int b = 0; b < blocks; b += chain) {
                const auto group = b == 0 ? first : next;
                group(group_rows,
                      v + b * rows.v_stride,
                      rows.v_stride,
                      p.u + b * kStepFloats,
                      min(chain, blocks - b),
                      out,
                      rows.out_stride,
                      weights,
                      lines + b * kFetched * ahead_step,
                      ahead_step);
            }
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
