// planar_backward.h: the gradients of planar.h's convolutions with respect to the image.

namespace pynst {
namespace PYNST_ISA {

static_assert(kGradientPixels <= kLanes, "planar_scratch (partition.h) has room for kLanes pixels");

// The gradient behind the ReLU along a row of one channel block, from pixel `first` on.
struct GatedRow {
    const float* dy;
    const uint16_t* bits;

    GatedRow(const PlanarJob& job, int block, size_t first) {
        const size_t at = static_cast<size_t>(block) * job.H * job.W + first;
        dy = job.dy + at * kLanes;
        bits = job.dy_bits + at;
    }
    Lanes operator()(int x) const {
        return where(bits[x], load(dy + x * kLanes));
    }
};

// Writes `pixels` such gradients of a group of filters. Size 7: a filter receives the gradients of
// its two rectified halves, with opposite signs.
template <int kSize>
inline void gate_row(const PlanarJob& job, int group, size_t first, int pixels, float* to) {
    if constexpr (kSize == 3) {
        const GatedRow gated(job, group, first);
        for (int x = 0; x < pixels; ++x) {
            store(to + x * kLanes, gated(x));
        }
    } else {
        const GatedRow positive(job, 2 * group, first);
        const bool both = 2 * group + 1 < job.blocks;
        const GatedRow negative(job, both ? 2 * group + 1 : 2 * group, first);
        for (int x = 0; x < pixels; ++x) {
            const Lanes one = positive(x), other = both ? negative(x) : zero();
            store(to + x * kLanes, even(one, other) - odd(one, other));
        }
    }
}

// The last kSize rows of the gated gradient, (groups, line, 16) each, in a ring.
template <int kSize>
struct GatedRows {
    static constexpr int radius = kSize / 2;
    static constexpr int kNone = -1000;

    const PlanarJob& job;
    int groups, line;
    float* memory;
    int held[kSize];

    GatedRows(const PlanarJob& j, float* m)
        : job(j),
          groups(kSize == 3 ? j.blocks : ceil_div(j.blocks, 2)),
          line(j.W + 4 * radius + kGradientPixels),
          memory(m) {
        for (int& row : held) {
            row = kNone;
        }
    }

    size_t row_floats() const {
        return static_cast<size_t>(groups) * line * kLanes;
    }

    // Row y, which is zero where it lies outside the image. Two radii of zeros stand left of its
    // first pixel.
    const float* row(int y) {
        const int slot = (y + kSize * radius) % kSize;
        float* to = memory + slot * row_floats();
        if (held[slot] != y) {
            held[slot] = y;
            fill(y, to);
        }
        return to;
    }

    void fill(int y, float* to) const {
        const bool inside = y >= 0 && y < job.H;
        const int begin = 2 * radius, end = inside ? begin + job.W : begin;
        for (int group = 0; group < groups; ++group, to += line * kLanes) {
            for (int i = 0; i < begin; ++i) {
                store(to + i * kLanes, zero());
            }
            if (inside) {
                const size_t first = static_cast<size_t>(y) * job.W;
                gate_row<kSize>(job, group, first, job.W, to + begin * kLanes);
            }
            for (int i = end; i < line; ++i) {
                store(to + i * kLanes, zero());
            }
        }
    }

    // Fetches kGradientPixels gradients of a group in row y to the second-level cache.
    void prefetch(int group, int y, int x) const {
        if (kSize == 3 && y < job.H) {
            const size_t at = (static_cast<size_t>(group) * job.H + y) * job.W + x;
            PYNST_UNROLL
            for (int t = 0; t < kGradientPixels; ++t) {
                __builtin_prefetch(job.dy + (at + t) * kLanes, 0, 2);
            }
        }
    }
};

// sums[p][t] += w^T d for kGradientPixels pixels t of P planes, from `plane` on. `rows[ky]` is the
// gated row that tap ky meets, at the group and the first pixel; there tap kx meets pixel t + 2
// radius - kx.
template <int kSize, int P>
inline void correlate_backward(const float* const* rows,
                               size_t offset,
                               const float* weights,
                               int plane,
                               Lanes (*sums)[kGradientPixels]) {
    constexpr int taps = kSize * kSize;
    for (int ky = 0; ky < kSize; ++ky) {
        for (int kx = 0; kx < kSize; ++kx) {
            const float* w = weights + (plane * taps + ky * kSize + kx) * kLanes;
            const float* d = rows[ky] + offset + (kSize - 1 - kx) * kLanes;
            Lanes u[P];
            PYNST_UNROLL
            for (int p = 0; p < P; ++p) {
                u[p] = load(w + p * taps * kLanes);
            }
            PYNST_UNROLL
            for (int t = 0; t < kGradientPixels; ++t) {
                const Lanes x = load(d + t * kLanes);
                PYNST_UNROLL
                for (int p = 0; p < P; ++p) {
                    sums[p][t] = fma(x, u[p], sums[p][t]);
                }
            }
        }
    }
}

// Adds the gradient of row q of the padded image to `buffer` (3, W + 2 radius + kGradientPixels).
template <int kSize>
inline void padded_row(
    const PlanarJob& job, GatedRows<kSize>& gated_rows, int q, int width, float* buffer) {
    constexpr int radius = kSize / 2;
    constexpr size_t group_stride = static_cast<size_t>(kPlanes) * kSize * kSize * kLanes;
    const float* rows[kSize];
    for (int ky = 0; ky < kSize; ++ky) {
        rows[ky] = gated_rows.row(q + radius - ky);
    }
    for (int x = 0; x < job.W + 2 * radius; x += kGradientPixels) {
        Lanes totals[kPlanes][kGradientPixels];
        PYNST_UNROLL
        for (int p = 0; p < kPlanes; ++p) {
            PYNST_UNROLL
            for (int t = 0; t < kGradientPixels; ++t) {
                totals[p][t] = zero();
            }
        }
        for (int group = 0; group < gated_rows.groups; ++group) {
            const int planes = planes_of(job, group);
            const float* weights = job.weights + group * group_stride;
            const size_t offset = (static_cast<size_t>(group) * gated_rows.line + x) * kLanes;
            gated_rows.prefetch(group, q + radius + 1, x);
            if (planes == kAllPlanes) {
                correlate_backward<kSize, kPlanes>(rows, offset, weights, 0, totals);
                continue;
            }
            PYNST_UNROLL
            for (int plane = 0; plane < kPlanes; ++plane) {
                if (planes >> plane & 1) {
                    correlate_backward<kSize, 1>(rows, offset, weights, plane, totals + plane);
                }
            }
        }
        for (int p = 0; p < kPlanes; ++p) {
            float of_pixels[kLanes];
            store(of_pixels, sums<kGradientPixels>(totals[p]));
            for (int t = 0; t < kGradientPixels; ++t) {
                buffer[p * width + x + t] += of_pixels[t];
            }
        }
    }
}

// Adds the gradients of the padding of a line to the pixels that the padding was copied from.
inline void fold_line(const PlanarJob& job, int radius, const float* buffer, float* dx, bool add) {
    for (int x = 0; x < job.W; ++x) {
        dx[x] = (add ? dx[x] : 0.0f) + buffer[x + radius];
    }
    for (int p = 1; p <= radius && job.padding != Padding::zero; ++p) {
        dx[padded_index(-p, job.W, job.padding)] += buffer[radius - p];
        dx[padded_index(job.W - 1 + p, job.W, job.padding)] += buffer[radius + job.W - 1 + p];
    }
}

template <int kSize>
void planar_backward(const PlanarJob& job, int task, float* scratch) {
    constexpr int radius = kSize / 2;
    const int width = job.W + 2 * radius + kGradientPixels;
    float* buffer = scratch;
    GatedRows<kSize> gated_rows(job, scratch + (kPlanes * width + kLanes - 1) / kLanes * kLanes);
    for (int y = task * job.strip; y < min((task + 1) * job.strip, job.H); ++y) {
        for (int i = 0; i < kPlanes * width; ++i) {
            buffer[i] = 0.0f;
        }
        for (int q = -radius; q < 0; ++q) {  // rows of padding above that are copies of row y
            if (padded_index(q, job.H, job.padding) == y) {
                padded_row<kSize>(job, gated_rows, q, width, buffer);
            }
        }
        padded_row<kSize>(job, gated_rows, y, width, buffer);
        for (int q = job.H; q < job.H + radius; ++q) {  // and those below
            if (padded_index(q, job.H, job.padding) == y) {
                padded_row<kSize>(job, gated_rows, q, width, buffer);
            }
        }
        for (int p = 0; p < kPlanes; ++p) {
            float* dx = job.dx + (static_cast<size_t>(p) * job.H + y) * job.W;
            fold_line(job, radius, buffer + p * width, dx, kSize == 7);
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
