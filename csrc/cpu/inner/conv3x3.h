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
    // A pixel beyond these has no gradient: pooling drops an odd last row or column.
    int rows() const {
        return kSource == Pooling::none ? job.H : job.H / 2 * 2;
    }
    int columns() const {
        return kSource == Pooling::none ? job.W : job.W / 2 * 2;
    }
};

// B^T d B of one tile; `at(r, c)` gives the pixel in row r and column c of it.
template <class At>
inline void transform_tile(At at, float* v, size_t position) {
    Lanes rows[kIn][kIn];
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

// V: (positions, groups, blocks_in, group, 16) from tiles [first, first + tiles), positions job.V
// apart.
template <class Load>
void transform_tiles(const Conv3x3Job& job, int first, int tiles, float* V) {
    const size_t line = static_cast<size_t>(job.group) * kLanes, panel = job.blocks_in * line;
    for (int block = 0; block < job.blocks_in; ++block) {
        const Load source{job, block};
        TileWalk tile(job, first);
        for (int t = 0; t < tiles; ++t, tile.next()) {
            const int top = tile.row * kOut - 1, left = tile.column * kOut - 1;
            float* v = V + t / job.group * panel + block * line + t % job.group * kLanes;
            if (top >= 0 && left >= 0 && top + kIn <= source.rows() &&
                left + kIn <= source.columns()) {
                const auto at = [&](int r, int c) { return source(top + r, left + c); };
                transform_tile(at, v, job.V);
            } else {
                transform_border_tile(source, top, left, v, job.V);
            }
        }
    }
}

void transform_tiles(const Conv3x3Job& job, int first, int tiles, float* V) {
    if (job.mask == nullptr) {
        transform_tiles<Source<false, Pooling::none>>(job, first, tiles, V);
    } else if (job.source == Pooling::none) {
        transform_tiles<Source<true, Pooling::none>>(job, first, tiles, V);
    } else if (job.source == Pooling::average) {
        transform_tiles<Source<true, Pooling::average>>(job, first, tiles, V);
    } else {
        transform_tiles<Source<true, Pooling::maximum>>(job, first, tiles, V);
    }
}

// ---- 2. weights ---------------------------------------------------------------------------------

constexpr int kTaps = 9;
constexpr int kPair = kLanes * kTaps * kLanes;  // weights of 16 input and 16 output channels

// The weights from input block `in` to output block `out` as (16 in, 9, 16 out): as they lie in
// memory, or for the way back transposed and with reversed taps.
inline const float* pair_weights(const Conv3x3Job& job, int in, int out, float* turned) {
    if (!job.transposed) {
        return job.weights + (static_cast<size_t>(out) * job.blocks_in + in) * kPair;
    }
    const float* from = job.weights + (static_cast<size_t>(in) * job.blocks_out + out) * kPair;
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

// Row `row` of G w G^T, for sixteen input and sixteen output channels.
inline void transform_pair(const float* w, int row, float* u, size_t position) {
    const Lanes g0 = broadcast(kG[row][0]), g1 = broadcast(kG[row][1]), g2 = broadcast(kG[row][2]);
    for (int c = 0; c < kLanes; ++c, w += kTaps * kLanes, u += kBlocks * kLanes) {
        Lanes columns[3], v[kIn];
        PYNST_UNROLL
        for (int x = 0; x < 3; ++x) {
            const Lanes upper = g0 * load(w + x * kLanes);
            columns[x] =
                fma(g2, load(w + (6 + x) * kLanes), fma(g1, load(w + (3 + x) * kLanes), upper));
        }
        transform_weights(columns, v);
        PYNST_UNROLL
        for (int i = 0; i < kIn; ++i) {
            store(u + i * position, v[i]);
        }
    }
}

// U of output blocks [kBlocks * task, + kBlocks): (positions, channels in, kBlocks, 16). A row of
// positions at a time, so that only six streams of memory are written; the weights stay in the
// first-level cache.
void conv3x3_weights(const Conv3x3Job& job, int task) {
    const size_t block = static_cast<size_t>(kLanes) * kBlocks * kLanes,
                 position = job.blocks_in * block;
    float* const U = job.U + task * kPositions * position;
    float zeros[kPair] = {}, turned[kBlocks][kPair];
    for (int in = 0; in < job.blocks_in; ++in) {
        const float* pairs[kBlocks];
        for (int b = 0; b < kBlocks; ++b) {
            const int out = task * kBlocks + b;  // zeros fill up an odd number of blocks
            pairs[b] = out < job.blocks_out ? pair_weights(job, in, out, turned[b]) : zeros;
        }
        for (int row = 0; row < kIn; ++row) {
            for (int b = 0; b < kBlocks; ++b) {
                transform_pair(
                    pairs[b], row, U + row * kIn * position + in * block + b * kLanes, position);
            }
        }
    }
}

// ---- 3. product: M = V U ------------------------------------------------------------------------

// M: (positions, panel_blocks, job.tiles, 16), positions job.M apart, for the output blocks
// [first, first + panel_blocks). While a group of tiles meets the weights of one position, its
// share of those of the next position is fetched to the second-level cache.
void multiply_panel(const Conv3x3Job& job, int tiles, int first, const float* V, float* M) {
    const int groups = ceil_div(tiles, job.group);
    const size_t line = static_cast<size_t>(job.group) * kLanes, v_panel = job.blocks_in * line;
    const size_t u_panel = static_cast<size_t>(job.blocks_in) * kLanes * kBlocks * kLanes;
    const size_t m_block = static_cast<size_t>(job.tiles) * kLanes;
    const int end = min(first + job.panel_blocks, job.blocks_out);
    for (int position = 0; position < kPositions; ++position) {
        for (int g = 0; g < groups; ++g) {
            const float* v = V + position * job.V + g * v_panel;
            const int rows = min(job.group, tiles - g * job.group);
            for (int block = first; block < end; block += kBlocks) {
                const size_t u_index = static_cast<size_t>(block / kBlocks) * kPositions + position;
                const float* u = job.U + u_index * u_panel;
                float* m = M + position * job.M + (block - first) * m_block + g * line;
                multiply<kTiles, kBlocks, false>(rows,
                                                 v,
                                                 line,
                                                 u,
                                                 job.blocks_in,
                                                 m,
                                                 m_block,
                                                 u + u_panel + g * (u_panel / groups),
                                                 kBlocks * kLanes / groups);
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

// Output blocks [first, first + blocks) of tiles [first_tile, first_tile + tiles).
template <bool kRelu, bool kPool>
void transform_back(
    const Conv3x3Job& job, int first, int blocks, int first_tile, int tiles, const float* M) {
    for (int block = first; block < first + blocks; ++block) {
        const Lanes bias = kRelu ? load(job.bias + block * kLanes) : zero();
        TileWalk tile(job, first_tile);
        for (int t = 0; t < tiles; ++t, tile.next()) {
            const float* m = M + (static_cast<size_t>(block - first) * job.tiles + t) * kLanes;
            Lanes y[kOut][kOut];
            transform_tile_back<kRelu>(m, job.M, bias, y);
            const int top = tile.row * kOut, left = tile.column * kOut;
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

void conv3x3(const Conv3x3Job& job, int task, float* scratch) {
    const int tile = task / job.parts * job.tiles, part = task % job.parts;
    const int all = ceil_div(job.H, kOut) * ceil_div(job.W, kOut);
    const int tiles = min(job.tiles, all - tile);
    float *V = scratch, *M = V + kPositions * job.V;

    transform_tiles(job, tile, tiles, V);
    const int begin = job.panels * part / job.parts, end = job.panels * (part + 1) / job.parts;
    for (int panel = begin; panel < end; ++panel) {
        const int first = panel * job.panel_blocks;
        const int blocks = min(job.panel_blocks, job.blocks_out - first);
        multiply_panel(job, tiles, first, V, M);
        if (job.bias == nullptr) {
            transform_back<false, false>(job, first, blocks, tile, tiles, M);
        } else if (job.pool == Pooling::none) {
            transform_back<true, false>(job, first, blocks, tile, tiles, M);
        } else {
            transform_back<true, true>(job, first, blocks, tile, tiles, M);
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
