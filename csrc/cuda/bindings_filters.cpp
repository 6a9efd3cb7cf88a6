// bindings_filters.cpp: the ops of the built-in filters, forward and backward.

#include "bindings.h"

namespace pynst {
namespace {

// The sizes of an image array: (H, W, 3) if it is interleaved, else (3, H, W).
Pixels pixels_of(const DeviceArray& image, bool interleaved) {
    return interleaved ? Pixels{1, image.length(0), image.length(1), 3}
                       : Pixels{3, image.length(1), image.length(2), 1};
}

Pixels half_of(Pixels all) {
    return {all.planes, (all.H + 1) / 2, (all.W + 1) / 2, all.lanes};
}

const float* pixels(const char* name,
                    const Arguments& arguments,
                    const DeviceArray& a,
                    Pixels all) {
    Sizes("binomial_down").area(all.H, all.W);
    return all.lanes == 1
               ? arguments.in<float>(name, a, {{"", all.planes}, {"", all.H}, {"", all.W}})
               : arguments.in<float>(name, a, {{"", all.H}, {"", all.W}, {"", all.lanes}});
}

float* pixels_out(const char* name, const Arguments& arguments, const DeviceArray& a, Pixels all) {
    return all.lanes == 1
               ? arguments.out<float>(name, a, {{"", all.planes}, {"", all.H}, {"", all.W}})
               : arguments.out<float>(name, a, {{"", all.H}, {"", all.W}, {"", all.lanes}});
}

}  // namespace

void bind_filters(py::module_& m) {
    m.def("filter7x7_scratch", [](const py::object& K, const py::object& H, const py::object& W) {
        const Sizes sizes("filter7x7_scratch");
        const int h = sizes.pixels("H", H), w = sizes.pixels("W", W);
        sizes.area(h, w);
        return filter7x7_scratch(sizes.channels("K", K), h, w);
    });
    m.def("filter7x7",
          [](const py::object& x,
             const py::object& weights,
             const py::object& plane,
             const py::object& y,
             const py::object& bits,
             uintptr_t stream) {
              const Arguments arguments("filter7x7", stream);
              const DeviceArray &from = arguments.array("x", x),
                                &to_array = arguments.array("y", y);
              const DeviceArray& bank = arguments.array("weights", weights);
              const int K = bank.length(0), H = from.length(1), W = from.length(2);
              const float* p = arguments.image("x", from, kAny, kAny);
              const float* w = arguments.in<float>("weights", bank, {{"K"}, {"49", 49}});
              const int32_t* of = arguments.in<int32_t>("plane", plane, {{"", K}});
              uint8_t* mask = arguments.bits_out(bits, H, W, padded(2 * K));
              arguments.require(H >= 3 && W >= 3,
                                "x must be at least 3 x 3 pixels, got " + std::to_string(H) +
                                    " x " + std::to_string(W));
              arguments.with_type("y", to_array, [&](auto type) {
                  auto* to = arguments.features_out<decltype(type)>("y", y, H, W, padded(2 * K));
                  filter7x7(p, w, of, K, H, W, to, mask, as_stream(stream));
              });
          });
    m.def("filter7x7_backward",
          [](const py::object& dy,
             const py::object& bits,
             const py::object& weights,
             const py::object& plane,
             const py::object& gradient_scale,
             const py::object& dx,
             const py::object& scratch,
             uintptr_t stream) {
              const Arguments arguments("filter7x7_backward", stream);
              const DeviceArray &from = arguments.array("dy", dy),
                                &to_array = arguments.array("dx", dx);
              const DeviceArray& bank = arguments.array("weights", weights);
              const int K = bank.length(0), H = to_array.length(1), W = to_array.length(2);
              const int n = padded(2 * K);
              const uint8_t* mask = arguments.bits(bits, H, W, n);
              const float* w = arguments.in<float>("weights", bank, {{"K"}, {"49", 49}});
              const int32_t* of = arguments.in<int32_t>("plane", plane, {{"", K}});
              const GradientScale* scale = arguments.scale(gradient_scale);
              float* to = arguments.image_out("dx", to_array, kAny, kAny);
              void* memory = arguments.scratch(scratch, filter7x7_scratch(K, H, W));
              arguments.with_type("dy", from, [&](auto type) {
                  const auto* p = arguments.features<decltype(type)>("dy", from, H, W, n);
                  filter7x7_backward(p, mask, w, of, K, H, W, scale, to, memory, as_stream(stream));
              });
          });
    m.def("binomial_down",
          [](const py::object& x, const py::object& y, bool interleaved, uintptr_t stream) {
              const Arguments arguments("binomial_down", stream);
              const DeviceArray &from = arguments.array("x", x), &to = arguments.array("y", y);
              const Pixels all = pixels_of(from, interleaved);
              const float* p = pixels("x", arguments, from, all);
              float* q = pixels_out("y", arguments, to, half_of(all));
              binomial_down(all, p, q, as_stream(stream));
          });
    m.def("binomial_down_backward",
          [](const py::object& dy,
             const py::object& dx,
             bool interleaved,
             float keep,
             const py::object& x,
             uintptr_t stream) {
              const Arguments arguments("binomial_down_backward", stream);
              const DeviceArray &from = arguments.array("dy", dy), &to = arguments.array("dx", dx);
              const Pixels all = pixels_of(to, interleaved);
              const float* p = pixels("dy", arguments, from, half_of(all));
              const float* kept =
                  x.is_none() ? nullptr : pixels("x", arguments, arguments.array("x", x), all);
              float* q = pixels_out("dx", arguments, to, all);
              binomial_down_backward(all, p, keep, kept, q, as_stream(stream));
          });
}

}  // namespace pynst
