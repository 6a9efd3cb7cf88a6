// conv3x3.h: one task of conv3x3_relu, forward or backward: transform a block of tiles, multiply it
// by the transformed weights position by position, transform back. conv3x3_relu.cpp tells the
// whole.

namespace pynst {
namespace PYNST_ISA {

// ---- 1. input: six by six pixels of one channel block -------------------------------------------

// The pixel (y, x) of channel block `block`: features, or the gradient behind ReLU and pooling.
template <bool kMasked, Pooling kSource>
struct Source {
    const Conv3x3Job& job;
    int block;

    Lanes operator()(int y, int x) const {
        const size_t pixel = (static_cast<size_t>(block) * job.H + y) * job.W + x;
        Lanes value;
        uint16_t bits = kMasked ? job.mask[pixel] : 0;
        if constexpr (kSource == Pooling::none) {
            value = load(job.x + pixel * kLanes);
        } else {
            const int h = job.H / 2, w = job.W / 2;
            const size_t pooled = (static_cast<size_t>(block) * h + y / 2) * w + x / 2;
            value = load(job.x + pooled * kLanes);
            if constexpr (kSource == Pooling::average) {
                value = broadcast(0.25f) * value;
            } else {
                bits &= chosen(job.choices[pooled], (y & 1) * 2 + (x & 1));
            }
        }
        return kMasked ? where(bits, value) : value;
    }
    // Fetches the pixels to the first-level cache that the tile `kAhead` tiles to the right of the
    // one at (top, left) does not share with its neighbour.
    void prefetch(int top, int left) const {
        constexpr int kAhead = 3, kStep = kSource == Pooling::none ? 1 : 2;
        for (int r = 0; r < kIn; r += kStep) {
            for (int c = 0; c < kOut; c += kStep) {
                const int y = top + r, x = left + kAhead * kOut + 2 + c;
                const size_t row = static_cast<size_t>(block) * (job.H / kStep) + y / kStep;
                __builtin_prefetch(job.x + (row * (job.W / kStep) + x / kStep) * kLanes);
            }
        }
    }
    // A pixel beyond these has no gradient: pooling drops an odd last row or column.
    int rows() const {
        return kSource == Pooling::none ? job.H : job.H / 2 * 2;
    }
    int columns() const {
        return kSource == Pooling::none ? job.W : job.W / 2 * 2;
    }
};

// Fetches the 36 lines that are to be written: stores are made in order, one miss after the other.
inline void claim(const float* to, size_t position) {
    PYNST_UNROLL
    for (int i = 0; i < kPositions; ++i) {
        __builtin_prefetch(to + i * position, 1, 3);
    }
}

// B^T d B of one tile; `at(r, c)` gives the pixel in row r and column c of it.
template <class At>
inline void transform_tile(At at, float* v, size_t position) {
    Lanes rows[kIn][kIn];
    claim(v, position);
    PYNST_UNROLL
    for (int r = 0; r < kIn; ++r) {
        Lanes d[kIn];
        PYNST_UNROLL
        for (int c = 0; c < kIn; ++c) {
            d[c] = at(r, c);
        }
        transform_input(d, rows[r]);
    }
    PYNST_UNROLL
    for (int c = 0; c < kIn; ++c) {
        Lanes d[kIn], column[kIn];
        PYNST_UNROLL
        for (int r = 0; r < kIn; ++r) {
            d[r] = rows[r][c];
        }
        transform_input(d, column);
        PYNST_UNROLL
        for (int r = 0; r < kIn; ++r) {
            store(v + (r * kIn + c) * position, column[r]);
        }
    }
}

// The tiles of an image, line by line.
struct TileWalk {
    int across, row, column;

    TileWalk(const Conv3x3Job& job, int first)
        : across(ceil_div(job.W, kOut)), row(first / across), column(first % across) {}
    void next() {
        if (++column == across) {
            column = 0;
            ++row;
        }
    }
};

// One tile at (top, left) that reaches over the border: zeros outside.
template <class Load>
inline void transform_border_tile(
    const Load& source, int top, int left, float* v, size_t position) {
    float patch[kPositions * kLanes];
    for (int r = 0; r < kIn; ++r) {
        for (int c = 0; c < kIn; ++c) {
            const int y = top + r, x = left + c;
            const bool inside = y >= 0 && x >= 0 && y < source.rows() && x < source.columns();
            store(patch + (r * kIn + c) * kLanes, inside ? source(y, x) : zero());
        }
    }
    const auto at = [&](int r, int c) { return load(patch + (r * kIn + c) * kLanes); };
    transform_tile(at, v, position);
}

// Channel block `block` of V, (positions, groups, blocks_in, group, 16), positions job.V apart,
// from tiles [first, first + tiles).
template <class Load>
void transform_tiles(const Conv3x3Job& job, int block, int first, int tiles, float* V) {
    const size_t line = static_cast<size_t>(job.group) * kLanes, panel = job.blocks_in * line;
    const Load source{job, block};
    TileWalk tile(job, first);
    for (int t = 0; t < tiles; ++t, tile.next()) {
        const int top = tile.row * kOut - 1, left = tile.column * kOut - 1;
        float* v = V + t / job.group * panel + block * line + t % job.group * kLanes;
        if (top >= 0 && left >= 0 && top + kIn <= source.rows() && left + kIn <= source.columns()) {
            source.prefetch(top, left);
            const auto at = [&](int r, int c) { return source(top + r, left + c); };
            transform_tile(at, v, job.V);
        } else {
            transform_border_tile(source, top, left, v, job.V);
        }
    }
}

void transform_tiles(const Conv3x3Job& job, int block, int first, int tiles, float* V) {
    if (job.mask == nullptr) {
        transform_tiles<Source<false, Pooling::none>>(job, block, first, tiles, V);
    } else if (job.source == Pooling::none) {
        transform_tiles<Source<true, Pooling::none>>(job, block, first, tiles, V);
    } else if (job.source == Pooling::average) {
        transform_tiles<Source<true, Pooling::average>>(job, block, first, tiles, V);
    } else {
        transform_tiles<Source<true, Pooling::maximum>>(job, block, first, tiles, V);
    }
}

// Of a block of tiles: the first, and how many.
struct TileRange {
    int first, count;

    TileRange(const Conv3x3Job& job, int block) : first(block * job.tiles) {
        count = min(job.tiles, ceil_div(job.H, kOut) * ceil_div(job.W, kOut) - first);
    }
};

// One channel block of one block of tiles.
void conv3x3_tiles(const Conv3x3Job& job, int task) {
    const int tile_block = task / job.blocks_in;
    const TileRange range(job, tile_block);
    transform_tiles(job,
                    task % job.blocks_in,
                    range.first,
                    range.count,
                    job.all_tiles + tile_block * kPositions * job.V);
}

// ---- 2. weights ---------------------------------------------------------------------------------

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
inline void transform_pair(const float* w, const float* next, float* u, size_t position) {
    for (int c = 0; c < kLanes; ++c, w += kTaps * kLanes, u += kBlocks * kLanes) {
        claim(u, position);
        for (int tap = 0; tap < kTaps; ++tap, next += kLanes) {
            __builtin_prefetch(next, 0, 2);
        }
        Lanes columns[3][kIn];
        PYNST_UNROLL
        for (int x = 0; x < 3; ++x) {
            const Lanes taps[3] = {
                load(w + x * kLanes), load(w + (3 + x) * kLanes), load(w + (6 + x) * kLanes)};
            transform_weights(taps, columns[x]);
        }
        PYNST_UNROLL
        for (int row = 0; row < kIn; ++row) {
            const Lanes line[3] = {columns[0][row], columns[1][row], columns[2][row]};
            Lanes v[kIn];
            transform_weights(line, v);
            PYNST_UNROLL
            for (int i = 0; i < kIn; ++i) {
                store(u + (row * kIn + i) * position, v[i]);
            }
        }
    }
}

// U of output blocks [kBlocks * column, + kBlocks) and one chunk of the input: (positions, channels
// in, kBlocks, 16), positions job.U apart.
void transform_slab(const Conv3x3Job& job, int column, int chunk, float* U) {
    const int begin = chunk * job.chunk_blocks, end = min(begin + job.chunk_blocks, job.blocks_in);
    float zeros[kPair] = {}, turned[kPair];
    for (int in = begin; in < end; ++in, U += kLanes * kBlocks * kLanes) {
        for (int b = 0; b < kBlocks; ++b) {
            const int out = column * kBlocks + b;  // zeros fill up an odd number of blocks
            const float* pair = out < job.blocks_out ? pair_weights(job, in, out, turned) : zeros;
            transform_pair(pair, pair_address(job, in + 1, out), U + b * kLanes, job.U);
        }
    }
}

void conv3x3_weights(const Conv3x3Job& job, int task) {
    transform_slab(job,
                   task / job.chunks,
                   task % job.chunks,
                   job.all_weights + static_cast<size_t>(task) * kPositions * job.U);
}

// ---- 3. product: M = V U ------------------------------------------------------------------------

// Register blocks of outputs whose slabs of U lie `step` floats apart; the last may be narrower.
struct Columns {
    int count, last_blocks;
    const float* U;
    size_t step;
};

// M: (positions, panel_blocks, job.tiles, 16), positions job.M apart. Chunks after the first are
// added. While a group of tiles meets the weights of one position, what comes from the third-level
// cache at the next position is fetched to the second: the group's part of U if all of U is there,
// else its part of V.
template <bool kAdd>
void multiply_chunk(
    const Conv3x3Job& job, int tiles, int chunk, const Columns& columns, const float* V, float* M) {
    const int groups = ceil_div(tiles, job.group);
    const int begin = chunk * job.chunk_blocks;
    const int blocks = min(job.chunk_blocks, job.blocks_in - begin);
    const size_t line = static_cast<size_t>(job.group) * kLanes, v_panel = job.blocks_in * line;
    const size_t m_block = static_cast<size_t>(job.tiles) * kLanes;
    const bool ahead_in_u = job.all_weights != nullptr;
    const size_t u_share = job.U / groups;
    const size_t ahead_step = ahead_in_u ? kBlocks * kLanes / groups : job.group;
    for (int position = 0; position < kPositions; ++position, V += job.V, M += job.M) {
        for (int g = 0; g < groups; ++g) {
            const float* v = V + g * v_panel + begin * line;
            const int rows = min(job.group, tiles - g * job.group);
            for (int column = 0; column < columns.count; ++column) {
                const float* u = columns.U + column * columns.step + position * job.U;
                float* m = M + column * kBlocks * m_block + g * line;
                const float* ahead = ahead_in_u ? u + job.U + g * u_share : v + job.V;
                if (column + 1 < columns.count || columns.last_blocks == kBlocks) {
                    multiply<kTiles, kBlocks, kAdd>(
                        rows, v, line, u, blocks, m, m_block, ahead, ahead_step);
                } else {
                    multiply<kTiles, 1, kAdd>(
                        rows, v, line, u, blocks, m, m_block, ahead, ahead_step);
                }
            }
        }
    }
}

// ---- 4. output: A^T M A, bias, ReLU, pooling ----------------------------------------------------

// Stores the 4 x 4 outputs (as far as they are inside) of a tile at (top, left), unpooled.
inline void store_tile(
    const Conv3x3Job& job, int block, int top, int left, const Lanes (*y)[kOut]) {
    const int rows = min(kOut, job.H - top), columns = min(kOut, job.W - left);
    float* to = job.y + ((static_cast<size_t>(block) * job.H + top) * job.W + left) * kLanes;
    PYNST_UNROLL
    for (int r = 0; r < kOut; ++r) {
        PYNST_UNROLL
        for (int c = 0; c < kOut; ++c) {
            if (r < rows && c < columns) {
                store(to + (static_cast<size_t>(r) * job.W + c) * kLanes, y[r][c]);
            }
        }
    }
}

// Stores the ReLU's bits of a tile.
inline void store_bits(
    const Conv3x3Job& job, int block, int top, int left, const Lanes (*y)[kOut]) {
    const int rows = min(kOut, job.H - top), columns = min(kOut, job.W - left);
    uint16_t* to = job.bits + (static_cast<size_t>(block) * job.H + top) * job.W + left;
    PYNST_UNROLL
    for (int r = 0; r < kOut; ++r) {
        PYNST_UNROLL
        for (int c = 0; c < kOut; ++c) {
            if (r < rows && c < columns) {
                to[static_cast<size_t>(r) * job.W + c] = greater(y[r][c], zero());
            }
        }
    }
}

// Stores the 2 x 2 pooled outputs of a tile.
inline void store_pooled(
    const Conv3x3Job& job, int block, int top, int left, const Lanes (*y)[kOut]) {
    const int h = job.H / 2, w = job.W / 2;
    PYNST_UNROLL
    for (int r = 0; r < kOut / 2; ++r) {
        PYNST_UNROLL
        for (int c = 0; c < kOut / 2; ++c) {
            if (top / 2 + r >= h || left / 2 + c >= w) {
                continue;
            }
            const size_t pixel = (static_cast<size_t>(block) * h + top / 2 + r) * w + left / 2 + c;
            const Lanes *above = y[2 * r] + 2 * c, *below = y[2 * r + 1] + 2 * c;
            if (job.pool == Pooling::average) {
                store(job.y + pixel * kLanes, average(above[0], above[1], below[0], below[1]));
                continue;
            }
            uint32_t choices;
            store(job.y + pixel * kLanes,
                  maximum(above[0], above[1], below[0], below[1], &choices));
            if (job.pool_choices != nullptr) {
                job.pool_choices[pixel] = choices;
            }
        }
    }
}

// A^T m A of one tile, with bias and ReLU where there is a bias.
template <bool kRelu>
inline void transform_tile_back(const float* m, size_t position, Lanes bias, Lanes (*y)[kOut]) {
    Lanes columns[kIn][kOut];
    PYNST_UNROLL
    for (int c = 0; c < kIn; ++c) {
        Lanes column[kIn];
        PYNST_UNROLL
        for (int r = 0; r < kIn; ++r) {
            column[r] = load(m + (r * kIn + c) * position);
        }
        transform_output(column, columns[c]);
    }
    PYNST_UNROLL
    for (int r = 0; r < kOut; ++r) {
        Lanes line[kIn];
        PYNST_UNROLL
        for (int c = 0; c < kIn; ++c) {
            line[c] = columns[c][r];
        }
        transform_output(line, y[r]);
        PYNST_UNROLL
        for (int c = 0; c < kOut && kRelu; ++c) {
            y[r][c] = relu(y[r][c] + bias);
        }
    }
}

// Fetches the lines that the outputs of a tile at (top, left) will be written to.
template <bool kPool>
inline void claim_outputs(const Conv3x3Job& job, int block, int top, int left) {
    constexpr int kStep = kPool ? 2 : 1;
    const int h = job.H / kStep, w = job.W / kStep;
    const float* to =
        job.y + ((static_cast<size_t>(block) * h + top / kStep) * w + left / kStep) * kLanes;
    for (int r = 0; r < kOut / kStep; ++r, to += static_cast<size_t>(w) * kLanes) {
        for (int c = 0; c < kOut / kStep; ++c) {
            __builtin_prefetch(to + c * kLanes, 1, 3);
        }
    }
}

// Output blocks [first, first + blocks) of tiles [first_tile, first_tile + tiles).
template <bool kRelu, bool kPool>
void transform_back(
    const Conv3x3Job& job, int first, int blocks, int first_tile, int tiles, const float* M) {
    for (int block = first; block < first + blocks; ++block) {
        const Lanes bias = kRelu ? load(job.bias + block * kLanes) : zero();
        TileWalk tile(job, first_tile);
        for (int t = 0; t < tiles; ++t, tile.next()) {
            const float* m = M + (static_cast<size_t>(block - first) * job.tiles + t) * kLanes;
            const int top = tile.row * kOut, left = tile.column * kOut;
            claim_outputs<kPool>(job, block, top, left + kOut);
            Lanes y[kOut][kOut];
            transform_tile_back<kRelu>(m, job.M, bias, y);
            if (kRelu && job.bits != nullptr) {
                store_bits(job, block, top, left, y);
            }
            if (kPool) {
                store_pooled(job, block, top, left, y);
            } else {
                store_tile(job, block, top, left, y);
            }
        }
    }
}

// Output blocks [first, first + blocks), a panel, of the tiles whose V is given. `own` is room for
// the panel's U of one chunk.
void multiply_panel(
    const Conv3x3Job& job, int tiles, int first, int blocks, const float* V, float* M, float* own) {
    const size_t slab = kPositions * job.U;
    const int column = first / kBlocks, count = ceil_div(blocks, kBlocks);
    Columns columns = {count, blocks - (count - 1) * kBlocks, own, slab};
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
        if (job.all_weights != nullptr) {
            columns.U = job.all_weights + (static_cast<size_t>(column) * job.chunks + chunk) * slab;
            columns.step = job.chunks * slab;
        } else {
            for (int i = 0; i < count; ++i) {
                transform_slab(job, column + i, chunk, own + i * slab);
            }
        }
        if (chunk == 0) {
            multiply_chunk<false>(job, tiles, chunk, columns, V, M);
        } else {
            multiply_chunk<true>(job, tiles, chunk, columns, V, M);
        }
    }
}

void conv3x3(const Conv3x3Job& job, int task, float* scratch) {
    const int tile_block = task / job.parts, part = task % job.parts;
    const TileRange range(job, tile_block);
    float *M = scratch, *U = M + kPositions * job.M, *V = U;
    if (job.all_weights == nullptr) {
        V += job.panel_blocks / kBlocks * kPositions * job.U;
    }
    if (job.all_tiles != nullptr) {
        V = job.all_tiles + tile_block * kPositions * job.V;
    } else {
        for (int block = 0; block < job.blocks_in; ++block) {
            transform_tiles(job, block, range.first, range.count, V);
        }
    }
    const int begin = job.panels * part / job.parts, end = job.panels * (part + 1) / job.parts;
    for (int panel = begin; panel < end; ++panel) {
        const int first = panel * job.panel_blocks;
        const int blocks = min(job.panel_blocks, job.blocks_out - first);
        multiply_panel(job, range.count, first, blocks, V, M, U);
        if (job.bias == nullptr) {
            transform_back<false, false>(job, first, blocks, range.first, range.count, M);
        } else if (job.pool == Pooling::none) {
            transform_back<true, false>(job, first, blocks, range.first, range.count, M);
        } else {
            transform_back<true, true>(job, first, blocks, range.first, range.count, M);
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
