// reductions.h: the inner kernels of gram, style_loss, content_loss and pool2x2.

namespace pynst {
namespace PYNST_ISA {

// Whether pixels have the weight 0 and so no part in a sum: most masks are 0 over large areas.
inline bool none_counts(const float* pixel_weights, int pixels) {
    for (int p = 0; p < pixels; ++p) {
        if (pixel_weights[p] != 0.0f) {
            return false;
        }
    }
    return true;
}

// ---- gram ---------------------------------------------------------------------------------------

// sums[r][16 b + i] += sum over pixels of row channel r times channel i of column block b, for R
// rows and B blocks, which lie `apart` floats from one another. While it runs, R floats per pixel
// from `ahead` on are fetched to the first-level cache.
template <int R, int B>
inline void gram_block(const float* rows,
                       const float* columns,
                       size_t apart,
                       int pixels,
                       const float* ahead,
                       float* sums,
                       size_t stride) {
    Lanes s[R][B];
    PYNST_UNROLL
    for (int r = 0; r < R; ++r) {
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            s[r][b] = zero();
        }
    }
    for (int p = 0; p < pixels; ++p, rows += kLanes, columns += kLanes, ahead += R) {
        __builtin_prefetch(ahead, 0, 3);
        Lanes c[B];
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            c[b] = load(columns + b * apart);
        }
        PYNST_UNROLL
        for (int r = 0; r < R; ++r) {
            const Lanes x = broadcast(rows[r]);
            PYNST_UNROLL
            for (int b = 0; b < B; ++b) {
                s[r][b] = fma(x, c[b], s[r][b]);
            }
        }
    }
    PYNST_UNROLL
    for (int r = 0; r < R; ++r) {
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            float* to = sums + r * stride + b * kLanes;
            store(to, load(to) + s[r][b]);
        }
    }
}

// gram_block for a number of column blocks known only at run time, 1 <= blocks <= B.
template <int R, int B>
inline void gram_blocks(int blocks,
                        const float* rows,
                        const float* columns,
                        size_t apart,
                        int pixels,
                        const float* ahead,
                        float* sums,
                        size_t stride) {
    if (blocks == B) {
        gram_block<R, B>(rows, columns, apart, pixels, ahead, sums, stride);
    } else if constexpr (B > 1) {
        gram_blocks<R, B - 1>(blocks, rows, columns, apart, pixels, ahead, sums, stride);
    }
}

// One tile of the Gram matrix: its rows and columns, in channel blocks.
struct GramTile {
    int row, row_end, column, column_end;
};

// Channels [r, r + R) of block `row`, which lie in `rows`, times the columns of the tile from the
// diagonal on, over the run of pixels that begins at p. The columns are cut into register blocks of about equal width,
// since a narrow register block needs as many broadcasts as a wide one, for less work.
template <int R>
inline void gram_rows(const GramJob& job,
                      const GramTile& t,
                      const float* rows,
                      int row,
                      int r,
                      size_t p,
                      int pixels,
                      float* sums) {
    const size_t apart = job.M * kLanes;
    const size_t stride = static_cast<size_t>(t.column_end - t.column) * kLanes;
    const auto block = [&](int i) { return job.F + i * apart + p * kLanes; };
    rows += r;
    sums += (static_cast<size_t>(row - t.row) * kLanes + r) * stride;

    // Fetches the next run of this row block, and off the diagonal that of one column block, evenly
    // over the time that this run takes: a core keeps about a dozen cache misses under way, which
    // is less than a whole run.
    const size_t next = static_cast<size_t>(kGramRun) * (kLanes + r);
    const float* const ahead[] = {block(row) + next, block(t.column + row - t.row) + next};
    int ahead_left = t.row == t.column ? 1 : 2;
    for (int column = row > t.column ? row : t.column; column < t.column_end;) {
        const int left = t.column_end - column;
        const int blocks = ceil_div(left, ceil_div(left, kGramBlocks));
        gram_blocks<R, kGramBlocks>(blocks,
                                    rows,
                                    block(column),
                                    apart,
                                    pixels,
                                    ahead_left > 0 ? ahead[--ahead_left] : rows,
                                    sums + (column - t.column) * kLanes,
                                    stride);
        column += blocks;
    }
}

// A run of pixels of one channel block times the weights of the pixels.
inline void weigh(const float* F, const float* pixel_weights, int pixels, float* to) {
    for (int p = 0; p < pixels; ++p) {
        store(to + p * kLanes, broadcast(pixel_weights[p]) * load(F + p * kLanes));
    }
}

// sums (rows, columns) of one tile, over the pixels [begin, end); zeros below the diagonal. With
// weights, the rows are multiplied by them once for all columns.
void gram(const GramJob& job, int row, int column, size_t begin, size_t end, float* sums) {
    const GramTile tile = {
        row, min(row + job.tile, job.blocks), column, min(column + job.tile, job.blocks)};
    const size_t rows = static_cast<size_t>(tile.row_end - row) * kLanes;
    const size_t columns = static_cast<size_t>(tile.column_end - column) * kLanes;
    for (size_t i = 0; i < rows * columns; ++i) {
        sums[i] = 0.0f;
    }
    alignas(64) float weighed[kGramRun * kLanes];
    for (size_t p = begin; p < end; p += kGramRun) {
        const int pixels = p + kGramRun < end ? kGramRun : static_cast<int>(end - p);
        const float* const weights = job.pixel_weights == nullptr ? nullptr : job.pixel_weights + p;
        if (weights != nullptr && none_counts(weights, pixels)) {
            continue;
        }
        for (int i = row; i < tile.row_end; ++i) {
            const float* of_rows = job.F + (i * job.M + p) * kLanes;
            if (weights != nullptr) {
                weigh(of_rows, weights, pixels, weighed);
                of_rows = weighed;
            }
            int r = 0;
            for (; r + kGramRows <= kLanes; r += kGramRows) {
                gram_rows<kGramRows>(job, tile, of_rows, i, r, p, pixels, sums);
            }
            if constexpr (kLanes % kGramRows > 0) {
                gram_rows<kLanes % kGramRows>(job, tile, of_rows, i, r, p, pixels, sums);
            }
        }
    }
}

// ---- style_loss ---------------------------------------------------------------------------------

// Pixels of a slice, which are multiplied together, so that D is read once for all of them.
constexpr int kSlicePixels = 4 * kRows;

// With at most this many channel blocks F is multiplied in place. Packing it first costs 11 % of
// the time at 64 channels and 6 % at 128 (five style layers, AVX-512).
constexpr int kUnpacked = 8;

// Copies `pixels` pixels of F to (groups, blocks, kRows, 16). In F itself the blocks are M * 64
// bytes apart, which often is a multiple of a power of two and makes all cache lines of a group
// compete for a few places of the cache.
inline void pack_pixels(const StyleGradientJob& job, size_t begin, int pixels, float* to) {
    const size_t block_stride = job.M * kLanes;
    const size_t group = static_cast<size_t>(job.blocks) * kRows * kLanes;
    for (int block = 0; block < job.blocks; ++block, to += kRows * kLanes) {
        const float* F = job.F + block * block_stride + begin * kLanes;
        for (int p = 0; p < pixels; ++p) {
            store(to + p / kRows * group + p % kRows * kLanes, load(F + p * kLanes));
        }
    }
}

// Adds the products to dF, as they are or times the weights of their pixels.
template <Into kInto>
inline void style_gradient_slice(const StyleGradientJob& job,
                                 size_t begin,
                                 int pixels,
                                 float* scratch) {
    const size_t apart = job.M * kLanes;
    const bool packed = job.blocks > kUnpacked || pixels % kRowStep > 0;
    if (packed) {
        pack_pixels(job, begin, pixels, scratch);
    }
    const float* const v = packed ? scratch : job.F + begin * kLanes;
    const size_t v_stride = packed ? kRows * kLanes : apart;
    const size_t group = packed ? job.blocks * v_stride : kRows * kLanes;

    // Each multiplication also fetches one block of F and of dF for the next slice. A wide register
    // block spreads its prefetches evenly over its time, because a burst of them would stall it. A
    // narrow one needs only a short burst, which costs less than the instructions that spread it.
    const size_t next = kSlicePixels * kLanes;
    const int fetches = ceil_div(job.blocks, kStepBlocks) * kFetches;
    const size_t ahead_step = min(kLanes, ceil_div(kSlicePixels * kLanes, fetches));

    const size_t panel = static_cast<size_t>(ceil_div(job.blocks, kStepBlocks)) * kStepFloats;
    const auto product = [&](int i) {
        const int block = i * kBlocks;
        return Product{v,
                       job.D + i * panel,
                       min(kBlocks, job.blocks - block),
                       job.dF + block * apart + begin * kLanes};
    };
    const float* const weights = kInto == Into::weighed ? job.pixel_weights + begin : nullptr;
    const Rows rows = {pixels, kRows, group, v_stride, apart, weights};
    const int products = ceil_div(job.blocks, kBlocks);
    if constexpr (kBlocks == 1) {
        const auto ahead = [&](int block, int turn) {
            const size_t at = block * apart + (begin + turn * kRows) * kLanes + next;
            for (int t = 0; t < kRows; ++t) {
                __builtin_prefetch(job.F + at + t * kLanes, 0, 2);
                __builtin_prefetch(job.dF + at + t * kLanes, 1, 2);
            }
            return job.F;
        };
        multiply<kInto, 0>(rows, job.blocks, job.blocks, products, product, ahead, 0);
    } else {
        const auto ahead = [&](int i, int turn) {
            const int block = i * kBlocks + turn / 2 % kBlocks;
            return (turn % 2 == 0 ? job.F : job.dF) + block * apart + begin * kLanes + next;
        };
        multiply<kInto>(rows, job.blocks, job.blocks, products, product, ahead, ahead_step);
    }
}

void style_gradient(const StyleGradientJob& job, size_t begin, size_t end, float* scratch) {
    [[maybe_unused]] const MatrixUnit matrix_unit;
    for (size_t p = begin; p < end; p += kSlicePixels) {
        const int pixels = p + kSlicePixels < end ? kSlicePixels : static_cast<int>(end - p);
        if (job.pixel_weights == nullptr) {
            style_gradient_slice<Into::added>(job, p, pixels, scratch);
        } else if (!none_counts(job.pixel_weights + p, pixels)) {
            style_gradient_slice<Into::weighed>(job, p, pixels, scratch);
        }
    }
}

// ---- content_loss -------------------------------------------------------------------------------

template <bool kWeighted>
inline double content_of(const ContentJob& job, int block, size_t begin, size_t end) {
    constexpr size_t run = 64;  // pixels summed in float32
    const Lanes scale = job.scale == nullptr ? broadcast(1.0f) : load(job.scale + block * kLanes);
    const Lanes factor = broadcast(job.factor) * scale;
    double total = 0.0;
    for (size_t p = begin; p < end; p += run) {
        Lanes squares = zero();
        for (size_t q = p; q < (p + run < end ? p + run : end); ++q) {
            const size_t at = (static_cast<size_t>(block) * job.M + q) * kLanes;
            const Lanes difference = scale * (load(job.F + at) - load(job.P + at));
            Lanes weighted = difference;
            if constexpr (kWeighted) {
                weighted = broadcast(job.pixel_weights[q]) * difference;
            }
            squares = fma(weighted, difference, squares);
            store(job.dF + at, fma(factor, weighted, load(job.dF + at)));
        }
        total += sum(squares);
    }
    return total;
}

double content(const ContentJob& job, int block, size_t begin, size_t end) {
    const auto task = job.pixel_weights == nullptr ? content_of<false> : content_of<true>;
    return task(job, block, begin, end);
}

// ---- pool2x2 ------------------------------------------------------------------------------------

void pool2x2(const PoolJob& job, int block, int row) {
    const int h = job.H / 2, w = job.W / 2;
    const float* upper = job.in + (static_cast<size_t>(block) * job.H + 2 * row) * job.W * kLanes;
    const float* lower = upper + static_cast<size_t>(job.W) * kLanes;
    const size_t first = (static_cast<size_t>(block) * h + row) * w;
    for (int x = 0; x < w; ++x, upper += 2 * kLanes, lower += 2 * kLanes) {
        const Lanes a = load(upper), b = load(upper + kLanes), c = load(lower),
                    d = load(lower + kLanes);
        if (job.mode == Pooling::average) {
            store(job.out + (first + x) * kLanes, average(a, b, c, d));
            continue;
        }
        uint32_t choices;
        store(job.out + (first + x) * kLanes, maximum(a, b, c, d, &choices));
        if (job.choices_out != nullptr) {
            job.choices_out[first + x] = choices;
        }
    }
}

// Row `row` of dx: H, W are those of dx.
void pool2x2_backward(const PoolJob& job, int block, int row) {
    const int h = job.H / 2, w = job.W / 2;
    float* to = job.out + (static_cast<size_t>(block) * job.H + row) * job.W * kLanes;
    const size_t first = (static_cast<size_t>(block) * h + row / 2) * w;
    for (int x = 0; x < job.W; ++x, to += kLanes) {
        if (row / 2 >= h || x / 2 >= w) {
            store(to, zero());
            continue;
        }
        const Lanes dy = load(job.in + (first + x / 2) * kLanes);
        if (job.mode == Pooling::average) {
            store(to, broadcast(0.25f) * dy);
        } else {
            store(to, where(chosen(job.choices_in[first + x / 2], (row & 1) * 2 + (x & 1)), dy));
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
