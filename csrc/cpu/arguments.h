// arguments.h: checks of the arrays that Python hands to an op, with one form of message:
//
//   gram: F must be float32 of shape (4, H, W, 16), got float64 of shape (64, 100)

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <climits>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "../sizes.h"
#include "kernels.h"

namespace pynst {

namespace py = pybind11;

constexpr int kAny = -1;

template <class T>
inline const char* type_name();
template <>
inline const char* type_name<float>() {
    return "float32";
}
template <>
inline const char* type_name<double>() {
    return "float64";
}
template <>
inline const char* type_name<uint8_t>() {
    return "uint8";
}
template <>
inline const char* type_name<int16_t>() {
    return "int16";
}
template <>
inline const char* type_name<uint16_t>() {
    return "uint16";
}
template <>
inline const char* type_name<int32_t>() {
    return "int32";
}
template <>
inline const char* type_name<uint32_t>() {
    return "uint32";
}

// One axis of a wanted shape: its letter for the message, and its length or kAny.
struct Axis {
    const char* letter;
    py::ssize_t length = kAny;
};

inline std::string describe(const py::array& a) {
    std::string shape = "(";
    for (py::ssize_t i = 0; i < a.ndim(); ++i) {
        shape += (i ? ", " : "") + std::to_string(a.shape(i));
    }
    return py::str(a.dtype()).cast<std::string>() + " of shape " + shape +
           (a.ndim() == 1 ? ",)" : ")");
}

inline std::string describe(const char* type, std::initializer_list<Axis> axes) {
    std::string shape = "(", separator;
    for (const Axis& axis : axes) {
        shape += separator + (axis.length == kAny ? axis.letter : std::to_string(axis.length));
        separator = ", ";
    }
    return std::string(type) + " of shape " + shape + (axes.size() == 1 ? ",)" : ")");
}

// Checks the arguments of one op; the messages name the op and the argument.
class Arguments {
   public:
    explicit Arguments(const char* op) : op_(op) {}

    template <class T>
    const T* in(const char* name, const py::array& a, std::initializer_list<Axis> axes) const {
        bool fits = py::isinstance<py::array_t<T>>(a) && a.ndim() == py::ssize_t(axes.size());
        py::ssize_t i = 0;
        for (const Axis& axis : axes) {
            fits = fits && (axis.length == kAny ? a.shape(i) >= 1 && a.shape(i) <= INT_MAX
                                                : a.shape(i) == axis.length);
            ++i;
        }
        if (!fits) {  // the message costs more than the check, and is made only where it is needed
            fail(std::string(name) + " must be " + describe(type_name<T>(), axes) + ", got " +
                 describe(a));
        }
        if (!(a.flags() & py::array::c_style)) {
            fail(std::string(name) + " must be C-contiguous, got a strided view");
        }
        return static_cast<const T*>(a.data());
    }

    template <class T>
    T* out(const char* name, py::array& a, std::initializer_list<Axis> axes) const {
        in<T>(name, a, axes);
        if (!a.writeable()) {
            fail(std::string(name) + " must be writable, got a read-only array");
        }
        return static_cast<T*>(a.mutable_data());
    }

    // n values in any shape, such as an image as a vector.
    const float* vector(const char* name, const py::array& a, int n) const {
        if (n < 1 || a.size() != n || !py::isinstance<py::array_t<float>>(a)) {
            const std::string wanted = n < 1 ? "1 to 2^31 - 1" : std::to_string(n);
            fail(std::string(name) + " must have " + wanted + " values of float32, got " +
                 describe(a));
        }
        if (!(a.flags() & py::array::c_style)) {
            fail(std::string(name) + " must be C-contiguous, got a strided view");
        }
        return static_cast<const float*>(a.data());
    }
    float* vector_out(const char* name, py::array& a, int n) const {
        vector(name, a, n);
        if (!a.writeable()) {
            fail(std::string(name) + " must be writable, got a read-only array");
        }
        return static_cast<float*>(a.mutable_data());
    }

    py::array array(const char* name, const py::object& a) const {
        if (!py::isinstance<py::array>(a)) {
            fail(std::string(name) + " must be an array or None, got " +
                 std::string(py::str(py::type::of(a).attr("__name__"))));
        }
        return py::reinterpret_borrow<py::array>(a);
    }

    // None gives null.
    template <class T>
    const T* in_or_none(const char* name,
                        const py::object& a,
                        std::initializer_list<Axis> axes) const {
        return a.is_none() ? nullptr : in<T>(name, array(name, a), axes);
    }
    template <class T>
    T* out_or_none(const char* name, const py::object& a, std::initializer_list<Axis> axes) const {
        if (a.is_none()) {
            return nullptr;
        }
        py::array as_array = array(name, a);
        return out<T>(name, as_array, axes);
    }

    // Arrays in the core's layout; a length of kAny accepts any.
    const float* features(const char* name, const py::array& a, int blocks, int H, int W) const {
        const float* p =
            in<float>(name, a, {{"C / 16", blocks}, {"H", H}, {"W", W}, {"16", kLanes}});
        Sizes(op_).area(static_cast<int>(a.shape(1)), static_cast<int>(a.shape(2)));
        return p;
    }
    float* features_out(const char* name, py::array& a, int blocks, int H, int W) const {
        return out<float>(name, a, {{"C / 16", blocks}, {"H", H}, {"W", W}, {"16", kLanes}});
    }
    // Factors of the pixels of features, or null for ones.
    const float* pixel_weights(const py::object& a, int H, int W) const {
        return in_or_none<float>("pixel_weights", a, {{"H", H}, {"W", W}});
    }
    const float* image(const char* name, const py::array& a, int H, int W) const {
        const float* p = in<float>(name, a, {{"3", 3}, {"H", H}, {"W", W}});
        Sizes(op_).area(static_cast<int>(a.shape(1)), static_cast<int>(a.shape(2)));
        return p;
    }
    float* image_out(const char* name, py::array& a, int H, int W) const {
        return out<float>(name, a, {{"3", 3}, {"H", H}, {"W", W}});
    }
    const float* pixels(const char* name, const py::array& a, Pixels all) const {
        const float* p = all.lanes == 1
                             ? in<float>(name, a, {{"", all.planes}, {"", all.H}, {"", all.W}})
                             : in<float>(name, a, {{"", all.H}, {"", all.W}, {"", all.lanes}});
        Sizes(op_).area(all.H, all.W);
        return p;
    }
    float* pixels_out(const char* name, py::array& a, Pixels all) const {
        pixels(name, a, all);
        if (!a.writeable()) {
            fail(std::string(name) + " must be writable, got a read-only array");
        }
        return static_cast<float*>(a.mutable_data());
    }
    const uint16_t* bits(const py::array& a, int blocks, int H, int W) const {
        return in<uint16_t>("bits", a, {{"C / 16", blocks}, {"H", H}, {"W", W}});
    }
    uint16_t* bits_out(const py::object& a, int blocks, int H, int W) const {
        return out_or_none<uint16_t>("bits", a, {{"C / 16", blocks}, {"H", H}, {"W", W}});
    }
    const uint32_t* choices_or_none(const py::object& a, int blocks, int h, int w) const {
        return in_or_none<uint32_t>("choices", a, {{"C / 16", blocks}, {"H / 2", h}, {"W / 2", w}});
    }
    uint32_t* choices_out(const py::object& a, int blocks, int h, int w) const {
        return out_or_none<uint32_t>(
            "choices", a, {{"C / 16", blocks}, {"H / 2", h}, {"W / 2", w}});
    }

    void* scratch(py::array& a, size_t bytes) const {
        void* p = out<uint8_t>("scratch", a, {{"bytes"}});
        if (static_cast<size_t>(a.size()) < bytes) {
            fail("scratch must hold " + std::to_string(bytes) + " bytes, got " +
                 std::to_string(a.size()));
        }
        return p;
    }

    void require(bool holds, const std::string& message) const {
        if (!holds) {
            fail(message);
        }
    }

   private:
    [[noreturn]] void fail(const std::string& message) const {
        throw std::invalid_argument(std::string(op_) + ": " + message);
    }

    const char* op_;
};

// Length of an axis; 1 where there is none or it is too long, and the check of the shape refuses
// it.
inline int length(const py::array& a, py::ssize_t axis) {
    return axis < a.ndim() && a.shape(axis) <= INT_MAX ? static_cast<int>(a.shape(axis)) : 1;
}

// All values; 0 for more than an int counts.
inline int size(const py::array& a) {
    return a.size() <= INT_MAX ? static_cast<int>(a.size()) : 0;
}

}  // namespace pynst
