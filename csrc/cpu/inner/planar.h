// planar.h: convolutions that read an image of three planes: image_conv3x3_relu (size 3) and
// filter7x7 (size 7); planar_backward.h has their gradients. A task is a strip of rows.
//
// Filters lie in groups of 16 lanes. `planes` tells which planes a group reads at all, so that
// filters that read one plane do not cost as much as filters that read three.

namespace pynst {
namespace PYNST_ISA {

constexpr int kPlanes = 3, kAllPlanes = 7;

inline int planes_of(const PlanarJob& job, int group) {
    return job.planes == nullptr ? kAllPlanes : job.planes[group];
}

// The index, among n pixels of a line, of the pixel that stands at place i of the padded line; -1
// where a zero stands there.
inline int padded_index(int i, int n, Padding padding) {
    if (i >= 0 && i < n) {
        return i;
    }
    if (padding == Padding::zero) {
        return -1;
    }
    if (padding == Padding::replicate) {
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
            const int y = padded_index(first + r, job.H, job.padding);
            const float* from =
                job.image + (static_cast<size_t>(plane) * job.H + (y < 0 ? 0 : y)) * job.W;
            for (int i = 0; i < line; ++i) {
                const int x = padded_index(i - radius, job.W, job.padding);
                lines[i] = y < 0 || x < 0 ? 0.0f : from[x];
            }
        }
    }
}

// to[t][b] = the filters of group b at pixel t. The sums are kept in registers and copied to `to`
// at the end, because in `to` itself the compiler would store them in every turn of the loop.
// lines: (3, rows, line), at the first row and pixel.
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

// Rectifies and stores the features of one block, from one pixel on.
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

// Size 3: a group of filters is a channel block. Adds the bias, rectifies and stores.
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

// Size 7: each filter makes two channels, z and -z, both rectified, so that a group makes two
// channel blocks.
template <int T, int B>
inline void finish_filter(const PlanarJob& job, int group, size_t pixel, Lanes (*sums)[B]) {
    for (int b = 0; b < B; ++b) {
        const int block = 2 * (group + b);
        const Rectified first(job, block, pixel);
        const Rectified second(job, min(block + 1, job.blocks - 1), pixel);
        for (int t = 0; t < T; ++t) {
            const Lanes z = sums[t][b], minus = zero() - z;
            first.store(t, zip_low(z, minus));
            if (block + 1 < job.blocks) {
                second.store(t, zip_high(z, minus));
            }
        }
    }
}

// Computes `count` pixels, 1 <= count <= T, of B groups of filters.
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
        for (int b = 0; b < B && kSize == 3 && !job.past_caches; ++b) {  // claims the next pixels
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
    constexpr int radius = kSize / 2, T = kSize == 3 ? kImagePixels : kRegisterRows;
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

}  // namespace PYNST_ISA
}  // namespace pynst
