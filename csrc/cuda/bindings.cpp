// bindings.cpp: the Python module _cuda. It checks type, layout, shape and the relations between
// shapes of arrays on the device, and launches ops on a stream.
//
// The interpreter's lock is kept, because a launch takes microseconds only. Importing the module
// calls no function of CUDA, so that it can be imported without a driver, and before a fork.

#include "bindings.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#ifndef PYNST_CUDA_ARCHITECTURES
#define PYNST_CUDA_ARCHITECTURES ""
#endif

namespace pynst {
namespace {

// ---- the device ---------------------------------------------------------------------------------

#ifndef PYNST_CUDA_ON_CPU

int driver_version() {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

py::dict device(int index) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index), "device");
    py::dict found;
    found["name"] = std::string(properties.name);
    found["capability"] = py::make_tuple(properties.major, properties.minor);
    found["memory"] = properties.totalGlobalMem;
    return found;
}

void bind_device(py::module_& m) {
    m.def("driver_version", driver_version, "Newest CUDA of the driver, 13000 for 13.0; 0: none.");
    m.def("runtime_version", [] { return CUDART_VERSION; }, "CUDA that the core was built with.");
    m.def(
        "device_count",
        [] {
            int count = 0;
            const cudaError_t status = cudaGetDeviceCount(&count);
            check(status == cudaErrorNoDevice ? cudaSuccess : status, "device_count");
            return count;
        },
        "Devices that this process sees.");
    m.def("device", device, "Name, compute capability and bytes of memory of a device.");
}

#else

void bind_device(py::module_&) {}

#endif

// ---- the end of an evaluation -------------------------------------------------------------------

void bind_evaluation_end(py::module_& m) {
    py::class_<EvaluationEnd>(m, "EvaluationEnd", py::module_local())
        .def(py::init([](const py::object& scale) {
            return EvaluationEnd{Arguments("EvaluationEnd").scale(scale), 0, {}, false};
        }));
    m.def("evaluation_end",
          [](EvaluationEnd& end, uintptr_t stream) { evaluation_end(&end, as_stream(stream)); });
}

// ---- image and input ----------------------------------------------------------------------------

using Axes = std::array<float, 9>;
using Mean = std::array<float, 3>;

InputAxes input_axes(const Axes& axes, const Mean& mean) {
    InputAxes both;
    std::copy(axes.begin(), axes.end(), both.axes);
    std::copy(mean.begin(), mean.end(), both.mean);
    return both;
}

void bind_image_input(py::module_& m) {
    m.def("image_input",
          [](const py::object& image,
             const Axes& axes,
             const Mean& mean,
             const py::object& x,
             uintptr_t stream) {
              const Arguments arguments("image_input", stream);
              const DeviceArray& to = arguments.array("x", x);
              const int H = to.length(1), W = to.length(2);
              float* q = arguments.image_out("x", to, kAny, kAny);
              const float* p = arguments.in<float>("image", image, {{"", H}, {"", W}, {"3", 3}});
              image_input(p, input_axes(axes, mean), H, W, q, as_stream(stream));
          });
    m.def("image_input_backward",
          [](const py::object& dx,
             const Axes& axes,
             const py::object& gradient,
             EvaluationEnd* end,
             uintptr_t stream) {
              const Arguments arguments("image_input_backward", stream);
              const DeviceArray& from = arguments.array("dx", dx);
              const int H = from.length(1), W = from.length(2);
              const float* p = arguments.image("dx", from, kAny, kAny);
              float* q = arguments.out<float>("gradient", gradient, {{"", H}, {"", W}, {"3", 3}});
              image_input_backward(p, input_axes(axes, {}), H, W, q, end, as_stream(stream));
          });
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "The CUDA core: the ops of pynst.backends.base.Backend over arrays on the device.";
    m.attr("architectures") = PYNST_CUDA_ARCHITECTURES;
    // Numbers that Python has to agree with; tests/test_backends_cuda.py asserts that it does.
    m.attr("lanes") = kLanes;
    m.attr("split_scale") = kSplitScale;
    m.attr("scratch_alignment") = kScratchAlignment;
    m.attr("gradient_scale_bytes") = sizeof(GradientScale);
    m.attr("most_pair_rows") = kMostPairRows;
    m.def("lbfgs_arrive_sums", lbfgs_arrive_sums, "Scalar products of one step of L-BFGS.");
    // Local: another build of this module in the process, as in tests, has an exception of its own.
    py::register_local_exception<CudaError>(m, "CudaError", PyExc_RuntimeError);
    bind_device(m);
    bind_evaluation_end(m);
    bind_image_input(m);
    bind_networks(m);
    bind_filters(m);
    bind_losses(m);
    bind_lbfgs(m);
}

}  // namespace pynst
