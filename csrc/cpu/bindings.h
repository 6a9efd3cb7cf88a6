// bindings.h: what the files of the Python module _cpu share (bindings*.cpp: they alone, and
// arguments.h, know pybind11).

#pragma once

#include <string>

#include "arguments.h"
#include "kernels.h"

namespace pynst {

using Release = py::gil_scoped_release;

// Each defines the functions of one file.
void bind_image(py::module_& m);
void bind_vgg19(py::module_& m);
void bind_filters(py::module_& m);
void bind_losses(py::module_& m);

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
