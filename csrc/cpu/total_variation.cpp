// total_variation.cpp: the smoothness term TV9 and its gradient.
//
//   loss = 2 k (mean a^2 / 3 + mean b^2 / 3 + mean c^2 / 12 + mean d^2 / 12),   dx += d loss / dx
//
//   with a, b the differences of a pixel to its right and lower neighbours and c, d those along
//   the two diagonals of the 2 x 2 square, over an image with its last row and column repeated.
//
//   in      x (3, H, W), k.
//   out     loss, overwritten; dx (3, H, W), added to.
//   mapping a task is a strip of rows of one plane. A row of dx gathers from the squares above and
//           below it, so that no two tasks write to one row; only the squares below it are added
//           to the loss.
//   bounds  any H, W >= 1.
//   order   the loss is summed in float32 over 16 squares, those sums in float64 along a row, then
//           over the rows.
//   cost    one pass over x and dx.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr int kStrip = 32;     // rows of one task
constexpr int kSquares = 256;  // squares of a row that are summed together, in kLanes float32 sums

// The squares whose upper row is `upper` and whose lower row is `lower`. Adds to dx the gradient
// with respect to the pixels of one of the two rows, and returns the unscaled sum of squares. In
// the last square of a row the right column is the left one.
template <bool kToUpper>
double squares(
    const float* upper, const float* lower, int W, float straight, float diagonal, float* dx) {
    double total = 0.0;
    float carry = 0.0f;  // the gradient that the square to the left gives to its right column
    for (int begin = 0; begin < W; begin += kSquares) {
        // The work is cut into simple loops, each of which compilers turn into vector instructions.
        const int count = std::min(kSquares, W - begin), inside = std::min(count, W - 1 - begin);
        const float *up = upper + begin, *low = lower + begin;
        float left[kSquares], right[kSquares + 1], sums[kSquares + kLanes] = {};
        right[0] = carry;
        const auto square = [&](int x, int next) {
            const float a = up[next] - up[x], b = low[x] - up[x];
            const float c = low[next] - up[x], d = low[x] - up[next];
            if (kToUpper) {
                sums[x] = 4.0f * (a * a + b * b) + (c * c + d * d);
                left[x] = -(straight * (a + b) + diagonal * c);
                right[x + 1] = straight * a - diagonal * d;
            } else {
                left[x] = straight * b + diagonal * d;
                right[x + 1] = diagonal * c;
            }
        };
        for (int x = 0; x < inside; ++x) {
            square(x, x + 1);
        }
        if (inside < count) {
            square(inside, inside);
            left[inside] += right[inside + 1];
        }
        for (int x = 0; x < count; ++x) {
            dx[begin + x] += left[x] + right[x];
        }
        carry = right[count];
        if (kToUpper) {
            for (int x = kLanes; x < count; x += kLanes) {
                for (int i = 0; i < kLanes; ++i) {
                    sums[i] += sums[x + i];
                }
            }
            for (int i = 0; i < kLanes; ++i) {
                total += sums[i];
            }
        }
    }
    return total;
}

}  // namespace

size_t total_variation_scratch(int H) {
    return static_cast<size_t>(3) * H * sizeof(double);
}

void total_variation(Threads& threads,
                     int H,
                     int W,
                     const float* x,
                     double k,
                     float* dx,
                     double* loss,
                     void* scratch) {
    // TV9 = unit * sum of (4 a^2 + 4 b^2 + c^2 + d^2)
    const double unit = 2.0 * k / (12.0 * 3.0 * H * W);
    const float straight = static_cast<float>(8.0 * unit),
                diagonal = static_cast<float>(2.0 * unit);
    const int strips = (H + kStrip - 1) / kStrip;
    double* rows = static_cast<double*>(scratch);
    threads.run(3 * strips, [&](int task, int) {
        const int plane = task / strips, first = task % strips * kStrip;
        const float* image = x + static_cast<size_t>(plane) * H * W;
        float* gradient = dx + static_cast<size_t>(plane) * H * W;
        const auto row = [&](int y) { return image + static_cast<size_t>(y) * W; };
        for (int y = first; y < std::min(first + kStrip, H); ++y) {
            float* to = gradient + static_cast<size_t>(y) * W;
            const int below = std::min(y + 1, H - 1);
            rows[static_cast<size_t>(plane) * H + y] =
                squares<true>(row(y), row(below), W, straight, diagonal, to);
            if (y > 0) {
                squares<false>(row(y - 1), row(y), W, straight, diagonal, to);
            }
            if (below == y) {  // the last row's lower neighbour is the row itself
                squares<false>(row(y), row(y), W, straight, diagonal, to);
            }
        }
    });
    double total = 0.0;
    for (size_t i = 0; i < static_cast<size_t>(3) * H; ++i) {
        total += rows[i];
    }
    *loss = unit * total;
}

}  // namespace pynst
