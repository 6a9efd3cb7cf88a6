// image_input.cpp: from an sRGB picture to the network's input planes, and the gradient back.
//
//   x_p = sum_c axes_pc (255 image_c - mean_c),   gradient_c = sum_p 255 axes_pc dx_p
//
//   in      image (H, W, 3) in [0, 1], float32 or float64, axes (3, 3), mean (3); backward: dx
//           (3, H, W).
//   out     x (3, H, W); backward: gradient (H, W, 3), float32 or float64, overwritten.
//   mapping a task is a strip of pixels, with all three planes.
//   bounds  any H, W >= 1; values outside [0, 1] are allowed.
//   order   c = 0, 1, 2, or p = 0, 1, 2, in float64; the result is rounded once.
//   cost    36 bytes per pixel each way, or 24 with a float32 image: 9.4 MB at 512 x 512.

#include <algorithm>

#include "kernels.h"

namespace pynst {
namespace {

constexpr size_t kStrip = 4096;

// Calls body(begin, end) for strips of the M pixels.
template <class Body>
void for_strips(Threads& threads, size_t M, const Body& body) {
    threads.run(static_cast<int>((M + kStrip - 1) / kStrip), [&](int task, int) {
        const size_t begin = task * kStrip;
        body(begin, std::min(begin + kStrip, M));
    });
}

}  // namespace

template <class Real>
void image_input(Threads& threads,
                 int H,
                 int W,
                 const Real* image,
                 const double* axes,
                 const double* mean,
                 float* x) {
    const size_t M = static_cast<size_t>(H) * W;
    for_strips(threads, M, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            const double red = 255.0 * image[3 * i] - mean[0];
            const double green = 255.0 * image[3 * i + 1] - mean[1];
            const double blue = 255.0 * image[3 * i + 2] - mean[2];
            for (int p = 0; p < 3; ++p) {
                const double* axis = axes + 3 * p;
                x[p * M + i] = static_cast<float>(axis[0] * red + axis[1] * green + axis[2] * blue);
            }
        }
    });
}

template void image_input(Threads&, int, int, const float*, const double*, const double*, float*);
template void image_input(Threads&, int, int, const double*, const double*, const double*, float*);

template <class Real>
void image_input_backward(
    Threads& threads, int H, int W, const float* dx, const double* axes, Real* gradient) {
    const size_t M = static_cast<size_t>(H) * W;
    double scaled[9];
    for (int i = 0; i < 9; ++i) {
        scaled[i] = 255.0 * axes[i];
    }
    for_strips(threads, M, [=](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            const double first = dx[i], second = dx[M + i], third = dx[2 * M + i];
            for (int c = 0; c < 3; ++c) {
                gradient[3 * i + c] = static_cast<Real>(scaled[c] * first + scaled[3 + c] * second +
                                                        scaled[6 + c] * third);
            }
        }
    });
}

template void image_input_backward(Threads&, int, int, const float*, const double*, float*);
template void image_input_backward(Threads&, int, int, const float*, const double*, double*);

}  // namespace pynst
