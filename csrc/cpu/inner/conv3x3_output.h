// conv3x3_output.h: y = A^T M A of a tile, then bias, ReLU, pooling and the store.

namespace pynst {
namespace PYNST_ISA {

// Stores the outputs of a tile at (top, left), as far as they lie inside the image, unpooled.
template <class Tile>
inline void store_tile(
    const Conv3x3Job& job, int block, int top, int left, const Lanes (*y)[Tile::kOut]) {
    constexpr int kOut = Tile::kOut;
    const int rows = min(kOut, job.H - top), columns = min(kOut, job.W - left);
    float* to = job.y + ((static_cast<size_t>(block) * job.H + top) * job.W + left) * kLanes;
    PYNST_UNROLL
    for (int r = 0; r < kOut; ++r) {
        PYNST_UNROLL
        for (int c = 0; c < kOut; ++c) {
            if (r < rows && c < columns) {
                put(job, to + (static_cast<size_t>(r) * job.W + c) * kLanes, y[r][c]);
            }
        }
    }
}

// Stores one bit for each ReLU of a tile.
template <class Tile>
inline void store_bits(
    const Conv3x3Job& job, int block, int top, int left, const Lanes (*y)[Tile::kOut]) {
    constexpr int kOut = Tile::kOut;
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
template <class Tile>
inline void store_pooled(
    const Conv3x3Job& job, int block, int top, int left, const Lanes (*y)[Tile::kOut]) {
    constexpr int kOut = Tile::kOut;
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
                put(job, job.y + pixel * kLanes, average(above[0], above[1], below[0], below[1]));
                continue;
            }
            uint32_t choices;
            put(job,
                job.y + pixel * kLanes,
                maximum(above[0], above[1], below[0], below[1], &choices));
            if (job.pool_choices != nullptr) {
                job.pool_choices[pixel] = choices;
            }
        }
    }
}

// A^T m A of one tile, with bias and ReLU where there is a bias.
template <class Tile, bool kRelu>
inline void transform_tile_back(const float* m,
                                size_t position,
                                Lanes bias,
                                Lanes (*y)[Tile::kOut]) {
    constexpr int kIn = Tile::kIn, kOut = Tile::kOut;
    PYNST_UNROLL
    for (int i = 0; i < kVecs; ++i) {
        Vec columns[kIn][kOut];
        PYNST_UNROLL
        for (int c = 0; c < kIn; ++c) {
            Vec column[kIn];
            PYNST_UNROLL
            for (int r = 0; r < kIn; ++r) {
                column[r] = vec(load(m + (r * kIn + c) * position), i);
            }
            Tile::transform_output(column, columns[c]);
        }
        PYNST_UNROLL
        for (int r = 0; r < kOut; ++r) {
            Vec line[kIn], out[kOut];
            PYNST_UNROLL
            for (int c = 0; c < kIn; ++c) {
                line[c] = columns[c][r];
            }
            Tile::transform_output(line, out);
            PYNST_UNROLL
            for (int c = 0; c < kOut; ++c) {
                set_vec(y[r][c], i, kRelu ? relu(out[c] + vec(bias, i)) : out[c]);
            }
        }
    }
}

// Fetches the cache lines to which the outputs of a tile at (top, left) will be written.
template <class Tile, bool kPool>
inline void claim_outputs(const Conv3x3Job& job, int block, int top, int left) {
    constexpr int kOut = Tile::kOut, kStep = kPool ? 2 : 1;
    const int h = job.H / kStep, w = job.W / kStep;
    const float* to =
        job.y + ((static_cast<size_t>(block) * h + top / kStep) * w + left / kStep) * kLanes;
    for (int r = 0; r < kOut / kStep; ++r, to += static_cast<size_t>(w) * kLanes) {
        for (int c = 0; c < kOut / kStep; ++c) {
            __builtin_prefetch(to + c * kLanes, 1, 3);
        }
    }
}

// Transforms back the output blocks [first, first + blocks) of the tiles [first_tile, first_tile +
// tiles), and stores the results.
template <class Tile, bool kRelu, bool kPool>
void transform_back(
    const Conv3x3Job& job, int first, int blocks, int first_tile, int tiles, const float* M) {
    constexpr int kOut = Tile::kOut;
    for (int block = first; block < first + blocks; ++block) {
        const Lanes bias = kRelu ? load(job.bias + block * kLanes) : zero();
        TileWalk<Tile> tile(job, first_tile);
        for (int t = 0; t < tiles; ++t, tile.next()) {
            const float* m = M + (static_cast<size_t>(block - first) * job.rows + t) * kLanes;
            const int top = tile.row * kOut, left = tile.column * kOut;
            if (!job.past_caches) {
                claim_outputs<Tile, kPool>(job, block, top, left + kOut);
            }
            Lanes y[kOut][kOut];
            transform_tile_back<Tile, kRelu>(m, job.M, bias, y);
            if (kRelu && job.bits != nullptr) {
                store_bits<Tile>(job, block, top, left, y);
            }
            if (kPool) {
                store_pooled<Tile>(job, block, top, left, y);
            } else {
                store_tile<Tile>(job, block, top, left, y);
            }
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
