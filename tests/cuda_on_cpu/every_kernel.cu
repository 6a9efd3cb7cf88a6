// every_kernel.cu: calls every launcher of csrc/cuda/kernels.h on small odd sizes, for sanitizers.
//
//   every_kernel [small]        small: fewer and smaller sizes, for ThreadSanitizer
//
// Every array is an allocation of exactly its size; outputs begin as NaN and have to end as
// numbers. Whether the numbers are right is checked by test_backends_cuda.py.

#include <vector>

#include "arrays.cuh"
#include "kernels.h"

namespace pynst {
namespace {

// ---- VGG-19 -------------------------------------------------------------------------------------

template <class Weights>
std::vector<Division> divisions();
template <>
std::vector<Division> divisions<const half*>() {
    return {{ConvTile::large, 2, true}, {ConvTile::narrow, 3, false}, {ConvTile::flat, 1, false}};
}
template <>
std::vector<Division> divisions<SplitWeights>() {
    return {{ConvTile::split, 1, false}, {ConvTile::split, 2, true}};
}
template <>
std::vector<Division> divisions<const float*>() {
    return {{ConvTile::simt, 2, false}, {ConvTile::simt, 2, true}};
}

template <class T, class Weights>
void check_conv3x3(const Shape& s, Division division) {
    const size_t M = pixels_of(s.H, s.W);
    Random<T> x(M, s.C, padded(s.C)), dy(M, s.N, padded(s.N));
    Packed<Weights> forward(s.N, s.C), backward(s.C, s.N);
    Random<float> b(1, s.N, padded(s.N));
    Array<T> y(lanes_of(M, s.N)), dx(lanes_of(M, s.C));
    Array<uint8_t> bits(lanes_of(M, s.N) / 8);
    Scratch scratch(conv3x3_scratch(s.C, s.N, s.H, s.W, division));
    conv3x3_relu<T, Weights>(
        x, forward.get(), b, s.C, s.N, s.H, s.W, division, y, bits, scratch, nullptr);
    y.require_numbers("y of conv3x3_relu" + s.text());
    Scratch back(conv3x3_scratch(s.N, s.C, s.H, s.W, division));
    Scale scale;
    conv3x3_relu_backward<T, Weights>(
        dy, bits, backward.get(), s.C, s.N, s.H, s.W, division, scale, dx, back, nullptr);
    scale.end();
    dx.require_numbers("dx of conv3x3_relu_backward" + s.text());
}

template <class T, class Weights>
void check_conv3x3_pool(const Shape& s, Pooling mode, Division division) {
    const size_t M = pixels_of(s.H, s.W), pooled = pixels_of(s.H / 2, s.W / 2);
    Random<T> x(M, s.C, padded(s.C)), dy(pooled, s.N, padded(s.N));
    Packed<Weights> forward(s.N, s.C), backward(s.C, s.N);
    Random<float> b(1, s.N, padded(s.N));
    Array<T> y(lanes_of(pooled, s.N)), dx(lanes_of(M, s.C));
    Array<uint8_t> bits(lanes_of(M, s.N) / 8);
    Array<uint16_t> choices(lanes_of(pooled, s.N) / 8);
    Scratch scratch(conv3x3_scratch(s.C, s.N, s.H, s.W, division));
    conv3x3_relu_pool<T, Weights>(x,
                                  forward.get(),
                                  b,
                                  s.C,
                                  s.N,
                                  s.H,
                                  s.W,
                                  mode,
                                  division,
                                  y,
                                  bits,
                                  choices,
                                  scratch,
                                  nullptr);
    y.require_numbers("y of conv3x3_relu_pool" + s.text());
    Scratch back(conv3x3_scratch(s.N, s.C, s.H, s.W, division));
    conv3x3_relu_pool_backward<T, Weights>(dy,
                                           bits,
                                           mode,
                                           choices,
                                           backward.get(),
                                           s.C,
                                           s.N,
                                           s.H,
                                           s.W,
                                           division,
                                           nullptr,
                                           dx,
                                           back,
                                           nullptr);
    dx.require_numbers("dx of conv3x3_relu_pool_backward" + s.text());
}

template <class T, class Weights>
void check_conv3x3s(const Shape& s) {
    for (const Division& division : divisions<Weights>()) {
        check_conv3x3<T, Weights>(s, division);
        for (const Pooling mode : {Pooling::average, Pooling::max}) {
            if (s.H >= 2 && s.W >= 2) {
                check_conv3x3_pool<T, Weights>(s, mode, division);
            }
        }
    }
}

template <class T>
void check_pool2x2(const Shape& s, Pooling mode) {
    const size_t M = pixels_of(s.H, s.W), pooled = pixels_of(s.H / 2, s.W / 2);
    Random<T> x(M, s.C, padded(s.C)), dy(pooled, s.C, padded(s.C));
    Array<T> y(lanes_of(pooled, s.C)), dx(lanes_of(M, s.C));
    Array<uint16_t> choices(lanes_of(pooled, s.C) / 8);
    pool2x2<T>(x, s.C, s.H, s.W, mode, y, choices, nullptr);
    y.require_numbers("y of pool2x2" + s.text());
    pool2x2_backward<T>(dy, s.C, s.H, s.W, mode, choices, dx, nullptr);
    dx.require_numbers("dx of pool2x2_backward" + s.text());
}

template <class T>
void check_image_conv3x3(const Shape& s, Padding padding) {
    const size_t M = pixels_of(s.H, s.W);
    Random<float> x(3 * M), w(27, s.N, padded(s.N)), b(1, s.N, padded(s.N));
    Random<T> dy(M, s.N, padded(s.N));
    Array<T> y(lanes_of(M, s.N));
    Array<uint8_t> bits(lanes_of(M, s.N) / 8);
    Array<float> dx(3 * M);
    image_conv3x3_relu<T>(x, w, b, s.N, s.H, s.W, padding, y, bits, nullptr);
    y.require_numbers("y of image_conv3x3_relu" + s.text());
    Scale scale;
    image_conv3x3_relu_backward<T>(dy, bits, w, s.N, s.H, s.W, padding, scale, dx, nullptr);
    dx.require_numbers("dx of image_conv3x3_relu_backward" + s.text());
}

// ---- the built-in filters, the image ------------------------------------------------------------

template <class T>
void check_filter7x7(const Shape& s) {
    const int K = (s.N + 1) / 2, N = 2 * K;  // each filter makes two channels
    const size_t M = pixels_of(s.H, s.W);
    Random<float> x(3 * M), w(49 * static_cast<size_t>(K)), dx(3 * M);
    Array<int> plane(static_cast<size_t>(K));
    for (int i = 0; i < K; ++i) {
        plane[i] = i % 3;
    }
    Random<T> dy(M, N, padded(N));
    Array<T> y(lanes_of(M, N));
    Array<uint8_t> bits(lanes_of(M, N) / 8);
    filter7x7<T>(x, w, plane, K, s.H, s.W, y, bits, nullptr);
    y.require_numbers("y of filter7x7" + s.text());
    Scratch scratch(filter7x7_scratch(K, s.H, s.W));
    Scale scale;
    filter7x7_backward<T>(dy, bits, w, plane, K, s.H, s.W, scale, dx, scratch, nullptr);
    dx.require_numbers("dx of filter7x7_backward" + s.text());
}

void check_image_ops(const Shape& s) {
    const size_t M = pixels_of(s.H, s.W), half_M = pixels_of((s.H + 1) / 2, (s.W + 1) / 2);
    Random<float> image(3 * M), dy(3 * half_M), dx_in(3 * M);
    Array<float> x(3 * M), gradient(3 * M);
    const InputAxes axes{{1, 0, 0, 0, 1, 0, 0, 0, 1}, {100, 110, 120}};
    image_input(image, axes, s.H, s.W, x, nullptr);
    x.require_numbers("x of image_input" + s.text());
    image_input_backward(dx_in, axes, s.H, s.W, gradient, nullptr, nullptr);
    gradient.require_numbers("gradient of image_input_backward" + s.text());
    if (s.H >= 2 && s.W >= 2) {
        Array<float> y(3 * half_M), dx(3 * M);
        Array<float> damped(3 * pixels_of(s.H, s.W));
        const Pixels planar = {3, s.H, s.W, 1}, interleaved = {1, s.H, s.W, 3};
        binomial_down(planar, x, y, nullptr);
        y.require_numbers("y of binomial_down" + s.text());
        binomial_down_backward(planar, dy, 0.0f, nullptr, dx, nullptr);
        dx.require_numbers("dx of binomial_down_backward" + s.text());
        binomial_down(interleaved, x, y, nullptr);
        y.require_numbers("y of binomial_down, interleaved" + s.text());
        destripe(x, s.H, s.W, damped, nullptr);
        damped.require_numbers("y of destripe" + s.text());
        binomial_down_backward(interleaved, dy, 0.5f, dx, dx, nullptr);
        dx.require_numbers("dx of binomial_down_backward, interleaved" + s.text());
    }
    Array<double> loss(1);
    Scratch scratch(total_variation_scratch(s.H, s.W));
    for (const bool circular : {false, true}) {
        total_variation(image, s.H, s.W, 1.5, circular, dx_in, loss, scratch, nullptr, nullptr);
        loss.require_numbers("loss of total_variation" + s.text());
        dx_in.require_numbers("dx of total_variation" + s.text());
    }
}

void check_wrap(const Shape& s) {
    const size_t M = pixels_of(s.H, s.W), larger_M = pixels_of(s.H + 2, s.W + 2);
    Array<uint32_t> words(3 * M), larger_words(3 * larger_M);
    for (size_t i = 0; i < 3 * M; ++i) {
        words[i] = static_cast<uint32_t>(i);
    }
    wrap<uint32_t>(words, 3, s.H, s.W, 1, s.H + 2, s.W + 2, larger_words, nullptr);
    wrap<uint32_t>(larger_words, 3, s.H + 2, s.W + 2, 1, s.H, s.W, words, nullptr);
    for (size_t i = 0; i < 3 * M; ++i) {
        require(words[i] == i, "wrap and back" + s.text());
    }
    const int K = padded(s.N) / 8;
    Array<uint8_t> bits(K * M), larger_bits(K * larger_M);
    wrap<uint8_t>(bits, 1, s.H, s.W, K, s.H + 2, s.W + 2, larger_bits, nullptr);
}

// ---- losses -------------------------------------------------------------------------------------

template <class T>
void check_losses(const Shape& s, Products products) {
    const int N = s.N, M = s.H * s.W;
    const size_t pixels = static_cast<size_t>(M), entries = pixels_of(N, N);
    Random<T> F(pixels, N, padded(N)), P(pixels, N, padded(N)), dF(pixels, N, padded(N));
    Random<float> lanes(1, N, padded(N));
    Random<double> A(entries), factors(static_cast<size_t>(N));
    Array<double> G(entries), losses(2);
    const PixelWeights ones = {nullptr, static_cast<double>(M)};
    Array<float> shares(pixels);
    for (size_t p = 0; p < pixels; ++p) {
        static_cast<float*>(shares)[p] = static_cast<float>(p % 4 + 1) / 4;
    }
    const PixelWeights some = {shares, 0.6 * M};
    Scratch gram_memory(gram_weighted_scratch(N, M)), difference(style_difference_scratch(N));
    Scratch content_memory(content_loss_scratch(N, M));
    for (const PixelWeights& m : {some, ones}) {
        gram<T>(F, N, M, m, products, G, gram_memory, nullptr);
        G.require_numbers("G of gram" + s.text());
    }
    Scale scale;
    EvaluationEnd end = {};
    content_loss<T>(
        F, P, N, M, 0.75, lanes, nullptr, scale, dF, losses, content_memory, nullptr, nullptr);
    content_loss<T>(
        F, P, N, M, 0.75, lanes, shares, scale, dF, losses, content_memory, &end, nullptr);
    evaluation_end(&end, nullptr);
    for (const PixelWeights& m : {some, ones}) {
        double* loss = static_cast<double*>(losses) + 1;
        style_difference<T>(G, A, N, 0.75, factors, m.total, products, scale, difference, nullptr);
        style_loss<T>(F, difference, N, M, 0.75, m.values, products, scale, dF, loss, nullptr);
        gram_difference<T>(
            F, N, M, m, A, 0.75, factors, products, scale, G, gram_memory, difference, nullptr);
        style_loss<T>(F, difference, N, M, 0.75, m.values, products, scale, dF, loss, nullptr);
    }
    scale.end();
    losses.require_numbers("the losses" + s.text());
    dF.require_numbers("dF of the losses" + s.text());
}

void check_lbfgs(size_t n) {
    constexpr int rows = 3;
    Random<float> x(n), g(n), h(n), d(n), gradient(n), next_h(n), pairs(2 * rows * n);
    Array<float> direction(n), next(n), seen(n), next_g(n);
    const PairCoefficients c{3, {0, 2, 4}, {0.5, -1.0, 2.0}, 1.0};
    lbfgs_direction(pairs, c, h, n, direction, nullptr);
    direction.require_numbers("the direction of L-BFGS");
    lbfgs_step(x, direction, 0.5, n, next, seen, nullptr);
    next.require_numbers("the step of L-BFGS");
    seen.require_numbers("the clipped step of L-BFGS");
    lbfgs_gradient(next, gradient, 0.1, n, next_g, nullptr);
    next_g.require_numbers("the gradient of L-BFGS");
    Array<double> sums(lbfgs_arrive_sums(rows));
    Scratch scratch(lbfgs_arrive_scratch(rows, n));
    lbfgs_arrive({x, g, h, d, next, next_g, next_h, pairs, rows, 1, n}, sums, scratch, nullptr);
    sums.require_numbers("the products of L-BFGS");
    pairs.require_numbers("the pairs of L-BFGS");
}

// ---- all of them --------------------------------------------------------------------------------

template <class T>
void check_of_type(const Shape& s, Products products) {
    check_losses<T>(s, products);
    check_image_conv3x3<T>(s, Padding::zero);
    check_image_conv3x3<T>(s, Padding::replicate);
    if (s.H >= 3 && s.W >= 3) {  // the mirrored border has to exist
        check_filter7x7<T>(s);
    }
    if (s.H >= 2 && s.W >= 2) {
        check_pool2x2<T>(s, Pooling::average);
        check_pool2x2<T>(s, Pooling::max);
    }
}

void check_all(const Shape& s) {
    std::printf("every op%s\n", s.text().c_str());
    std::fflush(stdout);
    check_conv3x3s<half, const half*>(s);
    check_conv3x3s<float, SplitWeights>(s);
    check_conv3x3s<float, const float*>(s);
    check_of_type<half>(s, Products::tensor);
    check_of_type<float>(s, Products::tensor);
    check_losses<float>(s, Products::simt);
    check_image_ops(s);
    check_wrap(s);
    check_lbfgs(pixels_of(s.H, s.W) * 3);
}

}  // namespace
}  // namespace pynst

int main(int count, char** arguments) {
    const bool small = count > 1 && std::string(arguments[1]) == "small";
    pynst::check_all({3, 5, 2, 3});
    pynst::check_all({16, 20, 5, 9});
    if (!small) {
        pynst::check_all({8, 72, 1, 1});
        pynst::check_all({70, 40, 17, 6});
        pynst::check_all({24, 130, 9, 21});
    }
    std::printf("%d checks passed\n", pynst::checks);
    return 0;
}
