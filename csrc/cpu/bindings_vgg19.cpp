// bindings_vgg19.cpp: the convolutions of VGG-19 with their ReLU, and pooling.

#include "bindings.h"

namespace pynst {
namespace {

// ---- conv3x3_relu -------------------------------------------------------------------------------

// Packed weights; blocks become channels, since lanes beyond C and N hold zeros.
struct Conv {
    const float* packed;
    ConvShape shape;

    Conv(const Arguments& arguments, const py::array& weights, int H, int W)
        : packed(arguments.in<float>(
              "weights", weights, {{"N / 16"}, {"C / 16"}, {"16", 16}, {"9", 9}, {"16", 16}})),
          shape{length(weights, 1) * kLanes, length(weights, 0) * kLanes, H, W} {}
    int in() const {
        return shape.C / kLanes;
    }
    int out() const {
        return shape.N / kLanes;
    }
};

void bind_conv3x3(py::module_& m) {
    m.def("conv3x3_pack", [](const py::array& weight, py::array packed) {
        const Arguments arguments("conv3x3_pack");
        const float* w = arguments.in<float>("weight", weight, {{"N"}, {"C"}, {"3", 3}, {"3", 3}});
        const int N = length(weight, 0), C = length(weight, 1);
        float* to = arguments.out<float>(
            "packed",
            packed,
            {{"", channel_blocks(N)}, {"", channel_blocks(C)}, {"", 16}, {"", 9}, {"", 16}});
        conv3x3_pack(w, C, N, to);
    });
    m.def("conv3x3_relu_scratch",
          [](const Threads& threads,
             const py::object& C,
             const py::object& N,
             const py::object& H,
             const py::object& W) {
              const Sizes sizes("conv3x3_relu_scratch");
              const ConvShape shape = conv_shape(sizes, C, N, H, W);
              return conv3x3_relu_scratch(threads, shape);
          });
    m.def("conv3x3_relu",
          [](Threads& threads,
             const py::array& x,
             const py::array& weights,
             const py::array& bias,
             py::array y,
             const py::object& bits,
             py::array scratch) {
              const Arguments arguments("conv3x3_relu");
              const int H = length(x, 1), W = length(x, 2);
              const Conv conv(arguments, weights, H, W);
              const float* from = arguments.features("x", x, conv.in(), kAny, kAny);
              const float* b = arguments.in<float>("bias", bias, {{"", conv.out()}, {"", 16}});
              float* to = arguments.features_out("y", y, conv.out(), H, W);
              uint16_t* mask = arguments.bits_out(bits, conv.out(), H, W);
              void* memory = arguments.scratch(scratch, conv3x3_relu_scratch(threads, conv.shape));
              const Release release;
              conv3x3_relu(threads, conv.shape, from, conv.packed, b, to, mask, memory);
          });
    m.def("conv3x3_relu_backward",
          [](Threads& threads,
             const py::array& dy,
             const py::array& bits,
             const py::array& weights,
             py::array dx,
             py::array scratch) {
              const Arguments arguments("conv3x3_relu_backward");
              const int H = length(dy, 1), W = length(dy, 2);
              const Conv conv(arguments, weights, H, W);
              const float* from = arguments.features("dy", dy, conv.out(), kAny, kAny);
              const uint16_t* mask = arguments.bits(bits, conv.out(), H, W);
              float* to = arguments.features_out("dx", dx, conv.in(), H, W);
              void* memory = arguments.scratch(scratch, conv3x3_relu_scratch(threads, conv.shape));
              const Release release;
              conv3x3_relu_backward(threads, conv.shape, from, mask, conv.packed, to, memory);
          });
}

void bind_conv3x3_pool(py::module_& m) {
    m.def("conv3x3_relu_pool",
          [](Threads& threads,
             const py::array& x,
             const py::array& weights,
             const py::array& bias,
             const std::string& mode,
             py::array y,
             const py::object& bits,
             const py::object& choices,
             py::array scratch) {
              const Arguments arguments("conv3x3_relu_pool");
              const int H = length(x, 1), W = length(x, 2);
              const Conv conv(arguments, weights, H, W);
              const Pooling pool = pooling(arguments, mode);
              const float* from = arguments.features("x", x, conv.in(), kAny, kAny);
              const float* b = arguments.in<float>("bias", bias, {{"", conv.out()}, {"", 16}});
              float* to = arguments.features_out("y", y, conv.out(), H / 2, W / 2);
              uint16_t* mask = arguments.bits_out(bits, conv.out(), H, W);
              uint32_t* chosen = arguments.choices_out(choices, conv.out(), H / 2, W / 2);
              void* memory = arguments.scratch(scratch, conv3x3_relu_scratch(threads, conv.shape));
              const Release release;
              conv3x3_relu_pool(
                  threads, conv.shape, from, conv.packed, b, pool, to, mask, chosen, memory);
          });
    m.def("conv3x3_relu_pool_backward",
          [](Threads& threads,
             const py::array& dy,
             const py::array& bits,
             const std::string& mode,
             const py::object& choices,
             const py::array& weights,
             py::array dx,
             py::array scratch) {
              const Arguments arguments("conv3x3_relu_pool_backward");
              const int H = length(dx, 1), W = length(dx, 2);
              const Conv conv(arguments, weights, H, W);
              const Pooling pool = pooling(arguments, mode);
              const float* from = arguments.features("dy", dy, conv.out(), H / 2, W / 2);
              const uint16_t* mask = arguments.bits(bits, conv.out(), H, W);
              const uint32_t* chosen = arguments.choices_or_none(choices, conv.out(), H / 2, W / 2);
              need_choices(arguments, pool, chosen);
              float* to = arguments.features_out("dx", dx, conv.in(), kAny, kAny);
              void* memory = arguments.scratch(scratch, conv3x3_relu_scratch(threads, conv.shape));
              const Release release;
              conv3x3_relu_pool_backward(
                  threads, conv.shape, from, mask, pool, chosen, conv.packed, to, memory);
          });
}

// ---- image_conv3x3_relu -------------------------------------------------------------------------

void bind_image_conv3x3(py::module_& m) {
    m.def("image_conv3x3_pack", [](const py::array& weight, py::array packed) {
        const Arguments arguments("image_conv3x3_pack");
        const float* w =
            arguments.in<float>("weight", weight, {{"N"}, {"3", 3}, {"3", 3}, {"3", 3}});
        const int N = length(weight, 0);
        image_conv3x3_pack(
            w,
            N,
            arguments.out<float>(
                "packed", packed, {{"", channel_blocks(N)}, {"", 3}, {"", 9}, {"", 16}}));
    });
    m.def(
        "image_conv3x3_relu_scratch",
        [](const Threads& threads, const py::object& N, const py::object& H, const py::object& W) {
            const Sizes sizes("image_conv3x3_relu_scratch");
            const ConvShape shape = conv_shape(sizes, py::int_(3), N, H, W);
            return image_conv3x3_relu_scratch(threads, shape);
        });
    m.def("image_conv3x3_relu",
          [](Threads& threads,
             const py::array& x,
             const py::array& weights,
             const py::array& bias,
             const std::string& padding,
             py::array y,
             const py::object& bits,
             py::array scratch) {
              const Arguments arguments("image_conv3x3_relu");
              const int blocks = length(weights, 0), H = length(x, 1), W = length(x, 2);
              const ConvShape shape = {3, blocks * kLanes, H, W};
              const Padding pad = padding_of(arguments, padding);
              const float* from = arguments.image("x", x, kAny, kAny);
              const float* w =
                  arguments.in<float>("weights", weights, {{"N / 16"}, {"", 3}, {"", 9}, {"", 16}});
              const float* b = arguments.in<float>("bias", bias, {{"", blocks}, {"", 16}});
              float* to = arguments.features_out("y", y, blocks, H, W);
              uint16_t* mask = arguments.bits_out(bits, blocks, H, W);
              void* memory = arguments.scratch(scratch, image_conv3x3_relu_scratch(threads, shape));
              const Release release;
              image_conv3x3_relu(threads, shape, from, w, b, pad, to, mask, memory);
          });
    m.def("image_conv3x3_relu_backward",
          [](Threads& threads,
             const py::array& dy,
             const py::array& bits,
             const py::array& weights,
             const std::string& padding,
             py::array dx,
             py::array scratch) {
              const Arguments arguments("image_conv3x3_relu_backward");
              const int blocks = length(weights, 0), H = length(dx, 1), W = length(dx, 2);
              const ConvShape shape = {3, blocks * kLanes, H, W};
              const Padding pad = padding_of(arguments, padding);
              const float* from = arguments.features("dy", dy, blocks, H, W);
              const uint16_t* mask = arguments.bits(bits, blocks, H, W);
              const float* w =
                  arguments.in<float>("weights", weights, {{"N / 16"}, {"", 3}, {"", 9}, {"", 16}});
              float* to = arguments.image_out("dx", dx, kAny, kAny);
              void* memory = arguments.scratch(scratch, image_conv3x3_relu_scratch(threads, shape));
              const Release release;
              image_conv3x3_relu_backward(threads, shape, from, mask, w, pad, to, memory);
          });
}

// ---- pool2x2 ------------------------------------------------------------------------------------

void bind_pool2x2(py::module_& m) {
    m.def("pool2x2",
          [](Threads& threads,
             const py::array& x,
             const std::string& mode,
             py::array y,
             const py::object& choices) {
              const Arguments arguments("pool2x2");
              const int blocks = length(x, 0), H = length(x, 1), W = length(x, 2);
              const Pooling pool = pooling(arguments, mode);
              const float* from = arguments.features("x", x, kAny, kAny, kAny);
              float* to = arguments.features_out("y", y, blocks, H / 2, W / 2);
              uint32_t* chosen = arguments.choices_out(choices, blocks, H / 2, W / 2);
              const Release release;
              pool2x2(threads, blocks * kLanes, H, W, from, pool, to, chosen);
          });
    m.def("pool2x2_backward",
          [](Threads& threads,
             const py::array& dy,
             const std::string& mode,
             const py::object& choices,
             py::array dx) {
              const Arguments arguments("pool2x2_backward");
              const int blocks = length(dx, 0), H = length(dx, 1), W = length(dx, 2);
              const Pooling pool = pooling(arguments, mode);
              const float* from = arguments.features("dy", dy, blocks, H / 2, W / 2);
              const uint32_t* chosen = arguments.choices_or_none(choices, blocks, H / 2, W / 2);
              need_choices(arguments, pool, chosen);
              float* to = arguments.features_out("dx", dx, kAny, kAny, kAny);
              const Release release;
              pool2x2_backward(threads, blocks * kLanes, H, W, from, pool, chosen, to);
          });
}

}  // namespace

void bind_vgg19(py::module_& m) {
    bind_conv3x3(m);
    bind_conv3x3_pool(m);
    bind_image_conv3x3(m);
    bind_pool2x2(m);
}

}  // namespace pynst
