// lbfgs_coefficients.h: the binding of two_loops.h, which both modules have, each with its own
// bindings.h.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <vector>

#include "bindings.h"
#include "two_loops.h"

namespace pynst {

using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;

// The rows that take part, their factors, the factor of h, and the slope.
inline py::tuple lbfgs_coefficients(const Numbers& products,
                                    const std::vector<int>& order,
                                    const Numbers& with_g,
                                    double g_h) {
    const Arguments arguments("lbfgs_coefficients");
    const auto vectors = with_g.size();
    const int rows = static_cast<int>(vectors / 2);
    arguments.require(
        rows >= 1 && rows <= kMostPairRows && with_g.ndim() == 1 && vectors == 2 * rows,
        "with_g must be a vector of at most " + std::to_string(2 * kMostPairRows) + " values");
    arguments.require(
        products.ndim() == 2 && products.shape(0) == vectors && products.shape(1) == rows,
        "products must have a row for each value of with_g, and half as many columns");
    arguments.require(order.size() <= static_cast<size_t>(rows),
                      "order must have at most rows rows");
    for (const int row : order) {
        arguments.require(row >= 0 && row < rows, "order must be of rows of the pairs");
    }
    double slope = 0.0;
    const PairCoefficients c = two_loops(products.data(),
                                         rows,
                                         order.data(),
                                         static_cast<int>(order.size()),
                                         with_g.data(),
                                         g_h,
                                         &slope);
    return py::make_tuple(std::vector<int>(c.row, c.row + c.count),
                          std::vector<double>(c.factor, c.factor + c.count),
                          c.factor_of_h,
                          slope);
}

}  // namespace pynst
