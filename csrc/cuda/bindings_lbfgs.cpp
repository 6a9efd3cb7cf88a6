// bindings_lbfgs.cpp: the vectors of L-BFGS.

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "bindings.h"
#include "inner/two_loops.h"

namespace pynst {
namespace {

PairCoefficients pair_coefficients(const Arguments& arguments,
                                   const std::vector<int>& rows,
                                   const std::vector<double>& factors,
                                   double factor_of_g,
                                   int vectors) {
    PairCoefficients c = {};
    arguments.require(
        rows.size() == factors.size() && rows.size() <= std::size(c.row),
        "rows and factors must be as many, and at most " + std::to_string(std::size(c.row)));
    for (const int row : rows) {
        arguments.require(row >= 0 && row < vectors, "rows must be of the pairs");
    }
    c.count = static_cast<int>(rows.size());
    std::copy(rows.begin(), rows.end(), c.row);
    std::copy(factors.begin(), factors.end(), c.factor);
    c.factor_of_g = factor_of_g;
    return c;
}

using Numbers = py::array_t<double, py::array::c_style | py::array::forcecast>;

// The rows that take part, their factors, the factor of g, and the slope.
py::tuple lbfgs_coefficients(const Numbers& products,
                             const std::vector<int>& order,
                             const Numbers& with_g,
                             double g_g) {
    const Arguments arguments("lbfgs_coefficients");
    const auto vectors = with_g.size();
    const int rows = static_cast<int>(vectors / 2);
    arguments.require(
        rows >= 1 && rows <= kMostPairRows && with_g.ndim() == 1 && vectors == 2 * rows,
        "with_g must be a vector of at most " + std::to_string(2 * kMostPairRows) + " values");
    arguments.require(
        products.ndim() == 2 && products.shape(0) == vectors && products.shape(1) == vectors,
        "products must be a square with a row for each value of with_g");
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
                                         g_g,
                                         &slope);
    return py::make_tuple(std::vector<int>(c.row, c.row + c.count),
                          std::vector<double>(c.factor, c.factor + c.count),
                          c.factor_of_g,
                          slope);
}

}  // namespace

void bind_lbfgs(py::module_& m) {
    m.def("lbfgs_coefficients", lbfgs_coefficients);
    m.def("lbfgs_direction",
          [](const py::object& pairs,
             const std::vector<int>& rows,
             const std::vector<double>& factors,
             double factor_of_g,
             const py::object& g,
             const py::object& d,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_direction");
              const DeviceArray kept = arguments.array("pairs", pairs);
              const int vectors = kept.length(0), n = kept.length(1);
              const float* v = arguments.in<float>("pairs", kept, {{"2 rows"}, {"n"}});
              const PairCoefficients c =
                  pair_coefficients(arguments, rows, factors, factor_of_g, vectors);
              const float* from = arguments.in<float>("g", g, {{"n", n}});
              float* to = arguments.out<float>("d", d, {{"n", n}});
              lbfgs_direction(v, c, from, n, to, as_stream(stream));
          });
    m.def("lbfgs_step",
          [](const py::object& x,
             const py::object& d,
             double t,
             const py::object& next,
             const py::object& seen,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_step");
              const DeviceArray from = arguments.array("x", x);
              const int n = from.length(0);
              const float* p = arguments.in<float>("x", from, {{"n"}});
              const float* along = arguments.in<float>("d", d, {{"n", n}});
              float* to = arguments.out<float>("next", next, {{"n", n}});
              float* clipped = arguments.out<float>("seen", seen, {{"n", n}});
              lbfgs_step(p, along, t, n, to, clipped, as_stream(stream));
          });
    m.def("lbfgs_arrive_scratch", [](const py::object& rows, const py::object& n) {
        const Sizes sizes("lbfgs_arrive_scratch");
        const int count = sizes.integer("rows", rows, kMostPairRows);
        return lbfgs_arrive_scratch(count, sizes.integer("n", n, INT_MAX));
    });
    m.def("lbfgs_arrive",
          [](const py::object& x,
             const py::object& g,
             const py::object& d,
             const py::object& next,
             const py::object& gradient,
             double pull,
             const py::object& pairs,
             int spare,
             const py::object& next_g,
             const py::object& sums,
             const py::object& scratch,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_arrive");
              const DeviceArray kept = arguments.array("pairs", pairs);
              const int rows = kept.length(0) / 2, n = kept.length(1);
              arguments.require(rows >= 1 && rows <= kMostPairRows && kept.length(0) == 2 * rows,
                                "pairs must be at most " + std::to_string(kMostPairRows) +
                                    " and even, got " + describe(kept));
              arguments.require(spare >= 0 && spare < rows, "spare must be a row of the pairs");
              const auto vector = [&](const char* name, const py::object& array) {
                  return arguments.in<float>(name, array, {{"n", n}});
              };
              Arrival step = {};
              step.x = vector("x", x);
              step.g = vector("g", g);
              step.d = vector("d", d);
              step.next = vector("next", next);
              step.gradient = vector("gradient", gradient);
              step.pull = pull;
              step.pairs = arguments.out<float>("pairs", kept, {{"2 rows"}, {"n"}});
              step.rows = rows;
              step.spare = spare;
              step.n = n;
              float* to = arguments.out<float>("next_g", next_g, {{"n", n}});
              double* found = arguments.out<double>("sums", sums, {{"", lbfgs_arrive_sums(rows)}});
              void* memory = arguments.scratch(scratch, lbfgs_arrive_scratch(rows, n));
              lbfgs_arrive(step, to, found, memory, as_stream(stream));
          });
}

}  // namespace pynst
