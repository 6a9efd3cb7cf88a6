// bindings_lbfgs.cpp: the vectors of L-BFGS.

#include "../lbfgs_coefficients.h"
#include "bindings.h"

namespace pynst {
namespace {

// Reads the pairs as Python has them: float32 (2 rows, n), or a tuple of int16 (2 rows, n) and their
// float32 factors (2 rows, runs).
PairRows pair_rows(const Arguments& arguments, const py::object& pairs) {
    const bool narrow = py::isinstance<py::tuple>(pairs) && py::len(pairs) == 2;
    py::array values = arguments.array("pairs", narrow ? py::object(pairs[py::int_(0)]) : pairs);
    const int count = length(values, 0), n = length(values, 1);
    const int rows = count / 2;
    arguments.require(count % 2 == 0 && rows >= 1 && rows <= kMostPairRows,
                      "pairs must have 2 to " + std::to_string(2 * kMostPairRows) +
                          " rows, an even number, got " + std::to_string(count));
    const std::initializer_list<Axis> axes = {{"2 rows", count}, {"n", n}};
    PairRows all = {rows, static_cast<size_t>(n), nullptr, nullptr, nullptr};
    if (narrow) {
        py::array factors = arguments.array("factors of pairs", py::object(pairs[py::int_(1)]));
        all.numbers = arguments.out<int16_t>("pairs", values, axes);
        const int runs = static_cast<int>(runs_of(all.n));
        all.factors =
            arguments.out<float>("factors of pairs", factors, {{"2 rows", count}, {"runs", runs}});
    } else {
        all.values = arguments.out<float>("pairs", values, axes);
    }
    return all;
}

struct Vector {
    const Arguments& arguments;
    int n;

    const float* operator()(const char* name, const py::array& a) const {
        return arguments.vector(name, a, n);
    }
    float* out(const char* name, py::array& a) const {
        return arguments.vector_out(name, a, n);
    }
};

void bind_direction(py::module_& m) {
    bind_lbfgs_coefficients(m);
    m.def("lbfgs_direction",
          [](Threads& threads,
             const py::object& pairs,
             const PairCoefficients& c,
             const py::array& h,
             py::array d) {
              const Arguments arguments("lbfgs_direction");
              const PairRows all = pair_rows(arguments, pairs);
              require_rows(arguments, c, 2 * all.rows);
              const Vector vector{arguments, static_cast<int>(all.n)};
              const float* of_h = vector("h", h);
              float* to = vector.out("d", d);
              const Release release;
              lbfgs_direction(threads, all, c, of_h, to);
          });
    m.def("lbfgs_step",
          [](Threads& threads,
             const py::array& x,
             const py::array& d,
             double t,
             py::array next,
             py::array seen) {
              const Arguments arguments("lbfgs_step");
              const Vector vector{arguments, size(x)};
              const float *from = vector("x", x), *along = vector("d", d);
              float *to = vector.out("next", next), *clipped = vector.out("seen", seen);
              const Release release;
              lbfgs_step(threads, from, along, t, vector.n, to, clipped);
          });
}

void bind_arrival(py::module_& m) {
    m.def("lbfgs_gradient",
          [](Threads& threads,
             const py::array& next,
             const py::array& gradient,
             double pull,
             py::array next_g) {
              const Arguments arguments("lbfgs_gradient");
              const Vector vector{arguments, size(next)};
              const float *at = vector("next", next), *of_loss = vector("gradient", gradient);
              float* to = vector.out("next_g", next_g);
              const Release release;
              lbfgs_gradient(threads, at, of_loss, pull, vector.n, to);
          });
    m.def("lbfgs_arrive_scratch", [](const py::object& rows, const py::object& n) {
        const Sizes sizes("lbfgs_arrive_scratch");
        return lbfgs_arrive_scratch(sizes.channels("rows", rows), sizes.pixels("n", n));
    });
    m.def("lbfgs_arrive",
          [](Threads& threads,
             const py::array& x,
             const py::array& g,
             const py::array& h,
             const py::array& d,
             const py::array& next,
             const py::array& next_g,
             const py::array& next_h,
             const py::object& pairs,
             int spare,
             py::array sums,
             py::array scratch) {
              const Arguments arguments("lbfgs_arrive");
              const PairRows all = pair_rows(arguments, pairs);
              arguments.require(spare >= 0 && spare < all.rows,
                                "spare must be a row of the steps, got " + std::to_string(spare));
              const Vector vector{arguments, static_cast<int>(all.n)};
              const int count = static_cast<int>(lbfgs_arrive_sums(all.rows));
              const Arrival step = {
                  all,
                  spare,
                  vector("x", x),
                  vector("g", g),
                  vector("h", h),
                  vector("d", d),
                  vector("next", next),
                  vector("next_g", next_g),
                  vector("next_h", next_h),
              };
              double* to = arguments.out<double>("sums", sums, {{"", count}});
              void* memory = arguments.scratch(scratch, lbfgs_arrive_scratch(all.rows, all.n));
              const Release release;
              lbfgs_arrive(threads, step, to, memory);
          });
}

void bind_destripe(py::module_& m) {
    m.def("destripe", [](Threads& threads, const py::array& x, py::array y) {
        const Arguments arguments("destripe");
        const Pixels all = {1, length(x, 0), length(x, 1), 3};
        const float* from = arguments.pixels("x", x, all);
        float* to = arguments.pixels_out("y", y, all);
        arguments.require(from != to, "y must not be x");
        const Release release;
        destripe(threads, all.H, all.W, from, to);
    });
}

}  // namespace

void bind_lbfgs(py::module_& m) {
    bind_destripe(m);
    bind_direction(m);
    bind_arrival(m);
}

}  // namespace pynst
