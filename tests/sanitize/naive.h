// naive.h: the ops as plain float64 loops over logical arrays (C, H, W), to compare with.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace naive {

using std::size_t;
using Values = std::vector<double>;

// One array (C, H, W).
struct Maps {
    int C, H, W;
    Values v;

    Maps(int c, int h, int w) : C(c), H(h), W(w), v(static_cast<size_t>(c) * h * w) {}
    double& at(int c, int y, int x) {
        return v[(static_cast<size_t>(c) * H + y) * W + x];
    }
    double at(int c, int y, int x) const {
        return v[(static_cast<size_t>(c) * H + y) * W + x];
    }
};

enum class Edge { zero, replicate, mirror };

// y[n] = bias[n] + sum over c of w[n][c] * x[c]; weights (N, C, size, size).
Maps correlate(const Maps& x, const Values& weights, const Values& bias, int size, Edge edge);
// The transpose: the gradient with respect to x.
Maps correlate_transposed(const Maps& dy, const Values& weights, int C, int size, Edge edge);

Maps rectified(const Maps& z);
Maps gated(const Maps& dy, const Maps& y);  // dy where y > 0

// chosen: for the maximum, 0..3; for the mean unused.
Maps pooled(const Maps& x, bool maximum, std::vector<uint8_t>& chosen);
Maps unpooled(const Maps& dy, int H, int W, bool maximum, const std::vector<uint8_t>& chosen);

Maps binomial(const Maps& x);
Maps binomial_transposed(const Maps& dy, int H, int W);

// Images are pixel by pixel, (H, W, 3).
Values image_input(const Values& image, const Values& axes, const Values& mean);
Values image_input_transposed(const Values& dx, const Values& axes);

Values gram(const Maps& F, const Values& m);
double total_variation(const Maps& x);

}  // namespace naive
