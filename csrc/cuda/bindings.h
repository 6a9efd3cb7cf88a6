// bindings.h: what the files of the Python module _cuda share (bindings*.cpp: they alone, and
// arguments.h, know pybind11).

#pragma once

#include "arguments.h"

namespace pynst {

// Each defines the functions of one file.
void bind_networks(py::module_& m);
void bind_filters(py::module_& m);
void bind_losses(py::module_& m);
void bind_lbfgs(py::module_& m);

inline cudaStream_t as_stream(uintptr_t stream) {
    return reinterpret_cast<cudaStream_t>(stream);
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

inline Products products_of(const Arguments& arguments, const std::string& products) {
    arguments.require(products == "simt" || products == "tensor",
                      "products must be 'simt' or 'tensor', got '" + products + "'");
    return products == "simt" ? Products::simt : Products::tensor;
}

// Pixels of an array of features.
inline int pixels(const Arguments& arguments, const DeviceArray& features) {
    const int H = features.length(0), W = features.length(1);
    arguments.area(H, W);
    return H * W;
}

}  // namespace pynst
