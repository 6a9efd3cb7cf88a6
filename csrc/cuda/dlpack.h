// dlpack.h: an array that speaks DLPack, as arguments.h describes arrays.
//
// The structures are those of the DLPack specification, version 0.x ("dltensor" capsules). The
// capsule is only looked at and dies with the call; whoever made it keeps the memory. The producer is
// told the op's stream, and lets it wait for what it still has under way.

#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "inner/platform.cuh"

namespace pynst::dlpack {

namespace py = pybind11;

struct Device {
    int32_t type;
    int32_t index;
};
struct Type {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};
struct Tensor {
    void* data;
    Device device;
    int32_t axes;
    Type type;
    int64_t* shape;
    int64_t* strides;  // in values; null where contiguous
    uint64_t offset;   // in bytes
};

constexpr int32_t kHost = 1, kCuda = 2, kCudaManaged = 13;

// Whether an op can read memory of this kind: on the stand-in for CUDA it is the host's, too.
inline bool on_device(int32_t type) {
#ifdef PYNST_CUDA_ON_CPU
    return type == kHost || type == kCuda;
#else
    return type == kCuda || type == kCudaManaged;
#endif
}

// The name of a type in __cuda_array_interface__, e.g. "<f4" or "|u1"; a description of a type that
// no op takes.
inline std::string type_code(const Type& type) {
    const char* const kinds = "iuf";  // the codes 0, 1, 2
    if (type.code > 2 || type.lanes != 1 || type.bits % 8 != 0) {
        return "type " + std::to_string(type.code) + " of " + std::to_string(type.bits) + " bits";
    }
    return std::string(type.bits == 8 ? "|" : "<") + kinds[type.code] +
           std::to_string(type.bits / 8);
}

// The op's stream as __dlpack__ takes it: memory of the host has none, and the default stream is 1.
inline py::object stream_for(int32_t type, uintptr_t stream) {
    if (type == kHost) {
        return py::none();
    }
    return py::int_(stream == 0 ? 1 : stream);
}

// Calls visit(tensor) if the object has __dlpack__ and its memory is the device's. Returns whether
// it did.
template <class Visit>
bool visit_tensor(const py::object& object, uintptr_t stream, Visit visit) {
    if (!py::hasattr(object, "__dlpack__") || !py::hasattr(object, "__dlpack_device__")) {
        return false;
    }
    const py::tuple device = object.attr("__dlpack_device__")();
    const auto type = device[0].cast<int32_t>();
    if (!on_device(type)) {
        return false;
    }
    const py::capsule capsule =
        object.attr("__dlpack__")(py::arg("stream") = stream_for(type, stream));
    if (std::string(capsule.name()) != "dltensor") {
        throw std::invalid_argument("an array's DLPack capsule must hold a dltensor");
    }
    int current = 0;
    if (cudaGetDevice(&current) != cudaSuccess || device[1].cast<int32_t>() != current) {
        throw std::invalid_argument("an array must lie on the device that is current");
    }
    visit(*capsule.get_pointer<const Tensor>());  // a managed tensor begins with its tensor
    return true;
}

}  // namespace pynst::dlpack
