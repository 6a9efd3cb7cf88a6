// bindings.cpp: the Python module _cpu. Its functions check type, layout, shape and the relations
// between shapes, release the interpreter and call the op.

#include "bindings.h"

#include <pybind11/stl.h>

#include <memory>

namespace pynst {

PYBIND11_MODULE(_cpu, m) {
    m.doc() =
        "The CPU core: the ops of pynst.backends.base.Backend over NumPy arrays in its own layout.";
    m.def("isa", [] { return inner().name; }, "Name of the instruction set in use.");
    m.def("isas", instruction_sets, "Names of those that this processor has, best first.");
    m.attr("lanes") = kLanes;
    py::class_<Threads>(m, "Threads", "A pool of threads that the ops run on.")
        .def(py::init([](const py::object& count) {
                 const int threads = Sizes("Threads").integer("count", count, Threads::kMost);
                 return std::make_unique<Threads>(threads);
             }),
             py::arg("count"))
        .def_property_readonly("count", &Threads::count);
    bind_image(m);
    bind_vgg19(m);
    bind_filters(m);
    bind_losses(m);
    bind_lbfgs(m);
}

}  // namespace pynst
