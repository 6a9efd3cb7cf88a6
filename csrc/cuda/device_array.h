// device_array.h: what Python says of an array on the device, and its name in messages.

#pragma once

#include <pybind11/pybind11.h>

#include <climits>
#include <string>
#include <vector>

#include "dlpack.h"
#include "kernels.h"

namespace pynst {

namespace py = pybind11;

// The name of a type in __cuda_array_interface__, and the name that people know.
struct TypeName {
    const char* code;
    const char* name;
};
template <class T>
inline constexpr TypeName kType = {};
template <>
inline constexpr TypeName kType<half> = {"<f2", "float16"};
template <>
inline constexpr TypeName kType<float> = {"<f4", "float32"};
template <>
inline constexpr TypeName kType<double> = {"<f8", "float64"};
template <>
inline constexpr TypeName kType<uint8_t> = {"|u1", "uint8"};
template <>
inline constexpr TypeName kType<uint16_t> = {"<u2", "uint16"};
template <>
inline constexpr TypeName kType<uint32_t> = {"<u4", "uint32"};
template <>
inline constexpr TypeName kType<int32_t> = {"<i4", "int32"};

// A block of device memory as Python describes it.
struct DeviceArray {
    std::string code;
    std::vector<py::ssize_t> shape;
    uintptr_t pointer = 0;
    bool read_only = false;
    bool contiguous = true;

    bool is_half() const {
        return code == kType<half>.code;
    }
    // All values; 0 for more than an int counts.
    int size() const {
        int64_t product = 1;
        for (const py::ssize_t length : shape) {
            product = length < 0 || length > INT_MAX ? 0 : product * length;
            product = product > INT_MAX ? 0 : product;
        }
        return static_cast<int>(product);
    }
    // Length of an axis; 1 where there is none, and the check of the shape then refuses it.
    int length(size_t axis) const {
        return axis < shape.size() && shape[axis] <= INT_MAX ? static_cast<int>(shape[axis]) : 1;
    }
};

inline std::string describe(const DeviceArray& a) {
    std::string name = a.code, axes, separator;
    for (const TypeName& known : {kType<half>,
                                  kType<float>,
                                  kType<double>,
                                  kType<uint8_t>,
                                  kType<uint16_t>,
                                  kType<uint32_t>,
                                  kType<int32_t>}) {
        name = a.code == known.code ? known.name : name;
    }
    for (const py::ssize_t length : a.shape) {
        axes += separator + std::to_string(length);
        separator = ", ";
    }
    return name + " of shape (" + axes + (a.shape.size() == 1 ? ",)" : ")");
}

// Whether the strides are those of values that follow one another; `step` is the stride that the
// last axis must have.
inline bool is_dense(const std::vector<py::ssize_t>& shape,
                     const std::vector<py::ssize_t>& strides,
                     py::ssize_t step) {
    bool dense = true;
    for (size_t i = shape.size(); i-- > 0;) {
        dense = dense && (shape[i] == 1 || strides.at(i) == step);
        step *= shape[i];
    }
    return dense;
}

inline DeviceArray from_tensor(const dlpack::Tensor& tensor) {
    DeviceArray a;
    a.code = dlpack::type_code(tensor.type);
    a.shape.assign(tensor.shape, tensor.shape + tensor.axes);
    a.pointer = reinterpret_cast<uintptr_t>(tensor.data) + tensor.offset;
    if (tensor.strides != nullptr) {
        a.contiguous = is_dense(a.shape, {tensor.strides, tensor.strides + tensor.axes}, 1);
    }
    return a;
}

}  // namespace pynst
