// bindings_filters.cpp: the ops of the built-in filters.

#include "bindings.h"

namespace pynst {

void bind_filters(py::module_& m) {
    m.def(
        "filter7x7_pack",
        [](const py::array& weight, const py::array& plane, py::array packed, py::array planes) {
            const Arguments arguments("filter7x7_pack");
            const int K = length(weight, 0);
            const float* w = arguments.in<float>("weight", weight, {{"K"}, {"", 7}, {"", 7}});
            const int32_t* of = arguments.in<int32_t>("plane", plane, {{"", K}});
            for (int f = 0; f < K; ++f) {
                arguments.require(of[f] >= 0 && of[f] < 3,
                                  "plane must be in 0..2, got " + std::to_string(of[f]));
            }
            const int groups = channel_blocks(K);
            float* to =
                arguments.out<float>("packed", packed, {{"", groups}, {"", 3}, {"", 49}, {"", 16}});
            filter7x7_pack(w, of, K, to, arguments.out<int32_t>("planes", planes, {{"", groups}}));
        });
    m.def(
        "filter7x7_scratch",
        [](const Threads& threads, const py::object& N, const py::object& H, const py::object& W) {
            const Sizes sizes("filter7x7_scratch");
            const ConvShape shape = conv_shape(sizes, py::int_(3), N, H, W);
            return filter7x7_scratch(threads, shape);
        });
    m.def("filter7x7",
          [](Threads& threads,
             const py::array& x,
             const py::array& weights,
             const py::array& planes,
             py::array y,
             const py::object& bits,
             py::array scratch) {
              const Arguments arguments("filter7x7");
              const int groups = length(weights, 0), blocks = length(y, 0), H = length(x, 1),
                        W = length(x, 2);
              const ConvShape shape = {3, blocks * kLanes, H, W};
              const float* from = arguments.image("x", x, kAny, kAny);
              const float* w = arguments.in<float>(
                  "weights", weights, {{"", (blocks + 1) / 2}, {"", 3}, {"", 49}, {"", 16}});
              const int32_t* of = arguments.in<int32_t>("planes", planes, {{"", groups}});
              float* to = arguments.features_out("y", y, kAny, H, W);
              uint16_t* mask = arguments.bits_out(bits, blocks, H, W);
              arguments.require(H >= 3 && W >= 3,
                                "x must be at least 3 x 3 pixels, got " + std::to_string(H) +
                                    " x " + std::to_string(W));
              void* memory = arguments.scratch(scratch, filter7x7_scratch(threads, shape));
              const Release release;
              filter7x7(threads, shape, from, w, of, to, mask, memory);
          });
    m.def("filter7x7_backward",
          [](Threads& threads,
             const py::array& dy,
             const py::array& bits,
             const py::array& weights,
             const py::array& planes,
             py::array dx,
             py::array scratch) {
              const Arguments arguments("filter7x7_backward");
              const int groups = length(weights, 0), blocks = length(dy, 0), H = length(dx, 1),
                        W = length(dx, 2);
              const ConvShape shape = {3, blocks * kLanes, H, W};
              const float* from = arguments.features("dy", dy, kAny, H, W);
              const uint16_t* mask = arguments.bits(bits, blocks, H, W);
              const float* w = arguments.in<float>(
                  "weights", weights, {{"", (blocks + 1) / 2}, {"", 3}, {"", 49}, {"", 16}});
              const int32_t* of = arguments.in<int32_t>("planes", planes, {{"", groups}});
              float* to = arguments.image_out("dx", dx, kAny, kAny);
              arguments.require(H >= 3 && W >= 3,
                                "dx must be at least 3 x 3 pixels, got " + std::to_string(H) +
                                    " x " + std::to_string(W));
              void* memory = arguments.scratch(scratch, filter7x7_scratch(threads, shape));
              const Release release;
              filter7x7_backward(threads, shape, from, mask, w, of, to, memory);
          });
}

}  // namespace pynst
