// sizes.h: the sizes that both cores take from Python as integers. Wrong ones are refused in one
// form:
//
//   gram_scratch: N must be an integer in 1..65536, got 0

#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

namespace pynst {

// More than any network or picture has, and few enough that nothing that is computed from them in
// an int or a size_t overflows.
constexpr int kMostChannels = 1 << 16;
constexpr int kMostPixels = 1 << 30;

// Checks the sizes that one function takes.
class Sizes {
   public:
    explicit Sizes(const char* function) : function_(function) {}

    int channels(const char* name, const pybind11::object& value) const {
        return integer(name, value, kMostChannels);
    }

    int pixels(const char* name, const pybind11::object& value) const {
        return integer(name, value, kMostPixels);
    }

    void area(int H, int W) const {
        if (static_cast<long long>(H) * W > kMostPixels) {
            refuse("H times W must be at most 2^30, got " + std::to_string(H) + " x " +
                   std::to_string(W));
        }
    }

    // An integer of Python, of any size, as one of 1..most. TypeError for what is none.
    int integer(const char* name, const pybind11::object& value, int most) const {
        const auto index =
            pybind11::reinterpret_steal<pybind11::object>(PyNumber_Index(value.ptr()));
        if (!index) {
            throw pybind11::error_already_set();
        }
        int overflow = 0;
        const long long size = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
        if (overflow != 0 || size < 1 || size > most) {
            refuse(std::string(name) + " must be an integer in 1.." + std::to_string(most) +
                   ", got " + std::string(pybind11::str(index)));
        }
        return static_cast<int>(size);
    }

   private:
    [[noreturn]] void refuse(const std::string& message) const {
        throw std::invalid_argument(std::string(function_) + ": " + message);
    }

    const char* function_;
};

}  // namespace pynst
