// bindings.h: what the files of the Python module _cpu share (bindings*.cpp: they alone, and
// arguments.h, know pybind11).

#pragma once

#include <string>

#include "arguments.h"
#include "kernels.h"

namespace pynst {

// Takes the interpreter's lock again.
//
// When the program ends, Python makes every daemon thread that asks for the lock exit, by unwinding
// its stack. That would run destructors without the lock, or abort at the first one that may not
// throw. Such a thread stays here instead until the process is gone, as Python itself does from
// version 3.14 on.
void restore_thread(PyThreadState* state);

// Lets other threads of Python run while one of them is inside an op.
class Release {
   public:
    Release() : state_(PyEval_SaveThread()) {}
    Release(const Release&) = delete;
    Release& operator=(const Release&) = delete;
    ~Release() {
        restore_thread(state_);
    }

   private:
    PyThreadState* state_;
};

// Each defines the functions of one file.
void bind_image(py::module_& m);
void bind_vgg19(py::module_& m);
void bind_filters(py::module_& m);
void bind_losses(py::module_& m);
void bind_lbfgs(py::module_& m);

// The sizes of a convolution, as a function of sizes takes them.
inline ConvShape conv_shape(const Sizes& sizes,
                            const py::object& C,
                            const py::object& N,
                            const py::object& H,
                            const py::object& W) {
    const ConvShape shape = {
        sizes.channels("C", C), sizes.channels("N", N), sizes.pixels("H", H), sizes.pixels("W", W)};
    sizes.area(shape.H, shape.W);
    return shape;
}

inline Pooling pooling(const Arguments& arguments, const std::string& mode) {
    arguments.require(mode == "average" || mode == "max",
                      "mode must be 'average' or 'max', got '" + mode + "'");
    return mode == "max" ? Pooling::max : Pooling::average;
}

inline Padding padding_of(const Arguments& arguments, const std::string& padding) {
    arguments.require(padding == "zero" || padding == "replicate",
                      "padding must be 'zero' or 'replicate', got '" + padding + "'");
    return padding == "zero" ? Padding::zero : Padding::replicate;
}

// The choices of a maximum pooling have to be there in the backward pass.
inline void need_choices(const Arguments& arguments, Pooling mode, const void* choices) {
    arguments.require(mode != Pooling::max || choices != nullptr,
                      "choices must be given for mode 'max', got None");
}

}  // namespace pynst
