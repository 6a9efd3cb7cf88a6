// bindings_image.cpp: the way from a picture to the input planes, and back.

#include "bindings.h"

namespace pynst {
namespace {

// The sizes of an image array: (H, W, 3) if it is interleaved, else (3, H, W).
Pixels pixels_of(const py::array& image, bool interleaved) {
    return interleaved ? Pixels{1, length(image, 0), length(image, 1), 3}
                       : Pixels{3, length(image, 1), length(image, 2), 1};
}

Pixels half_of(Pixels all) {
    return {all.planes, (all.H + 1) / 2, (all.W + 1) / 2, all.lanes};
}

}  // namespace

void bind_image(py::module_& m) {
    m.def("image_input",
          [](Threads& threads,
             const py::array& image,
             const py::array& axes,
             const py::array& mean,
             py::array x) {
              const Arguments arguments("image_input");
              const int H = length(x, 1), W = length(x, 2);
              const double* a = arguments.in<double>("axes", axes, {{"", 3}, {"", 3}});
              const double* m = arguments.in<double>("mean", mean, {{"", 3}});
              float* to = arguments.image_out("x", x, kAny, kAny);
              const auto call = [&](auto* from) {
                  const Release release;
                  image_input(threads, H, W, from, a, m, to);
              };
              const bool single = py::isinstance<py::array_t<float>>(image);
              arguments.require(single || py::isinstance<py::array_t<double>>(image),
                                "image must be float32 or float64, got " + describe(image));
              const std::initializer_list<Axis> shape = {{"", H}, {"", W}, {"", 3}};
              if (single) {
                  call(arguments.in<float>("image", image, shape));
              } else {
                  call(arguments.in<double>("image", image, shape));
              }
          });
    m.def("image_input_backward",
          [](Threads& threads, const py::array& dx, const py::array& axes, py::array gradient) {
              const Arguments arguments("image_input_backward");
              const int H = length(dx, 1), W = length(dx, 2);
              const float* from = arguments.image("dx", dx, kAny, kAny);
              const double* a = arguments.in<double>("axes", axes, {{"", 3}, {"", 3}});
              const auto call = [&](auto* to) {
                  const Release release;
                  image_input_backward(threads, H, W, from, a, to);
              };
              const bool single = py::isinstance<py::array_t<float>>(gradient);
              arguments.require(single || py::isinstance<py::array_t<double>>(gradient),
                                "gradient must be float32 or float64, got " + describe(gradient));
              const std::initializer_list<Axis> shape = {{"", H}, {"", W}, {"", 3}};
              if (single) {
                  call(arguments.out<float>("gradient", gradient, shape));
              } else {
                  call(arguments.out<double>("gradient", gradient, shape));
              }
          });
    m.def(
        "binomial_down",
        [](Threads& threads, const py::array& x, py::array y, bool interleaved) {
            const Arguments arguments("binomial_down");
            const Pixels all = pixels_of(x, interleaved);
            const float* from = arguments.pixels("x", x, all);
            float* to = arguments.pixels_out("y", y, half_of(all));
            const Release release;
            binomial_down(threads, all, from, to);
        },
        py::arg("threads"),
        py::arg("x"),
        py::arg("y"),
        py::arg("interleaved") = false);
    m.def(
        "binomial_down_backward",
        [](Threads& threads,
           const py::array& dy,
           py::array dx,
           bool interleaved,
           float keep,
           const py::object& x) {
            const Arguments arguments("binomial_down_backward");
            const Pixels all = pixels_of(dx, interleaved);
            const float* from = arguments.pixels("dy", dy, half_of(all));
            const float* kept =
                x.is_none() ? nullptr : arguments.pixels("x", py::cast<py::array>(x), all);
            float* to = arguments.pixels_out("dx", dx, all);
            const Release release;
            binomial_down_backward(threads, all, from, keep, kept, to);
        },
        py::arg("threads"),
        py::arg("dy"),
        py::arg("dx"),
        py::arg("interleaved") = false,
        py::arg("keep") = 0.0f,
        py::arg("x") = py::none());
}

}  // namespace pynst
