// conv3x3_weights.h: U = G w G^T, from the weights as they lie or, for the way back, turned.

namespace pynst {
namespace PYNST_ISA {

constexpr int kTaps = 9;
constexpr int kPair = kLanes * kTaps * kLanes;  // weights of 16 input and 16 output channels

inline const float* pair_address(const Conv3x3Job& job, int in, int out) {
    return job.weights + (job.transposed ? static_cast<size_t>(in) * job.blocks_out + out
                                         : static_cast<size_t>(out) * job.blocks_in + in) *
                             kPair;
}

// The weights from input block `in` to output block `out` as (16 in, 9, 16 out): as they lie in
// memory, or for the way back transposed and with reversed taps.
inline const float* pair_weights(const Conv3x3Job& job, int in, int out, float* turned) {
    const float* from = pair_address(job, in, out);
    if (!job.transposed) {
        return from;
    }
    for (int tap = 0; tap < kTaps; ++tap) {
        Lanes rows[kLanes];
        PYNST_UNROLL
        for (int o = 0; o < kLanes; ++o) {
            rows[o] = load(from + (o * kTaps + kTaps - 1 - tap) * kLanes);
        }
        transpose(rows);
        PYNST_UNROLL
        for (int i = 0; i < kLanes; ++i) {
            store(turned + (i * kTaps + tap) * kLanes, rows[i]);
        }
    }
    return turned;
}

// G w G^T for sixteen input and sixteen output channels. The weights at `next` are fetched
// meanwhile.
template <class Tile>
inline void transform_pair(const float* w, const float* next, float* u, size_t position) {
    constexpr int kIn = Tile::kIn;
    for (int c = 0; c < kLanes; ++c, w += kTaps * kLanes, u += kBlocks * kLanes) {
        claim<Tile::kPositions>(u, position);
        for (int tap = 0; tap < kTaps; ++tap, next += kLanes) {
            __builtin_prefetch(next, 0, 2);
        }
        PYNST_UNROLL
        for (int i = 0; i < kParts; ++i) {
            Part columns[3][kIn];
            PYNST_UNROLL
            for (int x = 0; x < 3; ++x) {
                Part taps[3];
                PYNST_UNROLL
                for (int y = 0; y < 3; ++y) {
                    taps[y] = part(load(w + (3 * y + x) * kLanes), i);
                }
                Tile::transform_weights(taps, columns[x]);
            }
            PYNST_UNROLL
            for (int row = 0; row < kIn; ++row) {
                const Part line[3] = {columns[0][row], columns[1][row], columns[2][row]};
                Part out[kIn];
                Tile::transform_weights(line, out);
                PYNST_UNROLL
                for (int x = 0; x < kIn; ++x) {
                    store(u + (row * kIn + x) * position + i * (kLanes / kParts), out[x]);
                }
            }
        }
    }
}

// U of output blocks [kBlocks * column, + kBlocks) and one chunk of the input: (positions, channels
// in, kBlocks, 16), positions job.U apart.
template <class Tile>
void transform_slab(const Conv3x3Job& job, int column, int chunk, float* U) {
    const int begin = chunk * job.chunk_blocks, end = min(begin + job.chunk_blocks, job.blocks_in);
    float zeros[kPair] = {}, turned[kPair];
    for (int in = begin; in < end; ++in, U += kLanes * kBlocks * kLanes) {
        for (int b = 0; b < kBlocks; ++b) {
            const int out = column * kBlocks + b;  // zeros fill up an odd number of blocks
            const float* pair = out < job.blocks_out ? pair_weights(job, in, out, turned) : zeros;
            transform_pair<Tile>(pair, pair_address(job, in + 1, out), U + b * kLanes, job.U);
        }
    }
}

// One row of positions of G w G^T for sixteen input and sixteen output channels.
template <class Tile>
inline void transform_pair_row(const float* w, int row, float* u, size_t position) {
    constexpr int kIn = Tile::kIn;
    u += row * kIn * position;
    for (int c = 0; c < kLanes; ++c, w += kTaps * kLanes, u += kBlocks * kLanes) {
        PYNST_UNROLL
        for (int i = 0; i < kParts; ++i) {
            Part line[3], out[kIn];
            PYNST_UNROLL
            for (int x = 0; x < 3; ++x) {
                Part taps[3];
                PYNST_UNROLL
                for (int y = 0; y < 3; ++y) {
                    taps[y] = part(load(w + (3 * y + x) * kLanes), i);
                }
                line[x] = Tile::weights_row(row, taps);
            }
            Tile::transform_weights(line, out);
            PYNST_UNROLL
            for (int x = 0; x < kIn; ++x) {
                store(u + x * position + i * (kLanes / kParts), out[x]);
            }
        }
    }
}

// The same U, row of positions by row, for all channels in. Other threads have read these lines, and
// to fetch them before they are written would ask those threads' caches; few streams of whole lines
// are written without. Where nobody else reads, transform_slab is faster.
template <class Tile>
void transform_slab_by_rows(const Conv3x3Job& job, int column, float* U) {
    constexpr int kGroup = 4;  // input blocks whose weights stay in a cache meanwhile
    float zeros[kPair] = {}, turned[kGroup * kBlocks][kPair];
    for (int begin = 0; begin < job.blocks_in; begin += kGroup) {
        const int count = min(kGroup, job.blocks_in - begin) * kBlocks;
        const float* pairs[kGroup * kBlocks];
        for (int i = 0; i < count; ++i) {
            const int in = begin + i / kBlocks, out = column * kBlocks + i % kBlocks;
            pairs[i] = out < job.blocks_out ? pair_weights(job, in, out, turned[i]) : zeros;
        }
        for (int row = 0; row < Tile::kIn; ++row) {
            for (int i = 0; i < count; ++i) {
                const size_t channel = (begin + i / kBlocks) * kLanes;
                float* u = U + (channel * kBlocks + i % kBlocks) * kLanes;
                transform_pair_row<Tile>(pairs[i], row, u, job.U);
            }
        }
    }
}

// One slab, for all tasks.
template <class Tile>
void weights_task(const Conv3x3Job& job, int column) {
    float* U = job.all_weights + static_cast<size_t>(column) * Tile::kPositions * job.U;
    if (job.weights_by_rows) {
        transform_slab_by_rows<Tile>(job, column, U);
    } else {
        transform_slab<Tile>(job, column, 0, U);
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
