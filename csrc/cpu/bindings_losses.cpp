// bindings_losses.cpp: Gram matrices and the terms of the loss.

#include "bindings.h"

namespace pynst {
namespace {

void bind_gram(py::module_& m) {
    m.def("gram_scratch", [](const Threads& threads, const py::object& N, const py::object& M) {
        const Sizes sizes("gram_scratch");
        return gram_scratch(threads, sizes.channels("N", N), sizes.pixels("M", M));
    });
    m.def("gram",
          [](Threads& threads,
             const py::array& F,
             const py::object& pixel_weights,
             double total,
             py::array G,
             py::array scratch) {
              const Arguments arguments("gram");
              const int N = length(G, 0), H = length(F, 1), W = length(F, 2);
              const size_t M = static_cast<size_t>(H) * W;
              double* to = arguments.out<double>("G", G, {{"N"}, {"N", length(G, 0)}});
              const float* from = arguments.features("F", F, channel_blocks(N), kAny, kAny);
              const PixelWeights weights = {arguments.pixel_weights(pixel_weights, H, W), total};
              void* memory = arguments.scratch(scratch, gram_scratch(threads, N, M));
              const Release release;
              gram(threads, N, M, from, weights, to, memory);
          });
}

void bind_terms(py::module_& m) {
    m.def("content_loss_scratch", [](const py::object& N, const py::object& M) {
        const Sizes sizes("content_loss_scratch");
        return content_loss_scratch(sizes.channels("N", N), sizes.pixels("M", M));
    });
    m.def("content_loss",
          [](Threads& threads,
             const py::array& F,
             const py::array& P,
             double k,
             const py::object& scale,
             const py::object& pixel_weights,
             py::array dF,
             py::array loss,
             py::array scratch) {
              const Arguments arguments("content_loss");
              const int blocks = length(F, 0), H = length(F, 1), W = length(F, 2);
              const float* f = arguments.features("F", F, kAny, kAny, kAny);
              const float* p = arguments.features("P", P, blocks, H, W);
              const float* s =
                  arguments.in_or_none<float>("scale", scale, {{"", blocks}, {"", 16}});
              const float* weights = arguments.pixel_weights(pixel_weights, H, W);
              float* to = arguments.features_out("dF", dF, blocks, H, W);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              const int N = blocks * kLanes;
              const size_t M = static_cast<size_t>(H) * W;
              void* memory = arguments.scratch(scratch, content_loss_scratch(N, M));
              const Release release;
              content_loss(threads, N, M, f, p, k, s, weights, to, value, memory);
          });
    m.def("style_loss_scratch",
          [](const Threads& threads, const py::object& N, const py::object& M) {
              const Sizes sizes("style_loss_scratch");
              return style_loss_scratch(threads, sizes.channels("N", N), sizes.pixels("M", M));
          });
    m.def("style_loss",
          [](Threads& threads,
             const py::array& F,
             const py::array& G,
             const py::array& A,
             double k,
             const py::object& scale,
             const py::object& pixel_weights,
             double total,
             py::array dF,
             py::array loss,
             py::array scratch) {
              const Arguments arguments("style_loss");
              const int N = length(G, 0), H = length(F, 1), W = length(F, 2);
              const double* g = arguments.in<double>("G", G, {{"N"}, {"", N}});
              const double* a = arguments.in<double>("A", A, {{"", N}, {"", N}});
              const float* f = arguments.features("F", F, channel_blocks(N), kAny, kAny);
              const double* s = arguments.in_or_none<double>("scale", scale, {{"", N}});
              const PixelWeights weights = {arguments.pixel_weights(pixel_weights, H, W), total};
              float* to = arguments.features_out("dF", dF, channel_blocks(N), H, W);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              const size_t M = static_cast<size_t>(H) * W;
              void* memory = arguments.scratch(scratch, style_loss_scratch(threads, N, M));
              const Release release;
              style_loss(threads, N, M, f, g, a, k, s, weights, to, value, memory);
          });
    m.def("total_variation_scratch", [](const py::object& H) {
        const Sizes sizes("total_variation_scratch");
        return total_variation_scratch(sizes.pixels("H", H));
    });
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

void bind_losses(py::module_& m) {
    bind_gram(m);
    bind_terms(m);
}

}  // namespace pynst
