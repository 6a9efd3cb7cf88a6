// two_loops.h: the direction of L-BFGS as coefficients of the kept vectors, on the host.
//
//   -H g = sum_i c_i v_i + c_h h          Nocedal 1980; pynst/optimizers/pairs.py has it in NumPy
//
// Only scalar products of the vectors take part: a few hundred multiplications, which NumPy would
// spread over some forty calls, while a GPU waits. Both cores include this file, each with its
// own kernels.h, which has `PairCoefficients` and `kMostPairRows`.

#pragma once

#include "kernels.h"

namespace pynst {

// products: (2 rows, rows), row-major: of the vectors with the change y of the gradient of each
// pair, right where the vector is of the same pair or of an older one; with_g: (2 rows); order: the rows in use, oldest first.
// Sets `slope` to the product of the direction with g.
inline PairCoefficients two_loops(const double* products,
                                  int rows,
                                  const int* order,
                                  int count,
                                  const double* with_g,
                                  double g_h,
                                  double* slope) {
    PairCoefficients c = {};
    c.factor_of_h = -1.0;
    *slope = -g_h;
    if (count == 0) {
        return c;
    }
    const auto product = [&](int a, int b) { return products[static_cast<size_t>(a) * rows + b]; };
    const auto s = [&](int i) { return order[i]; };
    const auto z = [&](int i) { return rows + order[i]; };
    const auto z_y = [&](int i, int j) {
        return i < j ? product(z(i), order[j]) : product(z(j), order[i]);
    };
    double alpha[kMostPairRows] = {}, rest[kMostPairRows] = {};

    // 1. the first loop, newest pair first
    for (int i = count - 1; i >= 0; --i) {
        double sum = with_g[s(i)];
        for (int j = i + 1; j < count; ++j) {
            sum -= product(s(i), order[j]) * alpha[j];
        }
        alpha[i] = sum / product(s(i), order[i]);
    }

    // 2. the second loop, oldest pair first
    const int newest = count - 1;
    const double gamma = product(s(newest), order[newest]) / z_y(newest, newest);
    for (int i = 0; i < count; ++i) {
        double with_r = with_g[z(i)], before = 0.0;
        for (int j = 0; j < count; ++j) {
            with_r -= z_y(i, j) * alpha[j];
        }
        for (int j = 0; j < i; ++j) {
            before += product(s(j), order[i]) * rest[j];
        }
        rest[i] = alpha[i] - (gamma * with_r + before) / product(s(i), order[i]);
    }

    // 3. the coefficients
    c.count = 2 * count;
    c.factor_of_h = -gamma;
    *slope = -gamma * g_h;
    for (int i = 0; i < count; ++i) {
        c.row[i] = s(i);
        c.factor[i] = -rest[i];
        c.row[count + i] = z(i);
        c.factor[count + i] = gamma * alpha[i];
        *slope += c.factor[i] * with_g[s(i)] + c.factor[count + i] * with_g[z(i)];
    }
    return c;
}

}  // namespace pynst
