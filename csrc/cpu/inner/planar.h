// planar.h: convolutions that read an image of three planes, and their gradients:
// image_conv3x3_relu (size 3) and filter7x7 (size 7). A task is a strip of rows.
//
// Filters lie in groups of 16 lanes; `planes` tells which planes a group reads at all, so that
// filters of one plane do not pay for three.

namespace pynst {
namespace PYNST_ISA {

constexpr int kPlanes = 3, kAllPlanes = 7;

inline int planes_of(const PlanarJob& job, int group) {
    return job.planes == nullptr ? kAllPlanes : job.planes[group];
}

// Which of n pixels stands at place i of a padded line; -1: none, a zero.
inline int border_index(int i, int n, Border border) {
    if (i >= 0 && i < n) {
        return i;
    }
    if (border == Border::zero) {
        return -1;
    }
    if (border == Border::replicate) {
        return i < 0 ? 0 : n - 1;
    }
    return i < 0 ? -1 - i : 2 * n - 1 - i;
}

// ---- forward ------------------------------------------------------------------------------------

// Copies rows [first, first + rows) of the image, padded by `radius`, to lines
// (3, rows, W + 2 radius).
inline void pad_rows(const PlanarJob& job, int radius, int first, int rows, float* lines) {
    const int line = job.W + 2 * radius;
    for (int plane = 0; plane < kPlanes; ++plane) {
        for (int r = 0; r < rows; ++r, lines += line) {
            const int y = border_index(first + r, job.H, job.border);
            const float* from =
                job.image + (static_cast<size_t>(plane) * job.H + (y < 0 ? 0 : y)) * job.W;
            for (int i = 0; i < line; ++i) {
                const int x = border_index(i - radius, job.W, job.border);
                lines[i] = y < 0 || x < 0 ? 0.0f : from[x];
            }
        }
    }
}

// to[t][b] = filters of group b at pixel t, summed in registers and not where the caller may find
// them. lines: (3, rows, line), at the first row and pixel.
template <int kSize, int T, int B>
inline void correlate(const float* lines,
                      size_t plane_stride,
                      int line,
                      int planes,
                      const float* weights,
                      Lanes (*to)[B]) {
    constexpr size_t group_stride = static_cast<size_t>(kPlanes) * kSize * kSize * kLanes;
    Lanes sums[T][B];
    PYNST_UNROLL
    for (int t = 0; t < T; ++t) {
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            sums[t][b] = zero();
        }
    }
    for (int plane = 0; plane < kPlanes; ++plane, lines += plane_stride) {
        if ((planes >> plane & 1) == 0) {
            continue;
        }
        const float* w = weights + static_cast<size_t>(plane) * kSize * kSize * kLanes;
        for (int ky = 0; ky < kSize; ++ky) {
            for (int kx = 0; kx < kSize; ++kx, w += kLanes) {
                Lanes u[B];
                PYNST_UNROLL
                for (int b = 0; b < B; ++b) {
                    u[b] = load(w + b * group_stride);
                }
                const float* p = lines + static_cast<size_t>(ky) * line + kx;
                PYNST_UNROLL
                for (int t = 0; t < T; ++t) {
                    const Lanes x = broadcast(p[t]);
                    PYNST_UNROLL
                    for (int b = 0; b < B; ++b) {
                        sums[t][b] = fma(x, u[b], sums[t][b]);
                    }
                }
            }
        }
    }
    PYNST_UNROLL
    for (int t = 0; t < T; ++t) {
        PYNST_UNROLL
        for (int b = 0; b < B; ++b) {
            to[t][b] = sums[t][b];
        }
    }
}

// Where the features of one block from one pixel on go.
struct Rectified {
    const PlanarJob& job;
    float* features;
    uint16_t* bits;

    Rectified(const PlanarJob& planar, int block, size_t pixel) : job(planar) {
        const size_t at = static_cast<size_t>(block) * job.H * job.W + pixel;
        features = job.features + at * kLanes;
        bits = job.features_bits == nullptr ? nullptr : job.features_bits + at;
    }
    void store(int t, Lanes value) const {
        const Lanes y = relu(value);
        put(job, features + t * kLanes, y);
        if (bits != nullptr) {
            bits[t] = greater(y, zero());
        }
    }
};

// Size 3: a group of filters is a channel block; add the bias, rectify.
template <int T, int B>
inline void finish_image_conv(const PlanarJob& job, int group, size_t pixel, Lanes (*sums)[B]) {
    PYNST_UNROLL
    for (int b = 0; b < B; ++b) {
        const Lanes bias = load(job.bias + (group + b) * kLanes);
        const Rectified to(job, group + b, pixel);
        PYNST_UNROLL
        for (int t = 0; t < T; ++t) {
            to.store(t, sums[t][b] + bias);
        }
    }
}

// Size 7: each filter makes two channels, z and -z rectified; a group makes two channel blocks.
template <int T, int B>
inline void finish_filter(const PlanarJob& job, int group, size_t pixel, Lanes (*sums)[B]) {
    for (int b = 0; b < B; ++b) {
        const int block = 2 * (group + b);
        const Rectified first(job, block, pixel), second(job, block + 1, pixel);
        for (int t = 0; t < T; ++t) {
            const Lanes z = sums[t][b], minus = zero() - z;
            first.store(t, zip_low(z, minus));
            if (block + 1 < job.blocks) {
                second.store(t, zip_high(z, minus));
            }
        }
    }
}

// `count` pixels, 1 <= count <= T, of B groups.
template <int kSize, int T, int B>
inline void planar_pixels(const PlanarJob& job,
                          int count,
                          const float* lines,
                          size_t plane_stride,
                          int line,
                          int group,
                          size_t pixel) {
    if (count == T) {
        constexpr size_t group_stride = static_cast<size_t>(kPlanes) * kSize * kSize * kLanes;
        int planes = 0;
        for (int b = 0; b < B; ++b) {
            planes |= planes_of(job, group + b);
        }
        for (int b = 0; b < B && kSize == 3 && !job.past_caches; ++b) {  // for the next pixels
            const size_t at = (static_cast<size_t>(group + b) * job.H * job.W + pixel + T) * kLanes;
            for (int t = 0; t < T; ++t) {
                __builtin_prefetch(job.features + at + t * kLanes, 1, 3);
            }
        }
        Lanes sums[T][B];
        correlate<kSize, T, B>(
            lines, plane_stride, line, planes, job.weights + group * group_stride, sums);
        if constexpr (kSize == 3) {
            finish_image_conv<T, B>(job, group, pixel, sums);
        } else {
            finish_filter<T, B>(job, group, pixel, sums);
        }
    } else if constexpr (T > 1) {
        planar_pixels<kSize, T - 1, B>(job, count, lines, plane_stride, line, group, pixel);
    }
}

template <int kSize>
void planar_forward(const PlanarJob& job, int task, float* scratch) {
    constexpr int radius = kSize / 2, T = kSize == 3 ? kImagePixels : kTiles;
    const int begin = task * job.strip, end = min(begin + job.strip, job.H);
    const int rows = end - begin + 2 * radius, line = job.W + 2 * radius;
    const int groups = kSize == 3 ? job.blocks : ceil_div(job.blocks, 2);
    const size_t plane_stride = static_cast<size_t>(rows) * line;
    pad_rows(job, radius, begin - radius, rows, scratch);
    for (int y = begin; y < end; ++y) {
        for (int group = 0; group < groups; group += kBlocks) {
            for (int x = 0; x < job.W; x += T) {
                const float* lines = scratch + static_cast<size_t>(y - begin) * line + x;
                const size_t pixel = static_cast<size_t>(y) * job.W + x;
                const int count = min(T, job.W - x);
                if (groups - group >= kBlocks) {
                    planar_pixels<kSize, T, kBlocks>(
                        job, count, lines, plane_stride, line, group, pixel);
                } else {
                    planar_pixels<kSize, T, 1>(job, count, lines, plane_stride, line, group, pixel);
                }
            }
        }
    }
    if (job.past_caches) {
        end_stream();
    }
}

// ---- backward -----------------------------------------------------------------------------------

// The gradient behind the ReLU at one pixel of a group. Size 7: a filter receives the gradients of
// its two rectified halves, with opposite signs.
inline Lanes gated(const PlanarJob& job, int block, size_t pixel) {
    const size_t at = static_cast<size_t>(block) * job.H * job.W + pixel;
    return where(job.dy_bits[at], load(job.dy + at * kLanes));
}

template <int kSize>
inline Lanes gated_group(const PlanarJob& job, int group, size_t pixel) {
    if constexpr (kSize == 3) {
        return gated(job, group, pixel);
    } else {
        const Lanes first = gated(job, 2 * group, pixel);
        const Lanes second = 2 * group + 1 < job.blocks ? gated(job, 2 * group + 1, pixel) : zero();
        return even(first, second) - odd(first, second);
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
          line(j.W + 4 * radius + kPixels),
          memory(m) {
        for (int& row : held) {
            row = kNone;
        }
    }

    size_t row_floats() const {
        return static_cast<size_t>(groups) * line * kLanes;
    }

    // Row y, which may be outside (then it is zero); two radii of zeros stand left of its first
    // pixel.
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
            const size_t pixel = static_cast<size_t>(y) * job.W;
            for (int i = begin; i < end; ++i) {
                store(to + i * kLanes, gated_group<kSize>(job, group, pixel + i - begin));
            }
            for (int i = end; i < line; ++i) {
                store(to + i * kLanes, zero());
            }
        }
    }

    // Fetches kPixels gradients of a group in row y, to the second-level cache.
    void prefetch(int group, int y, int x) const {
        if (kSize == 3 && y < job.H) {
            const size_t at = (static_cast<size_t>(group) * job.H + y) * job.W + x;
            PYNST_UNROLL
            for (int t = 0; t < kPixels; ++t) {
                __builtin_prefetch(job.dy + (at + t) * kLanes, 0, 2);
            }
        }
    }
};

// sums[p][t] += w^T d for kPixels pixels t of P planes from `plane` on; `rows[ky]` is the gated row
// that tap ky meets, at the group and the first pixel, where tap kx meets pixel t + 2 radius - kx.
template <int kSize, int P>
inline void correlate_backward(const float* const* rows,
                               size_t offset,
                               const float* weights,
                               int plane,
                               Lanes (*sums)[kPixels]) {
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
            for (int t = 0; t < kPixels; ++t) {
                const Lanes x = load(d + t * kLanes);
                PYNST_UNROLL
                for (int p = 0; p < P; ++p) {
                    sums[p][t] = fma(x, u[p], sums[p][t]);
                }
            }
        }
    }
}

// Adds the gradient of row q of the *padded* image to `buffer` (3, W + 2 radius + kPixels).
template <int kSize>
inline void padded_row(
    const PlanarJob& job, GatedRows<kSize>& gated_rows, int q, int width, float* buffer) {
    constexpr int radius = kSize / 2;
    constexpr size_t group_stride = static_cast<size_t>(kPlanes) * kSize * kSize * kLanes;
    const float* rows[kSize];
    for (int ky = 0; ky < kSize; ++ky) {
        rows[ky] = gated_rows.row(q + radius - ky);
    }
    for (int x = 0; x < job.W + 2 * radius; x += kPixels) {
        Lanes totals[kPlanes][kPixels];
        PYNST_UNROLL
        for (int p = 0; p < kPlanes; ++p) {
            PYNST_UNROLL
            for (int t = 0; t < kPixels; ++t) {
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
            store(of_pixels, sums<kPixels>(totals[p]));
            for (int t = 0; t < kPixels; ++t) {
                buffer[p * width + x + t] += of_pixels[t];
            }
        }
    }
}

// Folds the padding of a line of gradients back to the pixels it was copied from.
inline void fold_line(const PlanarJob& job, int radius, const float* buffer, float* dx, bool add) {
    for (int x = 0; x < job.W; ++x) {
        dx[x] = (add ? dx[x] : 0.0f) + buffer[x + radius];
    }
    for (int p = 1; p <= radius && job.border != Border::zero; ++p) {
        dx[border_index(-p, job.W, job.border)] += buffer[radius - p];
        dx[border_index(job.W - 1 + p, job.W, job.border)] += buffer[radius + job.W - 1 + p];
    }
}

template <int kSize>
void planar_backward(const PlanarJob& job, int task, float* scratch) {
    constexpr int radius = kSize / 2;
    const int width = job.W + 2 * radius + kPixels;
    float* buffer = scratch;
    GatedRows<kSize> gated_rows(job, scratch + (kPlanes * width + kLanes - 1) / kLanes * kLanes);
    for (int y = task * job.strip; y < min((task + 1) * job.strip, job.H); ++y) {
        for (int i = 0; i < kPlanes * width; ++i) {
            buffer[i] = 0.0f;
        }
        for (int q = -radius; q < 0; ++q) {  // padding above that row y was copied to
            if (border_index(q, job.H, job.border) == y) {
                padded_row<kSize>(job, gated_rows, q, width, buffer);
            }
        }
        padded_row<kSize>(job, gated_rows, y, width, buffer);
        for (int q = job.H; q < job.H + radius; ++q) {  // and below
            if (border_index(q, job.H, job.border) == y) {
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
