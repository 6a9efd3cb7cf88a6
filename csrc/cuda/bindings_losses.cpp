// bindings_losses.cpp: Gram matrices and the terms of the loss.

#include "bindings.h"

namespace pynst {
namespace {

// The arguments that every op which computes a Gram matrix takes.
struct GramArguments {
    GramArguments(const Arguments& of,
                  const py::object& F,
                  const py::object& pixel_weights,
                  double total,
                  const std::string& how,
                  const py::object& G_,
                  const py::object& memory)
        : arguments(of),
          features(of.array("F", F)),
          square(of.array("G", G_)),
          N(square.length(0)),
          M(pixels(of, features)),
          m{of.pixel_weights(pixel_weights, features.length(0), features.length(1)), total},
          products(products_of(of, how)),
          G(of.out<double>("G", square, {{"N"}, {"", N}})),
          scratch(of.scratch(
              memory, m.values == nullptr ? gram_scratch(N, M) : gram_weighted_scratch(N, M))) {}

    template <class Run>
    void with_features(Run run) const {
        arguments.with_type("F", features, [&](auto type) {
            run(arguments.features<decltype(type)>("F", features, kAny, kAny, padded(N)));
        });
    }

    const Arguments& arguments;
    const DeviceArray &features, &square;
    int N, M;
    PixelWeights m;
    Products products;
    double* G;
    void* scratch;
};

void bind_gram(py::module_& m) {
    m.def("gram_scratch", [](const py::object& N, const py::object& M) {
        const Sizes sizes("gram_scratch");
        return gram_scratch(sizes.channels("N", N), sizes.pixels("M", M));
    });
    m.def("gram_weighted_scratch", [](const py::object& N, const py::object& M) {
        const Sizes sizes("gram_weighted_scratch");
        return gram_weighted_scratch(sizes.channels("N", N), sizes.pixels("M", M));
    });
    m.def("gram",
          [](const py::object& F,
             const py::object& pixel_weights,
             double total,
             const std::string& products,
             const py::object& G,
             const py::object& scratch,
             uintptr_t stream) {
              const Arguments arguments("gram", stream);
              const GramArguments a(arguments, F, pixel_weights, total, products, G, scratch);
              a.with_features([&](const auto* p) {
                  gram(p, a.N, a.M, a.m, a.products, a.G, a.scratch, as_stream(stream));
              });
          });
}

void bind_terms(py::module_& m) {
    m.def("content_loss_scratch", [](const py::object& N, const py::object& M) {
        const Sizes sizes("content_loss_scratch");
        return content_loss_scratch(sizes.channels("N", N), sizes.pixels("M", M));
    });
    m.def("content_loss",
          [](const py::object& F,
             const py::object& P,
             double k,
             const py::object& scale,
             const py::object& pixel_weights,
             const py::object& gradient_scale,
             const py::object& dF,
             const py::object& loss,
             const py::object& scratch,
             EvaluationEnd* end,
             uintptr_t stream) {
              const Arguments arguments("content_loss", stream);
              const DeviceArray &from = arguments.array("F", F), &target = arguments.array("P", P);
              const int H = from.length(0), W = from.length(1), N = from.length(2);
              const int M = pixels(arguments, from);
              const float* s = arguments.in_or_none<float>("scale", scale, {{"", N}});
              const float* w = arguments.pixel_weights(pixel_weights, H, W);
              GradientScale* factor = arguments.scale(gradient_scale);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              void* memory = arguments.scratch(scratch, content_loss_scratch(N, M));
              arguments.with_type("F", from, [&](auto type) {
                  using T = decltype(type);
                  const T* p = arguments.features<T>("F", from, kAny, kAny, kAny);
                  const T* q = arguments.features<T>("P", target, H, W, N);
                  T* to = arguments.features_out<T>("dF", dF, H, W, N);
                  content_loss(
                      p, q, N, M, k, s, w, factor, to, value, memory, end, as_stream(stream));
              });
          });
    m.def("style_difference_scratch", [](const py::object& N) {
        return style_difference_scratch(Sizes("style_difference_scratch").channels("N", N));
    });
    // F tells the type for which D is made, and nothing else.
    m.def("style_difference",
          [](const py::object& F,
             const py::object& G,
             const py::object& A,
             double k,
             const py::object& scale,
             double total,
             const std::string& products,
             const py::object& gradient_scale,
             const py::object& difference,
             uintptr_t stream) {
              const Arguments arguments("style_difference", stream);
              const DeviceArray &from = arguments.array("F", F), &square = arguments.array("G", G);
              const int N = square.length(0);
              const Products how = products_of(arguments, products);
              const double* g = arguments.in<double>("G", square, {{"N"}, {"", N}});
              const double* a = arguments.in<double>("A", A, {{"", N}, {"", N}});
              const double* s = arguments.in_or_none<double>("scale", scale, {{"", N}});
              const GradientScale* factor = arguments.scale(gradient_scale);
              void* D = arguments.scratch(difference, style_difference_scratch(N));
              arguments.with_type("F", from, [&](auto type) {
                  style_difference<decltype(type)>(
                      g, a, N, k, s, total, how, factor, D, as_stream(stream));
              });
          });
    m.def("gram_difference",
          [](const py::object& F,
             const py::object& pixel_weights,
             double total,
             const py::object& A,
             double k,
             const py::object& scale,
             const std::string& products,
             const py::object& gradient_scale,
             const py::object& G,
             const py::object& scratch,
             const py::object& difference,
             uintptr_t stream) {
              const Arguments arguments("gram_difference", stream);
              const GramArguments gram(arguments, F, pixel_weights, total, products, G, scratch);
              const int N = gram.N;
              const double* a = arguments.in<double>("A", A, {{"", N}, {"", N}});
              const double* s = arguments.in_or_none<double>("scale", scale, {{"", N}});
              const GradientScale* factor = arguments.scale(gradient_scale);
              void* D = arguments.scratch(difference, style_difference_scratch(N));
              gram.with_features([&](const auto* p) {
                  gram_difference(p,
                                  N,
                                  gram.M,
                                  gram.m,
                                  a,
                                  k,
                                  s,
                                  gram.products,
                                  factor,
                                  gram.G,
                                  gram.scratch,
                                  D,
                                  as_stream(stream));
              });
          });
    m.def("style_loss",
          [](const py::object& F,
             const py::object& difference,
             const py::object& N,
             double k,
             const py::object& pixel_weights,
             const std::string& products,
             const py::object& gradient_scale,
             const py::object& dF,
             const py::object& loss,
             uintptr_t stream) {
              const Arguments arguments("style_loss", stream);
              const DeviceArray& from = arguments.array("F", F);
              const int H = from.length(0), W = from.length(1), M = pixels(arguments, from);
              const int channels = Sizes("style_loss").channels("N", N);
              const Products how = products_of(arguments, products);
              const float* m = arguments.pixel_weights(pixel_weights, H, W);
              void* D = arguments.scratch(difference, style_difference_scratch(channels));
              GradientScale* factor = arguments.scale(gradient_scale);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              arguments.with_type("F", from, [&](auto type) {
                  using T = decltype(type);
                  const T* p = arguments.features<T>("F", from, kAny, kAny, padded(channels));
                  T* to = arguments.features_out<T>("dF", dF, H, W, padded(channels));
                  style_loss(p, D, channels, M, k, m, how, factor, to, value, as_stream(stream));
              });
          });
    m.def("total_variation_scratch", [](const py::object& H, const py::object& W) {
        const Sizes sizes("total_variation_scratch");
        const int h = sizes.pixels("H", H), w = sizes.pixels("W", W);
        sizes.area(h, w);
        return total_variation_scratch(h, w);
    });
    m.def("total_variation",
          [](const py::object& x,
             double k,
             bool circular,
             const py::object& dx,
             const py::object& loss,
             const py::object& scratch,
             EvaluationEnd* end,
             uintptr_t stream) {
              const Arguments arguments("total_variation", stream);
              const DeviceArray &from = arguments.array("x", x), &to = arguments.array("dx", dx);
              const int H = from.length(1), W = from.length(2);
              const float* p = arguments.image("x", from, kAny, kAny);
              float* q = arguments.image_out("dx", to, H, W);
              double* value = arguments.out<double>("loss", loss, {{"", 1}});
              void* memory = arguments.scratch(scratch, total_variation_scratch(H, W));
              total_variation(p, H, W, k, circular, q, value, memory, end, as_stream(stream));
          });
}

}  // namespace

void bind_losses(py::module_& m) {
    bind_gram(m);
    bind_terms(m);
}

}  // namespace pynst
