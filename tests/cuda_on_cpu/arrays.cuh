// arrays.cuh: device arrays of exactly their size, for every_kernel.cu.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "kernels.h"

namespace pynst {
namespace {

std::mt19937 generator(0);
int checks = 0;

void require(bool true_, const std::string& what) {
    ++checks;
    if (!true_) {
        std::fprintf(stderr, "every_kernel: %s\n", what.c_str());
        std::exit(1);
    }
}

bool is_number(float v) {
    return std::isfinite(v);
}
bool is_number(double v) {
    return std::isfinite(v);
}
bool is_number(half v) {
    return std::isfinite(__half2float(v));
}

// Device memory; all bits set, which is NaN, until filled.
template <class T>
class Array {
   public:
    explicit Array(size_t count) : count_(count) {
        cudaMalloc(&memory_, std::max<size_t>(count * sizeof(T), 1));
    }
    ~Array() {
        cudaFree(memory_);
    }
    Array(const Array&) = delete;
    operator T*() {
        return memory_;
    }
    size_t size() const {
        return count_;
    }
    void require_numbers(const std::string& what) const {
        require(std::all_of(memory_, memory_ + count_, [](T v) { return is_number(v); }), what);
    }

   private:
    T* memory_ = nullptr;
    size_t count_;
};

void set(float& to, double value) {
    to = static_cast<float>(value);
}
void set(double& to, double value) {
    to = value;
}
void set(half& to, double value) {
    to = __float2half(static_cast<float>(value));
}

// Rows of `stored` values, of which the first `real` are random and the others zero.
template <class T>
struct Random : Array<T> {
    Random(size_t rows, int real, int stored) : Array<T>(rows * static_cast<size_t>(stored)) {
        std::uniform_real_distribution<double> values(-0.25, 1.0);
        T* const at = *this;
        for (size_t i = 0; i < this->size(); ++i) {
            const bool is_real = static_cast<int>(i % static_cast<size_t>(stored)) < real;
            set(at[i], is_real ? values(generator) : 0.0);
        }
    }
    explicit Random(size_t count) : Random(count, 1, 1) {}
};

template <class Integer>
struct RandomBits : Array<Integer> {
    explicit RandomBits(size_t count) : Array<Integer>(count) {
        Integer* const at = *this;
        std::generate(at, at + count, [] { return static_cast<Integer>(generator()); });
    }
};

using Scratch = Array<unsigned char>;

size_t pixels_of(int H, int W) {
    return static_cast<size_t>(H) * static_cast<size_t>(W);
}
size_t lanes_of(size_t pixels, int C) {
    return pixels * static_cast<size_t>(padded(C));
}

// ---- weights in the three forms -----------------------------------------------------------------

// (9, padded(rows), padded(columns))
template <class Weights>
struct Packed;

template <class T>
struct Packed<const T*> : Random<T> {
    Packed(int rows, int columns)
        : Random<T>(9 * static_cast<size_t>(padded(rows)), columns, padded(columns)) {}
    const T* get() {
        return *this;
    }
};
template <>
struct Packed<SplitWeights> {
    Random<half> high, low;
    Packed(int rows, int columns)
        : high(9 * static_cast<size_t>(padded(rows)), columns, padded(columns)),
          low(9 * static_cast<size_t>(padded(rows)), columns, padded(columns)) {}
    SplitWeights get() {
        return {high, low};
    }
};

struct Scale : Array<GradientScale> {
    Scale() : Array<GradientScale>(1) {
        **this = {256.0f, 0, 256.0f, 1};
    }
    void end() {
        EvaluationEnd end = {*this, 0, {}, false};
        evaluation_end(&end, nullptr);
        require(is_number((**this).scale), "the next gradient scale");
    }
    GradientScale& operator*() {
        return static_cast<GradientScale*>(*this)[0];
    }
};

struct Shape {
    int C, N, H, W;
    std::string text() const {
        return " of " + std::to_string(C) + " -> " + std::to_string(N) + ", " + std::to_string(H) +
               " x " + std::to_string(W);
    }
};

}  // namespace
}  // namespace pynst
