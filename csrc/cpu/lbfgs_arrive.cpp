// lbfgs_arrive.cpp: the end of a step of L-BFGS: the gradient there, and all scalar products.
//
//   b = next - clip(next),   g' = (gradient where b = 0, else 0) + 2 k b
//   s = next - x,   y = g' - g,   z = h' - h,   with h = M g and h' = M g'
//   sums = b.b, g'.d, g'.h', h'.h', then v_i.g' of all 2 rows, then v_i.y
//
//   in      lbfgs_gradient: next, gradient (n), k. `gradient` is the gradient of the loss at the
//           clipped image; the penalty k b^2 leads a value beyond [0, 1] back.
//           lbfgs_arrive: x, g, h, d, next, g', h' (n), pairs v (2 rows, n).
//   out     g' (n), which may be `gradient`; sums, overwritten; s and z go into rows `spare` and
//           `rows + spare` of the pairs, before their products are taken.
//   mapping a task is a run of values, which stays in the first-level cache while all rows are
//           multiplied with it.
//   bounds  any n >= 1, rows <= kMostPairRows.
//   order   float64 throughout: kSumLanes sums of every kSumLanes-th value of a run, then the
//           lanes, then the runs. The runs depend on n alone, so the bits depend on no number of
//           threads.
//   cost    reads 7 + 2 rows vectors, writes 2: 73 MB at 512 x 384 with 11 rows.

#include <algorithm>

#include "kernels.h"
#include "lbfgs_rows.h"

namespace pynst {
namespace {

constexpr int kOwn = 4;       // sums without the pairs: b.b, g'.d, g'.h', h'.h'
constexpr int kSumLanes = 8;  // sums that are kept apart, so that compilers use vectors for them
static_assert(lbfgs_arrive_sums(1) == kOwn + 2 * 2, "kernels.h tells how many sums there are");

float clipped(float value) {
    return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
}

// The sum over i of term(i), in lanes.
template <class Term>
double sum_of(size_t count, const Term& term) {
    double lanes[kSumLanes] = {}, total = 0.0;
    size_t i = 0;
    for (; i + kSumLanes <= count; i += kSumLanes) {
        for (int lane = 0; lane < kSumLanes; ++lane) {
            lanes[lane] += term(i + lane);
        }
    }
    for (; i < count; ++i) {
        lanes[0] += term(i);
    }
    for (const double lane : lanes) {
        total += lane;
    }
    return total;
}

double product(const double* a, const float* b, size_t count) {
    return sum_of(count, [=](size_t i) { return a[i] * b[i]; });
}

// The sums of one run.
void arrive(const Arrival& step, size_t begin, size_t count, double* sums) {
    const float *next = step.next + begin, *next_g = step.next_g + begin,
                *next_h = step.next_h + begin;
    const PairRows& pairs = step.pairs;
    float room[kVectorRun], more_room[kVectorRun];
    float* const s = run_to_fill(pairs, step.spare, begin, room);
    float* const z = run_to_fill(pairs, pairs.rows + step.spare, begin, more_room);
    double g[kVectorRun], y[kVectorRun];
    for (size_t i = 0; i < count; ++i) {
        s[i] = next[i] - step.x[begin + i];
        z[i] = next_h[i] - step.h[begin + i];
        g[i] = next_g[i];
        y[i] = g[i] - step.g[begin + i];
    }
    keep_run(pairs, step.spare, begin, count, s);
    keep_run(pairs, pairs.rows + step.spare, begin, count, z);
    sums[0] = sum_of(count, [=](size_t i) {
        const double beyond = static_cast<double>(next[i]) - clipped(next[i]);
        return beyond * beyond;
    });
    sums[1] = product(g, step.d + begin, count);
    sums[2] = product(g, next_h, count);
    sums[3] = sum_of(count, [=](size_t i) { return static_cast<double>(next_h[i]) * next_h[i]; });
    const int vectors = 2 * pairs.rows;
    for (int v = 0; v < vectors; ++v) {
        const float* row = kept_run(pairs, v, begin, count, room);
        sums[kOwn + v] = product(g, row, count);
        sums[kOwn + vectors + v] = product(y, row, count);
    }
}

}  // namespace

void lbfgs_gradient(Threads& threads,
                    const float* next,
                    const float* gradient,
                    double pull,
                    size_t n,
                    float* next_g) {
    for_runs(threads, n, [=](size_t begin, size_t count) {
        for (size_t i = begin; i < begin + count; ++i) {
            const double beyond = static_cast<double>(next[i]) - clipped(next[i]);
            next_g[i] =
                static_cast<float>((beyond != 0.0 ? 0.0 : gradient[i]) + 2.0 * pull * beyond);
        }
    });
}

size_t lbfgs_arrive_scratch(int rows, size_t n) {
    return lbfgs_arrive_sums(rows) * runs_of(n) * sizeof(double);
}

void lbfgs_arrive(Threads& threads, const Arrival& step, double* sums, void* scratch) {
    // (runs, sums): so no two threads write to one cache line but at the ends of their tasks
    double* const partial = static_cast<double*>(scratch);
    const size_t runs = runs_of(step.pairs.n), count_of_sums = lbfgs_arrive_sums(step.pairs.rows);
    for_runs(threads, step.pairs.n, [&](size_t begin, size_t count) {
        arrive(step, begin, count, partial + begin / kVectorRun * count_of_sums);
    });
    std::fill(sums, sums + count_of_sums, 0.0);
    for (size_t run = 0; run < runs; ++run) {
        for (size_t k = 0; k < count_of_sums; ++k) {
            sums[k] += partial[run * count_of_sums + k];
        }
    }
}

}  // namespace pynst
