// multiply.h: the matrix multiplication at the bottom of conv3x3_relu and of style_loss.

namespace pynst {
namespace PYNST_ISA {

// out[b][t][i] = sum over c of v[c][t] u[c][b][i], for T rows t (tiles or pixels) and B blocks b of
// 16 lanes i; all T x B sums stay in registers. The sum over c is one chain in the order of c.
//
//   v    blocks of 16 channels, v_stride floats apart, each (T, 16)
//   u    (16 * blocks, kBlocks, 16)
//   out  blocks out_stride floats apart, each (T, 16); with kAdd the sums are added to it
//
// Meanwhile lines from `ahead` on, every ahead_step floats, are fetched to the second-level cache,
// kFetched of them for each block.
template <int T, int B, bool kAdd, int kFetched = kAheads>
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
                    sums[t][b] = fma(x, w[b], sums[t][b]);
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
template <int T, int B, bool kAdd, int kFetched = kAheads>
inline void multiply(int rows,
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
        multiply<T - 1, B, kAdd, kFetched>(
            rows, v, v_stride, u, blocks, out, out_stride, ahead, ahead_step);
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
