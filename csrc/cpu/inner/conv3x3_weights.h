// conv3x3_weights.h: U = G w G^T, from the weights as they lie or, backward, transposed and
// reversed.

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
// memory, or backward transposed and with reversed taps, in `turned`.
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

// The pairs of blocks of one step: kStepBlocks input blocks, from `in` on, with output block `out`.
// Zeros stand in for blocks that do not exist.
struct Step {
    const float* pairs[kStepBlocks];

    Step() = default;
    Step(const Conv3x3Job& job, int in, int out, const float* zeros, float (*turned)[kPair]) {
        for (int i = 0; i < kStepBlocks; ++i) {
            const bool there = in + i < job.blocks_in && out < job.blocks_out;
            pairs[i] = there ? pair_weights(job, in + i, out, turned[i]) : zeros;
        }
    }
    // Register i of tap (y, x) of channel c.
    Vec tap(int block, int c, int y, int x, int i) const {
        return vec(load(pairs[block] + (c * kTaps + 3 * y + x) * kLanes), i);
    }
};

// G w G^T of a step, for block b of the slab. While it runs, the weights of the next step are
// fetched: those at `next`, and for each further block `apart` floats further on.
template <class Tile>
inline void transform_step(
    const Step& w, const float* next, size_t apart, int b, float* u, size_t position) {
    constexpr int kIn = Tile::kIn;
    for (int c = 0; c < kLanes; ++c, next += kTaps * kLanes) {
        claim_weights<kStepBlocks == 1 ? Tile::kPositions : kIn>(u, c, b, position);
        for (int block = 0; block < kStepBlocks; ++block) {
            for (int tap = 0; tap < kTaps; ++tap) {
                __builtin_prefetch(next + block * apart + tap * kLanes, 0, 2);
            }
        }
        PYNST_UNROLL
        for (int i = 0; i < kVecs; ++i) {
            Vec columns[kStepBlocks][3][kIn];
            PYNST_UNROLL
            for (int block = 0; block < kStepBlocks; ++block) {
                PYNST_UNROLL
                for (int x = 0; x < 3; ++x) {
                    Vec taps[3];
                    PYNST_UNROLL
                    for (int y = 0; y < 3; ++y) {
                        taps[y] = w.tap(block, c, y, x, i);
                    }
                    Tile::transform_weights(taps, columns[block][x]);
                }
            }
            PYNST_UNROLL
            for (int row = 0; row < kIn; ++row) {
                if (kStepBlocks > 1 &&
                    row + 1 < kIn) {  // all lines at once would fill the queue of misses
                    claim_weights<kIn>(u + (row + 1) * kIn * position, c, b, position);
                }
                Vec out[kIn][kStepBlocks];
                PYNST_UNROLL
                for (int block = 0; block < kStepBlocks; ++block) {
                    const Vec line[3] = {
                        columns[block][0][row], columns[block][1][row], columns[block][2][row]};
                    Vec transformed[kIn];
                    Tile::transform_weights(line, transformed);
                    PYNST_UNROLL
                    for (int x = 0; x < kIn; ++x) {
                        out[x][block] = transformed[x];
                    }
                }
                PYNST_UNROLL
                for (int x = 0; x < kIn; ++x) {
                    store_weights(u + (row * kIn + x) * position, c, b, i, out[x]);
                }
            }
        }
    }
}

// Writes U of the output blocks [kBlocks * column, + kBlocks) and one chunk of the input:
// (positions, steps, kStepFloats), positions job.U apart.
template <class Tile>
void transform_slab(const Conv3x3Job& job, int column, int chunk, float* U) {
    const int begin = chunk * job.chunk_blocks, end = min(begin + job.chunk_blocks, job.blocks_in);
    float zeros[kPair] = {}, turned[kStepBlocks][kPair];
    for (int in = begin; in < end; in += kStepBlocks, U += kStepFloats) {
        for (int b = 0; b < kBlocks; ++b) {
            const int out = column * kBlocks + b;
            const Step step(job, in, out, zeros, turned);
            const size_t apart = pair_address(job, in + 1, out) - pair_address(job, in, out);
            const float* next = pair_address(job, in + kStepBlocks, out);
            transform_step<Tile>(step, next, apart, b, U, job.U);
        }
    }
}

// One row of Winograd positions of G w G^T of a step.
template <class Tile>
inline void transform_step_row(const Step& w, int row, int b, float* u, size_t position) {
    constexpr int kIn = Tile::kIn;
    u += row * kIn * position;
    for (int c = 0; c < kLanes; ++c) {
        PYNST_UNROLL
        for (int i = 0; i < kVecs; ++i) {
            Vec out[kIn][kStepBlocks];
            PYNST_UNROLL
            for (int block = 0; block < kStepBlocks; ++block) {
                Vec line[3], transformed[kIn];
                PYNST_UNROLL
                for (int x = 0; x < 3; ++x) {
                    Vec taps[3];
                    PYNST_UNROLL
                    for (int y = 0; y < 3; ++y) {
                        taps[y] = w.tap(block, c, y, x, i);
                    }
                    line[x] = Tile::weights_row(row, taps);
                }
                Tile::transform_weights(line, transformed);
                PYNST_UNROLL
                for (int x = 0; x < kIn; ++x) {
                    out[x][block] = transformed[x];
                }
            }
            PYNST_UNROLL
            for (int x = 0; x < kIn; ++x) {
                store_weights(u + x * position, c, b, i, out[x]);
            }
        }
    }
}

// Writes the same U for all input channels, one row of positions after the other. Other threads
// have read these cache lines, and fetching them before they are written would ask those threads'
// caches. A few streams of whole lines can be written without fetching. Where no other thread reads
// U, transform_slab is faster.
template <class Tile>
void transform_slab_by_rows(const Conv3x3Job& job, int column, float* U) {
    constexpr int kSteps = 4 / kStepBlocks;  // steps whose weights stay in a cache meanwhile
    float zeros[kPair] = {}, turned[kSteps][kBlocks][kStepBlocks][kPair];
    Step steps[kSteps][kBlocks];
    for (int begin = 0; begin < job.blocks_in; begin += kSteps * kStepBlocks) {
        const int count = min(kSteps, ceil_div(job.blocks_in - begin, kStepBlocks));
        for (int s = 0; s < count; ++s) {
            for (int b = 0; b < kBlocks; ++b) {
                const int in = begin + s * kStepBlocks, out = column * kBlocks + b;
                steps[s][b] = Step(job, in, out, zeros, turned[s][b]);
            }
        }
        for (int row = 0; row < Tile::kIn; ++row) {
            for (int s = 0; s < count; ++s) {
                for (int b = 0; b < kBlocks; ++b) {
                    transform_step_row<Tile>(steps[s][b], row, b, U + s * kStepFloats, job.U);
                }
            }
        }
        U += kSteps * kStepFloats;
    }
}

// The task that makes one slab of U, for all tasks that multiply.
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
