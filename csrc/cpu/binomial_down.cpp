// binomial_down.cpp: half the size of an image by a binomial filter, and the transpose.
//
//   y = ([1 3 3 1] / 8 along both axes) * x at every second pixel
//   dx = transpose of that, of dy, + keep x
//
//   in      x (planes, H, W, lanes); backward: dy (planes, h, w, lanes), h = ceil(H / 2),
//           w = ceil(W / 2), keep, x (planes, H, W, lanes) or null. A planar image is (3, H, W, 1), an interleaved one (1, H, W, 3).
//   out     y (planes, h, w, lanes), overwritten; backward: dx (planes, H, W, lanes), overwritten;
//           x may be dx.
//   mapping a task is a strip of rows of one plane of the output. A stretch of columns is combined
//           along the rows first, which compilers turn into vector instructions, then along the
//           columns.
//   bounds  any H, W >= 1, lanes 1 or 3: the border repeats the edge pixel.
//   order   fixed.
//   cost    6 multiply-adds per pixel of the larger image.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr int kTaps = 4;
constexpr float kWeights[kTaps] = {0.125f, 0.375f, 0.375f, 0.125f};
constexpr int kStrip = 8;     // rows of one task
constexpr int kStretch = 96;  // pixels of the smaller image that are combined together

// Input that tap `tap` of output i reads, in a line of n whose ends are repeated.
int source(int i, int tap, int n) {
    return std::clamp(2 * i + tap - 1, 0, n - 1);
}

// Share of input `at` in output i; zero where there is no such output.
float share(int i, int at, int n) {
    float total = 0.0f;
    for (int tap = 0; tap < kTaps && i >= 0 && i < (n + 1) / 2; ++tap) {
        total += source(i, tap, n) == at ? kWeights[tap] : 0.0f;
    }
    return total;
}

// Columns [begin, end) of one row of y, from four rows of x.
template <int kWide>
void down(const float* const (&rows)[kTaps], int begin, int end, int W, float* y) {
    float line[kWide * (2 * kStretch + 2)];  // x combined along the rows, one pixel wider
    const int first = 2 * begin - 1, count = 2 * (end - begin) + 2;
    const int inside = std::max(first, 0), outside = std::min(first + count, W);
    for (int i = kWide * inside; i < kWide * outside; ++i) {
        line[i - kWide * first] = kWeights[0] * rows[0][i] + kWeights[1] * rows[1][i] +
                                  kWeights[2] * rows[2][i] + kWeights[3] * rows[3][i];
    }
    for (int lane = 0; lane < kWide; ++lane) {
        for (int i = first; i < inside; ++i) {
            line[kWide * (i - first) + lane] = line[kWide * (inside - first) + lane];
        }
        for (int i = outside; i < first + count; ++i) {
            line[kWide * (i - first) + lane] = line[kWide * (outside - 1 - first) + lane];
        }
    }
    for (int column = 0; column < end - begin; ++column) {
        for (int lane = 0; lane < kWide; ++lane) {
            const float* at = line + kWide * 2 * column + lane;
            y[kWide * (begin + column) + lane] = kWeights[0] * at[0] + kWeights[1] * at[kWide] +
                                                 kWeights[2] * at[2 * kWide] +
                                                 kWeights[3] * at[3 * kWide];
        }
    }
}

// Pixels that belong to columns [begin, end) of dy, of one row of dx; from `count` rows of dy.
template <int kWide>
void up(const float* const* rows,
        const float* shares,
        int count,
        int begin,
        int end,
        int W,
        float keep,
        const float* x,
        float* dx) {
    float line[kWide * (kStretch + 2)];  // dy combined along the rows, one pixel wider
    const int w = (W + 1) / 2, inside = std::max(begin - 1, 0), outside = std::min(end + 1, w);
    float* const combined = line - kWide * (begin - 1);
    std::fill(line, line + kWide * (end - begin + 2), 0.0f);
    for (int r = 0; r < count; ++r) {
        for (int i = kWide * inside; i < kWide * outside; ++i) {
            combined[i] += shares[r] * rows[r][i];
        }
    }
    const auto put = [&](int column, float value, int lane) {
        const size_t at = kWide * column + lane;
        dx[at] = x == nullptr ? value : keep * x[at] + value;
    };
    for (int i = begin; i < end; ++i) {
        const bool edge = i == 0 || i == w - 1;
        for (int lane = 0; lane < kWide; ++lane) {
            const float* at = combined + kWide * i + lane;
            const float before = at[-kWide], here = at[0], after = at[kWide];
            for (int odd = 0; odd < (2 * i + 1 < W ? 2 : 1); ++odd) {
                const int column = 2 * i + odd;
                if (edge) {
                    put(column,
                        share(i - 1, column, W) * before + share(i, column, W) * here +
                            share(i + 1, column, W) * after,
                        lane);
                } else {
                    put(column, kWeights[1] * here + kWeights[0] * (odd ? after : before), lane);
                }
            }
        }
    }
}

// Calls body(plane, row) for all rows of all planes, a strip of them in each task.
template <class Body>
void for_rows(Threads& threads, int planes, int rows, const Body& body) {
    const int strips = (rows + kStrip - 1) / kStrip;
    threads.run(planes * strips, [&](int task, int) {
        const int plane = task / strips, first = task % strips * kStrip;
        for (int row = first; row < std::min(first + kStrip, rows); ++row) {
            body(plane, row);
        }
    });
}

template <int kWide>
void down_all(Threads& threads, Pixels image, const float* x, float* y) {
    const int H = image.H, W = image.W, h = (H + 1) / 2, w = (W + 1) / 2;
    for_rows(threads, image.planes, h, [&](int plane, int row) {
        const float* rows[kTaps];
        for (int r = 0; r < kTaps; ++r) {
            const size_t at = static_cast<size_t>(plane) * H + source(row, r, H);
            rows[r] = x + at * W * kWide;
        }
        float* to = y + (static_cast<size_t>(plane) * h + row) * w * kWide;
        for (int begin = 0; begin < w; begin += kStretch) {
            down<kWide>(rows, begin, std::min(begin + kStretch, w), W, to);
        }
    });
}

template <int kWide>
void up_all(
    Threads& threads, Pixels image, const float* dy, float keep, const float* x, float* dx) {
    const int H = image.H, W = image.W, h = (H + 1) / 2, w = (W + 1) / 2;
    for_rows(threads, image.planes, H, [&](int plane, int row) {
        const float* rows[3];
        float shares[3];
        int count = 0;
        for (int i = row / 2 - 1; i <= row / 2 + 1; ++i) {
            if (const float weight = share(i, row, H); weight != 0.0f) {
                rows[count] = dy + (static_cast<size_t>(plane) * h + i) * w * kWide;
                shares[count++] = weight;
            }
        }
        const size_t at = (static_cast<size_t>(plane) * H + row) * W * kWide;
        for (int begin = 0; begin < w; begin += kStretch) {
            const int end = std::min(begin + kStretch, w);
            up<kWide>(rows, shares, count, begin, end, W, keep, x == nullptr ? x : x + at, dx + at);
        }
    });
}

}  // namespace

void binomial_down(Threads& threads, Pixels image, const float* x, float* y) {
    image.lanes == 1 ? down_all<1>(threads, image, x, y) : down_all<3>(threads, image, x, y);
}

void binomial_down_backward(
    Threads& threads, Pixels image, const float* dy, float keep, const float* x, float* dx) {
    image.lanes == 1 ? up_all<1>(threads, image, dy, keep, x, dx)
                     : up_all<3>(threads, image, dy, keep, x, dx);
}

}  // namespace pynst
