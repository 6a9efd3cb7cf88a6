// bindings_lbfgs.cpp: the vectors of L-BFGS.

#include "../lbfgs_coefficients.h"
#include "bindings.h"

namespace pynst {

void bind_lbfgs(py::module_& m) {
    bind_lbfgs_coefficients(m);
    m.def("lbfgs_direction",
          [](const py::object& pairs,
             const PairCoefficients& c,
             const py::object& h,
             const py::object& d,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_direction", stream);
              const DeviceArray& kept = arguments.array("pairs", pairs);
              const int vectors = kept.length(0), n = kept.length(1);
              const float* v = arguments.in<float>("pairs", kept, {{"2 rows"}, {"n"}});
              require_rows(arguments, c, vectors);
              const float* from = arguments.vector("h", h, n);
              float* to = arguments.vector_out("d", d, n);
              lbfgs_direction(v, c, from, n, to, as_stream(stream));
          });
    m.def("lbfgs_step",
          [](const py::object& x,
             const py::object& d,
             double t,
             const py::object& next,
             const py::object& seen,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_step", stream);
              const DeviceArray& from = arguments.array("x", x);
              const int n = from.size();
              const float *p = arguments.vector("x", from, n), *along = arguments.vector("d", d, n);
              float* to = arguments.vector_out("next", next, n);
              float* clipped = arguments.vector_out("seen", seen, n);
              lbfgs_step(p, along, t, n, to, clipped, as_stream(stream));
          });
    m.def("lbfgs_arrive_scratch", [](const py::object& rows, const py::object& n) {
        const Sizes sizes("lbfgs_arrive_scratch");
        const int count = sizes.integer("rows", rows, kMostPairRows);
        return lbfgs_arrive_scratch(count, sizes.integer("n", n, INT_MAX));
    });
    m.def("destripe", [](const py::object& x, const py::object& y, uintptr_t stream) {
        const Arguments arguments("destripe", stream);
        const DeviceArray& from = arguments.array("x", x);
        const int H = from.length(0), W = from.length(1);
        const float* p = arguments.in<float>("x", from, {{"H"}, {"W"}, {"3", 3}});
        float* q = arguments.out<float>("y", y, {{"", H}, {"", W}, {"", 3}});
        Sizes("destripe").area(H, W);
        arguments.require(p != q, "y must not be x");
        destripe(p, H, W, q, as_stream(stream));
    });
    m.def("lbfgs_gradient",
          [](const py::object& next,
             const py::object& gradient,
             double pull,
             const py::object& next_g,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_gradient", stream);
              const DeviceArray& at = arguments.array("next", next);
              const int n = at.size();
              const float* x = arguments.vector("next", at, n);
              const float* of_loss = arguments.vector("gradient", gradient, n);
              float* to = arguments.vector_out("next_g", next_g, n);
              lbfgs_gradient(x, of_loss, pull, n, to, as_stream(stream));
          });
    m.def("lbfgs_arrive",
          [](const py::object& x,
             const py::object& g,
             const py::object& h,
             const py::object& d,
             const py::object& next,
             const py::object& next_g,
             const py::object& next_h,
             const py::object& pairs,
             int spare,
             const py::object& sums,
             const py::object& scratch,
             uintptr_t stream) {
              const Arguments arguments("lbfgs_arrive", stream);
              const DeviceArray& kept = arguments.array("pairs", pairs);
              const int rows = kept.length(0) / 2, n = kept.length(1);
              arguments.require(rows >= 1 && rows <= kMostPairRows && kept.length(0) == 2 * rows,
                                "pairs must be at most " + std::to_string(kMostPairRows) +
                                    " and even, got " + describe(kept));
              arguments.require(spare >= 0 && spare < rows, "spare must be a row of the pairs");
              const auto vector = [&](const char* name, const py::object& array) {
                  return arguments.vector(name, array, n);
              };
              Arrival step = {};
              step.pairs = arguments.out<float>("pairs", kept, {{"2 rows"}, {"n"}});
              step.x = vector("x", x);
              step.g = vector("g", g);
              step.h = vector("h", h);
              step.d = vector("d", d);
              step.next = vector("next", next);
              step.next_g = vector("next_g", next_g);
              step.next_h = vector("next_h", next_h);
              step.rows = rows;
              step.spare = spare;
              step.n = n;
              double* found = arguments.out<double>("sums", sums, {{"", lbfgs_arrive_sums(rows)}});
              void* memory = arguments.scratch(scratch, lbfgs_arrive_scratch(rows, n));
              lbfgs_arrive(step, found, memory, as_stream(stream));
          });
}

}  // namespace pynst
