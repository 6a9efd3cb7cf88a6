// conv3x3_input.h: V = B^T d B, from the pixels of one channel block under each tile.

namespace pynst {
namespace PYNST_ISA {

// Gives the pixel (y, x) of channel block `block`: a feature, or the gradient that comes back
// through ReLU and pooling.
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
    // Fetches pixels to the first-level cache: those that the tile which lies kAhead tiles to the
    // right of the one at (top, left) shares neither with its neighbour nor with the tile above.
    template <class Tile>
    void prefetch(int top, int left) const {
        constexpr int kAhead = 3, kStep = kSource == Pooling::none ? 1 : 2;
        for (int c = 0; c < Tile::kOut; c += kStep) {
            for (int r = 2; r < Tile::kIn; r += kStep) {
                const int y = top + r, x = left + kAhead * Tile::kOut + 2 + c;
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

// B^T d B of one tile; `at(r, c)` gives the pixel in its row r and column c. kShared: other threads
// read v. Then its cache lines are not claimed, since that would ask those threads' caches.
template <class Tile, bool kShared, class At>
inline void transform_tile(At at, float* v, size_t position) {
    constexpr int kIn = Tile::kIn;
    if (!kShared) {
        claim<kIn>(v, position);
    }
    PYNST_UNROLL
    for (int i = 0; i < kVecs; ++i, v += kLanes / kVecs) {
        // The transform goes column by column. So each row of pixels is read cache line after cache
        // line, as the processor's own prefetching expects it.
        Vec columns[kIn][kIn];
        PYNST_UNROLL
        for (int c = 0; c < kIn; ++c) {
            Vec d[kIn];
            PYNST_UNROLL
            for (int r = 0; r < kIn; ++r) {
                d[r] = vec(at(r, c), i);
            }
            Tile::transform_input(d, columns[c]);
        }
        PYNST_UNROLL
        for (int r = 0; r < kIn; ++r) {
            if (!kShared && i == 0 &&
                r + 1 < kIn) {  // all lines at once would fill the queue of misses
                claim<kIn>(v + (r + 1) * kIn * position, position);
            }
            Vec d[kIn], row[kIn];
            PYNST_UNROLL
            for (int c = 0; c < kIn; ++c) {
                d[c] = columns[c][r];
            }
            Tile::transform_input(d, row);
            PYNST_UNROLL
            for (int c = 0; c < kIn; ++c) {
                store(v + (r * kIn + c) * position, row[c]);
            }
        }
    }
}

// Walks over the tiles of an image, row by row.
template <class Tile>
struct TileWalk {
    int across, row, column;

    TileWalk(const Conv3x3Job& job, int first)
        : across(ceil_div(job.W, Tile::kOut)), row(first / across), column(first % across) {}
    void next() {
        if (++column == across) {
            column = 0;
            ++row;
        }
    }
};

// Transforms a tile at (top, left) that reaches over the border; outside there are zeros.
template <class Tile, bool kShared, class Load>
inline void transform_border_tile(
    const Load& source, int top, int left, float* v, size_t position) {
    constexpr int kIn = Tile::kIn;
    float patch[Tile::kPositions * kLanes];
    for (int r = 0; r < kIn; ++r) {
        for (int c = 0; c < kIn; ++c) {
            const int y = top + r, x = left + c;
            const bool inside = y >= 0 && x >= 0 && y < source.rows() && x < source.columns();
            store(patch + (r * kIn + c) * kLanes, inside ? source(y, x) : zero());
        }
    }
    const auto at = [&](int r, int c) { return load(patch + (r * kIn + c) * kLanes); };
    transform_tile<Tile, kShared>(at, v, position);
}

// Writes channel block `block` of V, (positions, groups, blocks_in, group, 16), positions job.V
// apart, from the tiles [first, first + tiles).
template <class Tile, bool kShared, class Load>
void transform_tiles(const Conv3x3Job& job, int block, int first, int tiles, float* V) {
    const size_t line = static_cast<size_t>(job.group) * kLanes, panel = job.blocks_in * line;
    constexpr int kIn = Tile::kIn, kOut = Tile::kOut;
    const Load source{job, block};
    TileWalk<Tile> tile(job, first);
    for (int t = 0; t < tiles; ++t, tile.next()) {
        const int top = tile.row * kOut - 1, left = tile.column * kOut - 1;
        float* v = V + t / job.group * panel + block * line + t % job.group * kLanes;
        if (top >= 0 && left >= 0 && top + kIn <= source.rows() && left + kIn <= source.columns()) {
            source.template prefetch<Tile>(top, left);
            const auto at = [&](int r, int c) { return source(top + r, left + c); };
            transform_tile<Tile, kShared>(at, v, job.V);
        } else {
            transform_border_tile<Tile, kShared>(source, top, left, v, job.V);
        }
    }
}

template <class Tile, bool kShared>
void transform_tiles(const Conv3x3Job& job, int block, int first, int tiles, float* V) {
    if (job.mask == nullptr) {
        transform_tiles<Tile, kShared, Source<false, Pooling::none>>(job, block, first, tiles, V);
    } else if (job.source == Pooling::none) {
        transform_tiles<Tile, kShared, Source<true, Pooling::none>>(job, block, first, tiles, V);
    } else if (job.source == Pooling::average) {
        transform_tiles<Tile, kShared, Source<true, Pooling::average>>(job, block, first, tiles, V);
    } else {
        transform_tiles<Tile, kShared, Source<true, Pooling::max>>(job, block, first, tiles, V);
    }
}

// The tiles of one block of tiles: the first one and their number.
template <class Tile>
struct TileRange {
    int first, count;

    TileRange(const Conv3x3Job& job, int block) : first(block * job.tiles) {
        count = min(job.tiles, ceil_div(job.H, Tile::kOut) * ceil_div(job.W, Tile::kOut) - first);
    }
};

// The task that transforms one channel block of one block of tiles, for all tasks that need it.
template <class Tile>
void input_task(const Conv3x3Job& job, int task) {
    const int tile_block = task / job.blocks_in;
    const TileRange<Tile> range(job, tile_block);
    transform_tiles<Tile, true>(job,
                                task % job.blocks_in,
                                range.first,
                                range.count,
                                job.all_tiles + tile_block * Tile::kPositions * job.V);
}

}  // namespace PYNST_ISA
}  // namespace pynst
