// two_loops.h: the direction of L-BFGS as coefficients of the kept vectors, on the host.
//
//   -H g = sum_i c_i v_i + c_g g          Nocedal 1980; pynst/optimizers/pairs.py has it in NumPy
//
// Only scalar products of the vectors take part: a few hundred multiplications, which NumPy would
// spread over some forty calls, while the device waits.

#pragma once

#include "../kernels.h"

namespace pynst {

// products: (2 rows, 2 rows), row-major; with_g: (2 rows); order: the rows in use, oldest first.
// Sets `slope` to the product of the direction with g.
inline PairCoefficients two_loops(const double* products,
                                  int rows,
                                  const int* order,
                                  int count,
                                  const double* with_g,
                                  double g_g,
                                  double* slope) {
    PairCoefficients c = {};
    c.factor_of_g = -1.0;
    *slope = -g_g;
    if (count == 0) {
        return c;
    }
    const auto product = [&](int a, int b) {
        return products[static_cast<size_t>(a) * 2 * rows + b];
    };
    const auto s = [&](int i) { return order[i]; };
    const auto y = [&](int i) { return rows + order[i]; };
    double alpha[kMostPairRows] = {}, rest[kMostPairRows] = {};

    // 1. the first loop, newest pair first
    for (int i = count - 1; i >= 0; --i) {
        double sum = with_g[s(i)];
        for (int j = i + 1; j < count; ++j) {
            sum -= product(s(i), y(j)) * alpha[j];
        }
        alpha[i] = sum / product(s(i), y(i));
    }

    // 2. the second loop, oldest pair first
    const int newest = count - 1;
    const double gamma = product(s(newest), y(newest)) / product(y(newest), y(newest));
    for (int i = 0; i < count; ++i) {
        double with_r = with_g[y(i)], before = 0.0;
        for (int j = 0; j < count; ++j) {
            with_r -= product(y(i), y(j)) * alpha[j];
        }
        for (int j = 0; j < i; ++j) {
            before += product(s(j), y(i)) * rest[j];
        }
        rest[i] = alpha[i] - (gamma * with_r + before) / product(s(i), y(i));
    }

    // 3. the coefficients
    c.count = 2 * count;
    c.factor_of_g = -gamma;
    *slope = -gamma * g_g;
    for (int i = 0; i < count; ++i) {
        c.row[i] = s(i);
        c.factor[i] = -rest[i];
        c.row[count + i] = y(i);
        c.factor[count + i] = gamma * alpha[i];
        *slope += c.factor[i] * with_g[s(i)] + c.factor[count + i] * with_g[y(i)];
    }
    return c;
}

}  // namespace pynst
