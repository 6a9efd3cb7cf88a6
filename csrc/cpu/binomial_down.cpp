// binomial_down.cpp: half the size of an image by a binomial filter, and the transpose.
//
//   y = ([1 3 3 1] / 8 along both axes) * x at every second pixel;   dx = transpose of that, of dy
//
//   in      x (3, H, W); backward: dy (3, h, w), h = ceil(H / 2), w = ceil(W / 2).
//   out     y (3, h, w); backward: dx (3, H, W), overwritten.
//   mapping a task is one row of y. Backward: a task is one plane; each row of dy is spread over
//           the four rows it came from.
//   bounds  any H, W >= 1: the border repeats the edge pixel.
//   order   fixed.
//   cost    16 multiply-adds per pixel of y.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr int kTaps = 4;
constexpr float kWeights[kTaps] = {0.125f, 0.375f, 0.375f, 0.125f};

// Pixel i - 1 of a line of n whose ends are repeated.
int repeated(int i, int n) {
    return std::clamp(i - 1, 0, n - 1);
}

}  // namespace

void binomial_down(Threads& threads, int H, int W, const float* x, float* y) {
    const int h = (H + 1) / 2, w = (W + 1) / 2;
    threads.run(3 * h, [&](int task, int) {
        const int plane = task / h, row = task % h;
        const float* rows[kTaps];
        for (int r = 0; r < kTaps; ++r) {
            rows[r] = x + (static_cast<size_t>(plane) * H + repeated(2 * row + r, H)) * W;
        }
        float* to = y + (static_cast<size_t>(plane) * h + row) * w;
        for (int column = 0; column < w; ++column) {
            float sum = 0.0f;
            for (int c = 0; c < kTaps; ++c) {
                const int i = repeated(2 * column + c, W);
                float vertical = 0.0f;
                for (int r = 0; r < kTaps; ++r) {
                    vertical += kWeights[r] * rows[r][i];
                }
                sum += kWeights[c] * vertical;
            }
            to[column] = sum;
        }
    });
}

void binomial_down_backward(Threads& threads, int H, int W, const float* dy, float* dx) {
    const int h = (H + 1) / 2, w = (W + 1) / 2;
    threads.run(3, [&](int plane, int) {
        float* to = dx + static_cast<size_t>(plane) * H * W;
        std::fill_n(to, static_cast<size_t>(H) * W, 0.0f);
        for (int row = 0; row < h; ++row) {
            const float* from = dy + (static_cast<size_t>(plane) * h + row) * w;
            for (int r = 0; r < kTaps; ++r) {
                float* line = to + static_cast<size_t>(repeated(2 * row + r, H)) * W;
                for (int column = 0; column < w; ++column) {
                    const float value = kWeights[r] * from[column];
                    for (int c = 0; c < kTaps; ++c) {
                        line[repeated(2 * column + c, W)] += kWeights[c] * value;
                    }
                }
            }
        }
    });
}

}  // namespace pynst
