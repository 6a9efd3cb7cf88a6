// damp_axes.cpp: damps the highest frequencies of an image along each axis.
//
//   y = (c_2 c_1 c_0 c_1 c_2 along both axes) * x
//
//   in      x (H, W, 3).
//   out     y (H, W, 3), overwritten; not x.
//   mapping a task is a strip of rows. A stretch of columns is combined along the rows first, which
//           compilers turn into vector instructions, then along the columns.
//   bounds  any H, W >= 1: the border is mirrored with its edge pixel, so that the filter is its own
//           transpose.
//   order   fixed.
//   cost    one pass over x and y, 10 multiply-adds per value.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr int kChannels = 3;
constexpr int kStrip = 8;      // rows of one task
constexpr int kStretch = 256;  // pixels of a row that are combined together
constexpr int kReach = kDampingReach;

// Pixel i of a line of n pixels that is mirrored at both ends, again and again.
int mirrored(int i, int n) {
    const int at = (i % (2 * n) + 2 * n) % (2 * n);
    return at < n ? at : 2 * n - 1 - at;
}

// Columns [begin, end) of one row of y, from 2 kReach + 1 rows of x.
void damp_stretch(const float* const* rows, int begin, int end, int W, float* y) {
    float line[kChannels * (kStretch + 2 * kReach)];  // x combined along the rows
    float* const combined = line - kChannels * (begin - kReach);
    const int inside = std::max(begin - kReach, 0), outside = std::min(end + kReach, W);
    for (int i = kChannels * inside; i < kChannels * outside; ++i) {
        combined[i] = kDamping[0] * rows[kReach][i];
    }
    for (int r = 1; r <= kReach; ++r) {
        const float *before = rows[kReach - r], *after = rows[kReach + r];
        for (int i = kChannels * inside; i < kChannels * outside; ++i) {
            combined[i] += kDamping[r] * (before[i] + after[i]);
        }
    }
    const auto mirror = [&](int column) {
        for (int channel = 0; channel < kChannels; ++channel) {
            combined[kChannels * column + channel] =
                combined[kChannels * mirrored(column, W) + channel];
        }
    };
    for (int column = begin - kReach; column < inside; ++column) {
        mirror(column);
    }
    for (int column = outside; column < end + kReach; ++column) {
        mirror(column);
    }
    for (int i = kChannels * begin; i < kChannels * end; ++i) {
        float sum = kDamping[0] * combined[i];
        for (int r = 1; r <= kReach; ++r) {
            sum += kDamping[r] * (combined[i - kChannels * r] + combined[i + kChannels * r]);
        }
        y[i] = sum;
    }
}

}  // namespace

void damp_axes(Threads& threads, int H, int W, const float* x, float* y) {
    const size_t row_floats = static_cast<size_t>(W) * kChannels;
    threads.run((H + kStrip - 1) / kStrip, [=](int task, int) {
        for (int row = task * kStrip; row < std::min((task + 1) * kStrip, H); ++row) {
            const float* rows[2 * kReach + 1];
            for (int r = -kReach; r <= kReach; ++r) {
                rows[kReach + r] = x + mirrored(row + r, H) * row_floats;
            }
            for (int begin = 0; begin < W; begin += kStretch) {
                damp_stretch(rows, begin, std::min(begin + kStretch, W), W, y + row * row_floats);
            }
        }
    });
}

}  // namespace pynst
