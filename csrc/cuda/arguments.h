// arguments.h: checks of the device arrays that Python hands to an op, with one form of message:
//
//   gram: F must be float32 or float16 of shape (H, W, 64), got float64 of shape (64, 100)
//
// An array is any object with __cuda_array_interface__, or DLPack's __dlpack__ and memory on the
// device; nothing of it is kept after the call. Where it names a stream on which it is still being
// written, the op's stream waits for that one.

#pragma once

#include <pybind11/pybind11.h>

#include <climits>
#include <forward_list>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../sizes.h"
#include "device_array.h"

namespace pynst {

namespace py = pybind11;

constexpr int kAny = -1;
constexpr uintptr_t kVector = 16;  // bytes that kernels load at a time

// One axis of a wanted shape: its letter for the message, and its length or kAny.
struct Axis {
    const char* letter;
    int length = kAny;
};

inline std::string describe(const std::string& type, std::initializer_list<Axis> axes) {
    std::string shape, separator;
    for (const Axis& axis : axes) {
        shape += separator + (axis.length == kAny ? axis.letter : std::to_string(axis.length));
        separator = ", ";
    }
    return type + " of shape (" + shape + (axes.size() == 1 ? ",)" : ")");
}

// The name of an attribute, which Python would make anew each time it is asked by a C string.
struct Attribute {
    py::handle name;

    explicit Attribute(const char* text) : name(PyUnicode_InternFromString(text)) {}

    py::object of(py::handle object) const {
        const py::object found = if_any(object);
        if (!found) {
            throw py::error_already_set();
        }
        return found;
    }
    // Null, with Python's error set, where there is none.
    py::object if_any(py::handle object) const {
        return py::reinterpret_steal<py::object>(PyObject_GetAttr(object.ptr(), name.ptr()));
    }
};

// Checks the arguments of one op; the messages name the op and the argument.
class Arguments {
   public:
    // `stream` is that on which the op will run; a function that takes no arrays has none.
    explicit Arguments(const char* op, uintptr_t stream = 0) : op_(op), stream_(stream) {}

    // Returns what an object says of its array; the reference is valid as long as these arguments are.
    // An array of pynst/backends/device.py never changes: it is read once, and what was read is kept in
    // its attribute `described`.
    const DeviceArray& array(const char* name, const py::object& object) const {
        static const Attribute attribute("described");
        py::object described = attribute.if_any(object);
        if (!described) {
            PyErr_Clear();
            return strangers_.emplace_front(read_stranger(name, object));
        }
        if (described.is_none()) {
            auto own = std::make_unique<DeviceArray>(read_own(name, object));
            const auto destroy = [](PyObject* capsule) {
                delete static_cast<DeviceArray*>(PyCapsule_GetPointer(capsule, kDescription));
            };
            described = py::capsule(own.get(), kDescription, destroy);
            own.release();
            py::setattr(object, attribute.name, described);
        } else if (!PyCapsule_IsValid(described.ptr(), kDescription)) {
            return strangers_.emplace_front(read_stranger(name, object));
        }
        // Another thread may give the object a description of its own; this one has to stay.
        kept_.push_front(described);
        return *static_cast<const DeviceArray*>(
            PyCapsule_GetPointer(described.ptr(), kDescription));
    }

    DeviceArray read_stranger(const char* name, const py::object& object) const {
        const py::object found = py::getattr(object, "__cuda_array_interface__", py::none());
        DeviceArray a;
        if (found.is_none()) {
            const bool is_tensor = dlpack::visit_tensor(
                object, stream_, [&](const dlpack::Tensor& tensor) { a = from_tensor(tensor); });
            if (!is_tensor) {
                refuse(name, object);
            }
            return a;
        }
        const py::dict interface = found;
        const py::tuple data = interface["data"];
        a.code = interface["typestr"].cast<std::string>();
        a.shape = interface["shape"].cast<std::vector<py::ssize_t>>();
        a.pointer = data[0].cast<uintptr_t>();
        a.read_only = data[1].cast<bool>();
        if (interface.contains("strides") && !interface["strides"].is_none()) {
            const auto strides = interface["strides"].cast<std::vector<py::ssize_t>>();
            a.contiguous = is_dense(a.shape, strides, std::stoi(a.code.substr(2)));
        }
        if (interface.contains("stream") && !interface["stream"].is_none()) {
            wait_for(name, interface["stream"].cast<uintptr_t>());
        }
        return a;
    }

    // The pointer to an array of type T and of this shape.
    template <class T>
    const T* in(const char* name,
                const DeviceArray& a,
                std::initializer_list<Axis> axes,
                uintptr_t alignment = sizeof(T)) const {
        check(name, a, a.code == kType<T>.code, kType<T>.name, axes, alignment);
        return reinterpret_cast<const T*>(a.pointer);
    }
    template <class T>
    const T* in(const char* name,
                const py::object& object,
                std::initializer_list<Axis> axes,
                uintptr_t alignment = sizeof(T)) const {
        return in<T>(name, array(name, object), axes, alignment);
    }
    template <class T>
    T* out(const char* name,
           const DeviceArray& a,
           std::initializer_list<Axis> axes,
           uintptr_t alignment = sizeof(T)) const {
        in<T>(name, a, axes, alignment);
        if (a.read_only) {
            fail(std::string(name) + " must be writable, got a read-only array");
        }
        return reinterpret_cast<T*>(a.pointer);
    }
    template <class T>
    T* out(const char* name,
           const py::object& object,
           std::initializer_list<Axis> axes,
           uintptr_t alignment = sizeof(T)) const {
        return out<T>(name, array(name, object), axes, alignment);
    }

    // None gives null.
    template <class T>
    const T* in_or_none(const char* name,
                        const py::object& object,
                        std::initializer_list<Axis> axes) const {
        return object.is_none() ? nullptr : in<T>(name, object, axes);
    }
    template <class T>
    T* out_or_none(const char* name,
                   const py::object& object,
                   std::initializer_list<Axis> axes) const {
        return object.is_none() ? nullptr : out<T>(name, object, axes);
    }

    // n values in any shape, such as an image as a vector.
    const float* vector(const char* name, const DeviceArray& a, int n) const {
        if (n < 1 || a.size() != n || a.code != kType<float>.code) {
            const std::string wanted = n < 1 ? "1 to 2^31 - 1" : std::to_string(n);
            fail(std::string(name) + " must have " + wanted + " values of float32, got " +
                 describe(a));
        }
        check_place(name, a, sizeof(float));
        return reinterpret_cast<const float*>(a.pointer);
    }
    const float* vector(const char* name, const py::object& object, int n) const {
        return vector(name, array(name, object), n);
    }
    float* vector_out(const char* name, const py::object& object, int n) const {
        const DeviceArray& a = array(name, object);
        vector(name, a, n);
        if (a.read_only) {
            fail(std::string(name) + " must be writable, got a read-only array");
        }
        return reinterpret_cast<float*>(a.pointer);
    }

    // Arrays in the core's layout (common.cuh); a length of kAny accepts any.
    template <class T>
    const T* features(const char* name, const DeviceArray& a, int H, int W, int C) const {
        const T* p = in<T>(name, a, {{"H", H}, {"W", W}, {"padded C", C}}, kVector);
        if (a.length(2) % kLanes != 0) {
            fail(std::string(name) + " must have channels in eights, got " + describe(a));
        }
        return p;
    }
    template <class T>
    T* features_out(const char* name, const py::object& a, int H, int W, int C) const {
        return out<T>(name, a, {{"H", H}, {"W", W}, {"padded C", C}}, kVector);
    }
    // Factors of the pixels of features, or null for ones.
    const float* pixel_weights(const py::object& a, int H, int W) const {
        return in_or_none<float>("pixel_weights", a, {{"H", H}, {"W", W}});
    }
    const float* image(const char* name, const DeviceArray& a, int H, int W) const {
        return in<float>(name, a, {{"3", 3}, {"H", H}, {"W", W}});
    }
    float* image_out(const char* name, const DeviceArray& a, int H, int W) const {
        return out<float>(name, a, {{"3", 3}, {"H", H}, {"W", W}});
    }
    const uint8_t* bits(const py::object& a, int H, int W, int C) const {
        return in<uint8_t>("bits", a, {{"H", H}, {"W", W}, {"", C / kLanes}});
    }
    uint8_t* bits_out(const py::object& a, int H, int W, int C) const {
        return out_or_none<uint8_t>("bits", a, {{"H", H}, {"W", W}, {"", C / kLanes}});
    }
    const uint16_t* choices(Pooling mode, const py::object& a, int h, int w, int C) const {
        require(mode == Pooling::average || !a.is_none(),
                "choices must be given for mode 'max', got None");
        return in_or_none<uint16_t>("choices", a, {{"H / 2", h}, {"W / 2", w}, {"", C / kLanes}});
    }
    uint16_t* choices_out(const py::object& a, int h, int w, int C) const {
        return out_or_none<uint16_t>("choices", a, {{"H / 2", h}, {"W / 2", w}, {"", C / kLanes}});
    }
    GradientScale* scale(const py::object& a) const {
        constexpr int kWords = sizeof(GradientScale) / sizeof(uint32_t);
        return reinterpret_cast<GradientScale*>(
            out_or_none<uint32_t>("gradient_scale", a, {{"4", kWords}}));
    }

    void* scratch(const py::object& object, size_t bytes) const {
        const DeviceArray& a = array("scratch", object);
        void* p = out<uint8_t>("scratch", a, {{"bytes"}}, kScratchAlignment);
        if (static_cast<size_t>(a.shape[0]) < bytes) {
            fail("scratch must hold " + std::to_string(bytes) + " bytes, got " +
                 std::to_string(a.shape[0]));
        }
        return p;
    }

    // Calls op with a value of the features' type, half or float.
    template <class Op>
    void with_type(const char* name, const DeviceArray& a, Op op) const {
        if (a.is_half()) {
            op(half());
        } else {
            check(name,
                  a,
                  a.code == kType<float>.code,
                  "float32 or float16",
                  {{"H"}, {"W"}, {"padded C"}},
                  kVector);
            op(float());
        }
    }

    void area(int H, int W) const {
        Sizes(op_).area(H, W);
    }

    void require(bool holds, const std::string& message) const {
        if (!holds) {
            fail(message);
        }
    }

   private:
    static constexpr const char* kDescription = "pynst.DeviceArray";

    // Its attributes tell the same as its interface does, in less time.
    DeviceArray read_own(const char* name, const py::object& array) const {
        static const Attribute dtype("dtype"), str("str"), shape("shape"), pointer("pointer");
        DeviceArray a;
        try {
            a.code = str.of(dtype.of(array)).cast<std::string>();
            for (const py::handle length : py::tuple(shape.of(array))) {
                a.shape.push_back(length.cast<py::ssize_t>());
            }
            a.pointer = pointer.of(array).cast<uintptr_t>();
        } catch (const py::error_already_set&) {
            refuse(name, array);
        } catch (const py::cast_error&) {
            refuse(name, array);
        }
        return a;
    }

    [[noreturn]] void refuse(const char* name, const py::object& object) const {
        fail(std::string(name) + " must be an array on the device, got " +
             std::string(py::str(py::type::of(object).attr("__name__"))));
    }

    [[noreturn]] void fail(const std::string& message) const {
        throw std::invalid_argument(std::string(op_) + ": " + message);
    }

    // Lets the op's stream wait for all that the producer's stream has been given so far.
    void wait_for(const char* name, uintptr_t producer) const {
        if (producer == 0) {
            fail(std::string(name) + " must name its stream by 1, 2 or a handle, got 0");
        }
        // 1 and 2, the two default streams, are CUDA's handles of them, too.
        const auto from = reinterpret_cast<cudaStream_t>(producer);
        const auto to = reinterpret_cast<cudaStream_t>(stream_ == 0 ? 1 : stream_);
        if (from == to) {
            return;
        }
        cudaEvent_t written = nullptr;
        pynst::check(cudaEventCreateWithFlags(&written, cudaEventDisableTiming), op_);
        const cudaError_t recorded = cudaEventRecord(written, from);
        const cudaError_t waited = cudaStreamWaitEvent(to, written, 0);
        cudaEventDestroy(written);  // CUDA keeps it until it is not needed any more
        pynst::check(recorded, op_);
        pynst::check(waited, op_);
    }

    void check(const char* name,
               const DeviceArray& a,
               bool of_type,
               const char* type,
               std::initializer_list<Axis> axes,
               uintptr_t alignment) const {
        bool fits = of_type && a.shape.size() == axes.size();
        size_t i = 0;
        for (const Axis& axis : axes) {
            fits = fits && (axis.length == kAny ? a.shape[i] >= 1 && a.shape[i] <= INT_MAX
                                                : a.shape[i] == axis.length);
            ++i;
        }
        if (!fits) {  // the message costs more than the check, and is made only where it is needed
            fail(std::string(name) + " must be " + describe(type, axes) + ", got " + describe(a));
        }
        check_place(name, a, alignment);
    }

    void check_place(const char* name, const DeviceArray& a, uintptr_t alignment) const {
        if (!a.contiguous) {
            fail(std::string(name) + " must be C-contiguous, got a strided view");
        }
        if (a.pointer == 0 || a.pointer % alignment != 0) {
            fail(std::string(name) + " must lie at a multiple of " + std::to_string(alignment) +
                 " bytes");
        }
    }

    const char* op_;
    uintptr_t stream_;
    mutable std::forward_list<py::object> kept_;        // what `array` has returned of our own
    mutable std::forward_list<DeviceArray> strangers_;  // and of other libraries
};

}  // namespace pynst
