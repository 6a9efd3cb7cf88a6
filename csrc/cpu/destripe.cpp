// destripe.cpp: damps short stripes along the axes of an image, and no other detail.
//
//   y = x - S_v D_h x - S_h D_v x
//
//   with S a smooth average and D = 1 - (c_2 c_1 c_0 c_1 c_2) what changes within two to three
//   pixels, v along the columns and h along the rows.
//
//   in      x (H, W, 3).
//   out     y (H, W, 3), overwritten; not x.
//   mapping a task is a strip of rows. A stretch of columns is combined along the columns of the
//           image first, then along the rows; all are loops that compilers turn into vector
//           instructions.
//   bounds  any H, W >= 1: the border is mirrored with its edge pixel, so that the filter is its own
//           transpose.
//   order   fixed.
//   cost    one pass over x and y, 26 multiply-adds per value.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr int kChannels = 3;
constexpr int kStrip = 8;      // rows of one task
constexpr int kStretch = 256;  // pixels of a row that are filtered together
constexpr int kMost = std::max(kSmoothReach, kShortReach);
constexpr int kLine = kChannels * (kStretch + 2 * kMost);

// Pixel i of a line of n pixels that is mirrored at both ends, again and again.
int mirrored(int i, int n) {
    const int at = (i % (2 * n) + 2 * n) % (2 * n);
    return at < n ? at : 2 * n - 1 - at;
}

// A stretch of the rows around one row of x; kMost more pixels at each side.
struct Stretch {
    const float* const* rows;  // 2 kMost + 1
    int begin, end, W;

    // to = the sum of taps[r] times the rows r above and below, for all pixels of the stretch.
    void combine(const float* taps, int reach, float* to) const {
        const int inside = std::max(begin - kMost, 0), outside = std::min(end + kMost, W);
        float* const at = to - kChannels * (begin - kMost);
        const float* const* const middle = rows + kMost;
        for (int i = kChannels * inside; i < kChannels * outside; ++i) {
            at[i] = taps[0] * middle[0][i];
        }
        for (int r = 1; r <= reach; ++r) {
            const float *before = middle[-r], *after = middle[r];
            for (int i = kChannels * inside; i < kChannels * outside; ++i) {
                at[i] += taps[r] * (before[i] + after[i]);
            }
        }
        const auto mirror = [&](int column) {
            for (int channel = 0; channel < kChannels; ++channel) {
                at[kChannels * column + channel] = at[kChannels * mirrored(column, W) + channel];
            }
        };
        for (int column = begin - kMost; column < inside; ++column) {
            mirror(column);
        }
        for (int column = outside; column < end + kMost; ++column) {
            mirror(column);
        }
    }

    // y -= the sum of taps[r] times the pixels r before and behind in a line from `combine`.
    void subtract(const float* taps, int reach, const float* line, float* y) const {
        const float* const at = line - kChannels * (begin - kMost);
        for (int i = kChannels * begin; i < kChannels * end; ++i) {
            float sum = taps[0] * at[i];
            for (int r = 1; r <= reach; ++r) {
                sum += taps[r] * (at[i - kChannels * r] + at[i + kChannels * r]);
            }
            y[i] -= sum;
        }
    }
};

}  // namespace

void destripe(Threads& threads, int H, int W, const float* x, float* y) {
    const size_t row_floats = static_cast<size_t>(W) * kChannels;
    threads.run((H + kStrip - 1) / kStrip, [=](int task, int) {
        float line[kLine];
        for (int row = task * kStrip; row < std::min((task + 1) * kStrip, H); ++row) {
            const float* rows[2 * kMost + 1];
            for (int r = -kMost; r <= kMost; ++r) {
                rows[kMost + r] = x + mirrored(row + r, H) * row_floats;
            }
            float* const to = y + row * row_floats;
            std::copy(rows[kMost], rows[kMost] + row_floats, to);
            for (int begin = 0; begin < W; begin += kStretch) {
                const Stretch stretch = {rows, begin, std::min(begin + kStretch, W), W};
                stretch.combine(kSmooth, kSmoothReach, line);
                stretch.subtract(kShort, kShortReach, line, to);
                stretch.combine(kShort, kShortReach, line);
                stretch.subtract(kSmooth, kSmoothReach, line, to);
            }
        }
    });
}

}  // namespace pynst
