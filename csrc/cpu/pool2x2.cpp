// pool2x2.cpp: 2x2 pooling with stride 2, mean or maximum, and its gradient.
//
//   y = mean or max of each 2 x 2 square;   dx = dy / 4, or dy at the chosen one and 0 elsewhere
//
//   in      x (C, H, W); backward: dy (C, H / 2, W / 2), for the maximum the choices.
//   out     y (C, H / 2, W / 2), for the maximum the choices, 2 bits each (0 1 / 2 3, the first of
//           equals); backward: dx (C, H, W), overwritten.
//   mapping a task is a strip of rows of one channel block.
//   bounds  any C, H, W >= 1; an odd last row or column is dropped, its gradient is zero.
//   order   (a + b) + (c + d), fixed.
//   cost    one pass over the memory of x and y.

#include "kernels.h"

namespace pynst {
namespace {

constexpr int kStrip = 32;  // rows of a task

// Calls kernel(job, block, row) for `rows` rows of each channel block.
void each_row(Threads& threads,
              int C,
              int rows,
              const PoolJob& job,
              void (*kernel)(const PoolJob&, int, int)) {
    const int strips = (rows + kStrip - 1) / kStrip;
    threads.run(channel_blocks(C) * strips, [&](int task, int) {
        const int first = task % strips * kStrip;
        for (int row = first; row < rows && row < first + kStrip; ++row) {
            kernel(job, task / strips, row);
        }
    });
}

}  // namespace

void pool2x2(Threads& threads,
             int C,
             int H,
             int W,
             const float* x,
             Pooling mode,
             float* y,
             uint32_t* choices) {
    PoolJob job = {};
    job.H = H;
    job.W = W;
    job.mode = mode;
    job.in = x;
    job.out = y;
    job.choices_out = choices;
    each_row(threads, C, H / 2, job, inner().pool2x2);
}

void pool2x2_backward(Threads& threads,
                      int C,
                      int H,
                      int W,
                      const float* dy,
                      Pooling mode,
                      const uint32_t* choices,
                      float* dx) {
    PoolJob job = {};
    job.H = H;
    job.W = W;
    job.mode = mode;
    job.in = dy;
    job.out = dx;
    job.choices_in = choices;
    each_row(threads, C, H, job, inner().pool2x2_backward);
}

}  // namespace pynst
