// lbfgs_coefficients.h: the binding of two_loops.h, which both modules have, each with its own
// bindings.h.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <vector>

#include "bindings.h"
#include "two_loops.h"

namespace pynst {

using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;

inline PairCoefficients pair_coefficients(const std::vector<int>& rows,
                                          const std::vector<double>& factors,
                                          double factor_of_h) {
    Arguments("PairCoefficients")
        .require(
            rows.size() == factors.size() && rows.size() <= 2 * kMostPairRows,
            "rows and factors must be as many, and at most " + std::to_string(2 * kMostPairRows));
    PairCoefficients c = {static_cast<int>(rows.size()), {}, {}, factor_of_h};
    std::copy(rows.begin(), rows.end(), c.row);
    std::copy(factors.begin(), factors.end(), c.factor);
    return c;
}

inline void require_rows(const Arguments& arguments, const PairCoefficients& c, int vectors) {
    for (int i = 0; i < c.count; ++i) {
        arguments.require(c.row[i] >= 0 && c.row[i] < vectors,
                          "rows must be rows of the pairs, got " + std::to_string(c.row[i]));
    }
}

// The coefficients, and the slope.
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
    return py::make_tuple(c, slope);
}

// Python passes coefficients on as they are: as lists they would be made and read again while a GPU
// waits.
inline void bind_lbfgs_coefficients(py::module_& m) {
    py::class_<PairCoefficients>(m, "PairCoefficients", py::module_local())
        .def(py::init(&pair_coefficients))
        .def_property_readonly(
            "rows",
            [](const PairCoefficients& c) { return std::vector<int>(c.row, c.row + c.count); })
        .def_property_readonly("factors",
                               [](const PairCoefficients& c) {
                                   return std::vector<double>(c.factor, c.factor + c.count);
                               })
        .def_readonly("factor_of_h", &PairCoefficients::factor_of_h);
    m.def("lbfgs_coefficients", lbfgs_coefficients);
}

}  // namespace pynst
