// lbfgs_step.cpp: the direction of L-BFGS from the kept pairs, and a step along it.
//
//   d = sum_i c_i v_i + c_h h,   next = x + t d,   seen = next, clipped to [0, 1]
//
//   in      pairs v (2 rows, n), h (n), c for the rows that take part; x (n), d (n), t.
//   out     d (n); next, seen (n), overwritten.
//   mapping a task is a run of values, over which all rows are added one after the other.
//   bounds  any n >= 1; a NaN stays a NaN when it is clipped.
//   order   in the order of the list c, then h; in float64, since the terms nearly cancel.
//   cost    one pass over the rows: 47 MB for 20 rows at 512 x 384.

#include <algorithm>

#include "kernels.h"
#include "lbfgs_rows.h"

namespace pynst {

void lbfgs_direction(
    Threads& threads, const PairRows& pairs, const PairCoefficients& c, const float* h, float* d) {
    for_runs(threads, pairs.n, [&](size_t begin, size_t count) {
        double sums[kVectorRun];
        float room[kVectorRun];
        std::fill(sums, sums + count, 0.0);
        for (int k = 0; k < c.count; ++k) {
            const float* row = kept_run(pairs, c.row[k], begin, count, room);
            const double factor = c.factor[k];
            for (size_t i = 0; i < count; ++i) {
                sums[i] += factor * row[i];
            }
        }
        for (size_t i = 0; i < count; ++i) {
            d[begin + i] = static_cast<float>(sums[i] + c.factor_of_h * h[begin + i]);
        }
    });
}

void lbfgs_step(Threads& threads,
                const float* x,
                const float* d,
                double t,
                size_t n,
                float* next,
                float* seen) {
    for_runs(threads, n, [=](size_t begin, size_t count) {
        for (size_t i = begin; i < begin + count; ++i) {
            const float value = static_cast<float>(x[i] + t * d[i]);
            next[i] = value;
            seen[i] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
        }
    });
}

}  // namespace pynst
