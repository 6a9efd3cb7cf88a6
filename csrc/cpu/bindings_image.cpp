// bindings_image.cpp: the way from a picture to the input planes, and back.

#include "bindings.h"

namespace pynst {

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
              double* to = arguments.out<double>("gradient", gradient, {{"", H}, {"", W}, {"", 3}});
              const Release release;
              image_input_backward(threads, H, W, from, a, to);
          });
}

}  // namespace pynst
