// content_loss.cpp: squared distance to the content image's features, and its gradient.
//
//   loss = k sum_ip m_p (s_i (F - P)_ip)^2,   dF_ip += 2 k m_p s_i^2 (F - P)_ip
//                                        Gatys et al. 2016, Eq. 1 and 2 with k = 1/2, s = m = 1
//
//   in      F, P (N, M) in blocks; k; s (blocks, 16) or null for ones; m (M,) or null for ones.
//   out     loss, overwritten; dF, added to.
//   mapping a task is 4096 pixels of one channel block.
//   bounds  any N, M >= 1; the lanes beyond N hold zeros in F and P and add nothing.
//   order   float32 over 64 pixels of 16 channels, then float64 in the order of the tasks.
//   cost    one pass over F, P and dF.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr size_t kTaskPixels = 4096;  // of one channel block

// Tasks that share the M pixels of one channel block.
int tasks_of_block(size_t M) {
    return static_cast<int>((M + kTaskPixels - 1) / kTaskPixels);
}

}  // namespace

size_t content_loss_scratch(int N, size_t M) {
    return static_cast<size_t>(channel_blocks(N)) * tasks_of_block(M) * sizeof(double);
}

void content_loss(Threads& threads,
                  int N,
                  size_t M,
                  const float* F,
                  const float* P,
                  double k,
                  const float* scale,
                  const float* m,
                  float* dF,
                  double* loss,
                  void* scratch) {
    const ContentJob job = {F, P, scale, m, static_cast<float>(2.0 * k), M, dF};
    const int tasks = channel_blocks(N) * tasks_of_block(M);
    double* sums = static_cast<double*>(scratch);
    threads.run(tasks, [&](int task, int) {
        const size_t begin = task % tasks_of_block(M) * kTaskPixels;
        sums[task] =
            inner().content(job, task / tasks_of_block(M), begin, std::min(begin + kTaskPixels, M));
    });
    double total = 0.0;
    for (int task = 0; task < tasks; ++task) {
        total += sums[task];
    }
    *loss = k * total;
}

}  // namespace pynst
