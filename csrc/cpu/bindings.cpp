// bindings.cpp: the Python module _cpu. The only file that knows pybind11: it checks type, layout,
// shape and the relations between shapes, releases the interpreter and calls the op.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "arguments.h"
#include "kernels.h"

namespace pynst {
namespace {

using Release = py::gil_scoped_release;

Pooling pooling(const Arguments& arguments, const std::string& mode) {
    arguments.require(mode == "average" || mode == "max",
                      "mode must be 'average' or 'max', got '" + mode + "'");
    return mode == "max" ? Pooling::maximum : Pooling::average;
}

Border padding_border(const Arguments& arguments, const std::string& padding) {
    arguments.require(padding == "zero" || padding == "replicate",
                      "padding must be 'zero' or 'replicate', got '" + padding + "'");
    return padding == "zero" ? Border::zero : Border::replicate;
}

// The choices of a maximum pooling have to be there in the backward pass.
void need_choices(const Arguments& arguments, Pooling mode, const void* choices) {
    arguments.require(mode != Pooling::maximum || choices != nullptr,
                      "choices must be given for mode 'max', got None");
}

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
    m.def("conv3x3_relu_scratch", [](const Threads& threads, int C, int N, int H, int W) {
        return conv3x3_relu_scratch(threads, {C, N, H, W});
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
    m.def("image_conv3x3_relu_scratch", [](const Threads& threads, int N, int H, int W) {
        return image_conv3x3_relu_scratch(threads, {3, N, H, W});
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
              const Border border = padding_border(arguments, padding);
              const float* from = arguments.image("x", x, kAny, kAny);
              const float* w =
                  arguments.in<float>("weights", weights, {{"N / 16"}, {"", 3}, {"", 9}, {"", 16}});
              const float* b = arguments.in<float>("bias", bias, {{"", blocks}, {"", 16}});
              float* to = arguments.features_out("y", y, blocks, H, W);
              uint16_t* mask = arguments.bits_out(bits, blocks, H, W);
              void* memory = arguments.scratch(scratch, image_conv3x3_relu_scratch(threads, shape));
              const Release release;
              image_conv3x3_relu(threads, shape, from, w, b, border, to, mask, memory);
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
              const Border border = padding_border(arguments, padding);
              const float* from = arguments.features("dy", dy, blocks, H, W);
              const uint16_t* mask = arguments.bits(bits, blocks, H, W);
              const float* w =
                  arguments.in<float>("weights", weights, {{"N / 16"}, {"", 3}, {"", 9}, {"", 16}});
              float* to = arguments.image_out("dx", dx, kAny, kAny);
              void* memory = arguments.scratch(scratch, image_conv3x3_relu_scratch(threads, shape));
              const Release release;
              image_conv3x3_relu_backward(threads, shape, from, mask, w, border, to, memory);
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

// ---- the built-in filters -----------------------------------------------------------------------

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
    m.def("filter7x7_scratch", [](const Threads& threads, int N, int H, int W) {
        return filter7x7_scratch(threads, {3, N, H, W});
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
    m.def("binomial_down", [](Threads& threads, const py::array& x, py::array y) {
        const Arguments arguments("binomial_down");
        const int H = length(x, 1), W = length(x, 2);
        const float* from = arguments.image("x", x, kAny, kAny);
        float* to = arguments.image_out("y", y, (H + 1) / 2, (W + 1) / 2);
        const Release release;
        binomial_down(threads, H, W, from, to);
    });
    m.def("binomial_down_backward", [](Threads& threads, const py::array& dy, py::array dx) {
        const Arguments arguments("binomial_down_backward");
        const int H = length(dx, 1), W = length(dx, 2);
        const float* from = arguments.image("dy", dy, (H + 1) / 2, (W + 1) / 2);
        float* to = arguments.image_out("dx", dx, kAny, kAny);
        const Release release;
        binomial_down_backward(threads, H, W, from, to);
    });
}

// ---- losses -------------------------------------------------------------------------------------

void bind_gram(py::module_& m) {
    m.def("gram_scratch",
          [](const Threads& threads, int N, size_t M) { return gram_scratch(threads, N, M); });
    m.def("gram", [](Threads& threads, const py::array& F, py::array G, py::array scratch) {
        const Arguments arguments("gram");
        const int N = length(G, 0);
        const size_t M = static_cast<size_t>(length(F, 1)) * length(F, 2);
        double* to = arguments.out<double>("G", G, {{"N"}, {"N", length(G, 0)}});
        const float* from = arguments.features("F", F, channel_blocks(N), kAny, kAny);
        void* memory = arguments.scratch(scratch, gram_scratch(threads, N, M));
        const Release release;
        gram(threads, N, M, from, to, memory);
    });
}

void bind_losses(py::module_& m) {
    m.def("content_loss_scratch", [](int N, size_t M) { return content_loss_scratch(N, M); });
    m.def("content_loss",
          [](Threads& threads,
             const py::array& F,
             const py::array& P,
             double k,
             const py::object& scale,
             py::array dF,
             py::array loss,
             py::array scratch) {
              const Arguments arguments("content_loss");
              const int blocks = length(F, 0), H = length(F, 1), W = length(F, 2);
              const float* f = arguments.features("F", F, kAny, kAny, kAny);
              const float* p = arguments.features("P", P, blocks, H, W);
              const float* s =
                  arguments.in_or_none<float>("scale", scale, {{"", blocks}, {"", 16}});
              float* to = arguments.features_out("dF", dF, blocks, H, W);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              const int N = blocks * kLanes;
              const size_t M = static_cast<size_t>(H) * W;
              void* memory = arguments.scratch(scratch, content_loss_scratch(N, M));
              const Release release;
              content_loss(threads, N, M, f, p, k, s, to, value, memory);
          });
    m.def("style_loss_scratch", [](const Threads& threads, int N, size_t M) {
        return style_loss_scratch(threads, N, M);
    });
    m.def("style_loss",
          [](Threads& threads,
             const py::array& F,
             const py::array& G,
             const py::array& A,
             double k,
             const py::object& scale,
             py::array dF,
             py::array loss,
             py::array scratch) {
              const Arguments arguments("style_loss");
              const int N = length(G, 0), H = length(F, 1), W = length(F, 2);
              const double* g = arguments.in<double>("G", G, {{"N"}, {"", N}});
              const double* a = arguments.in<double>("A", A, {{"", N}, {"", N}});
              const float* f = arguments.features("F", F, channel_blocks(N), kAny, kAny);
              const double* s = arguments.in_or_none<double>("scale", scale, {{"", N}});
              float* to = arguments.features_out("dF", dF, channel_blocks(N), H, W);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              const size_t M = static_cast<size_t>(H) * W;
              void* memory = arguments.scratch(scratch, style_loss_scratch(threads, N, M));
              const Release release;
              style_loss(threads, N, M, f, g, a, k, s, to, value, memory);
          });
    m.def("total_variation_scratch", [](int H) { return total_variation_scratch(H); });
    m.def("total_variation",
          [](Threads& threads,
             const py::array& x,
             double k,
             py::array dx,
             py::array loss,
             py::array scratch) {
              const Arguments arguments("total_variation");
              const int H = length(x, 1), W = length(x, 2);
              const float* from = arguments.image("x", x, kAny, kAny);
              float* to = arguments.image_out("dx", dx, H, W);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              void* memory = arguments.scratch(scratch, total_variation_scratch(H));
              const Release release;
              total_variation(threads, H, W, from, k, to, value, memory);
          });
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() =
        "The CPU core: the ops of pynst.backends.base.Backend over NumPy arrays in its own layout.";
    m.def("isa", [] { return inner().name; }, "Name of the instruction set in use.");
    py::class_<Threads>(m, "Threads", "A pool of threads that the ops run on.")
        .def(py::init<int>(), py::arg("count"))
        .def_property_readonly("count", &Threads::count);
    bind_conv3x3(m);
    bind_conv3x3_pool(m);
    bind_image_conv3x3(m);
    bind_pool2x2(m);
    bind_filters(m);
    bind_gram(m);
    bind_losses(m);
}

}  // namespace pynst
