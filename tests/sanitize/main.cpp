// main.cpp: every op of the CPU core against plain loops, with arrays of exactly the size they
// need, so that AddressSanitizer sees any access beyond them. Exits with 1 and a message on the
// first difference.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <numeric>
#include <string>
#include <thread>

#include "arrays.h"
#include "kernels.h"
#include "naive.h"

namespace {

using naive::Edge;
using pynst::ConvShape;
using pynst::Padding;
using pynst::PixelWeights;
using pynst::Pooling;
using pynst::Threads;

// ---- checks -------------------------------------------------------------------------------------

std::string now_checking;
int checks = 0;

void require(bool holds, const std::string& what) {
    ++checks;
    if (!holds) {
        std::printf("FAILED %s: %s\n", now_checking.c_str(), what.c_str());
        std::exit(1);
    }
}

void close(const Values& found, const Values& wanted, double tolerance = 1e-5) {
    require(found.size() == wanted.size(), "sizes differ");
    double difference = 0.0, norm = 1e-30;
    for (size_t i = 0; i < found.size(); ++i) {
        difference += (found[i] - wanted[i]) * (found[i] - wanted[i]);
        norm += wanted[i] * wanted[i];
    }
    require(std::sqrt(difference / norm) <= tolerance,
            "relative error " + std::to_string(std::sqrt(difference / norm)));
}

// Compares features in the core's layout, including their unused lanes.
void close(const Floats& found, const Maps& wanted) {
    const Floats expected = blocked(wanted);
    close(Values(found.begin(), found.end()), Values(expected.begin(), expected.end()));
}

void close(const Floats& found, const Floats& wanted) {
    close(Values(found.begin(), found.end()), Values(wanted.begin(), wanted.end()));
}

void close_planes(const Floats& found, const Maps& wanted) {
    close(Values(found.begin(), found.end()), wanted.v);
}

// Scratch of exactly the size that the op asks for.
struct Scratch {
    std::vector<double> memory;

    explicit Scratch(size_t bytes)
        : memory(bytes / sizeof(double) + (bytes % sizeof(double) != 0)) {}
    void* data() {
        return memory.data();
    }
};

// ---- ops ----------------------------------------------------------------------------------------

void check_conv3x3(Threads& threads, ConvShape s) {
    const int C = s.C, N = s.N, H = s.H, W = s.W, blocks = channel_blocks(N);
    const Values weights = random_values(static_cast<size_t>(N) * C * 9, std::sqrt(2.0 / (9 * C)));
    const Values bias = random_values(N, 1.0);
    Floats packed(static_cast<size_t>(blocks) * channel_blocks(C) * kLanes * 9 * kLanes);
    pynst::conv3x3_pack(floats(weights).data(), C, N, packed.data());
    const Maps x = random_maps(C, H, W), dy = random_maps(N, H, W),
               dy_pooled = random_maps(N, H / 2, W / 2);
    const Maps wanted = naive::rectified(naive::correlate(x, weights, bias, 3, Edge::zero));
    const Floats b = floats(padded(bias, blocks));
    Scratch scratch(pynst::conv3x3_relu_scratch(threads, s));
    const Bits gates = bits_of(wanted);

    Floats y = empty_features(N, H, W), dx = empty_features(C, H, W);
    Bits bits(gates.size());
    pynst::conv3x3_relu(threads,
                        s,
                        blocked(x).data(),
                        packed.data(),
                        b.data(),
                        y.data(),
                        bits.data(),
                        scratch.data());
    close(y, wanted);
    pynst::conv3x3_relu_backward(
        threads, s, blocked(dy).data(), gates.data(), packed.data(), dx.data(), scratch.data());
    close(dx, naive::correlate_transposed(naive::gated(dy, wanted), weights, C, 3, Edge::zero));

    for (const Pooling mode : {Pooling::average, Pooling::max}) {
        const bool maximum = mode == Pooling::max;
        std::vector<uint8_t> chosen;
        const Maps pooled = naive::pooled(wanted, maximum, chosen);
        const Choices choices = choices_of(pooled, chosen);
        Floats small = empty_features(N, H / 2, W / 2);
        Choices found(choices.size());
        pynst::conv3x3_relu_pool(threads,
                                 s,
                                 blocked(x).data(),
                                 packed.data(),
                                 b.data(),
                                 mode,
                                 small.data(),
                                 bits.data(),
                                 maximum ? found.data() : nullptr,
                                 scratch.data());
        close(small, pooled);
        const Maps spread = naive::unpooled(dy_pooled, H, W, maximum, chosen);
        pynst::conv3x3_relu_pool_backward(threads,
                                          s,
                                          blocked(dy_pooled).data(),
                                          gates.data(),
                                          mode,
                                          choices.data(),
                                          packed.data(),
                                          dx.data(),
                                          scratch.data());
        close(dx,
              naive::correlate_transposed(naive::gated(spread, wanted), weights, C, 3, Edge::zero));
    }
}

void check_image_conv3x3(Threads& threads, ConvShape s) {
    const int N = s.N, H = s.H, W = s.W, blocks = channel_blocks(N);
    const Values weights = random_values(static_cast<size_t>(N) * 27, 0.3),
                 bias = random_values(N, 1.0);
    Floats packed(static_cast<size_t>(blocks) * 27 * kLanes);
    pynst::image_conv3x3_pack(floats(weights).data(), N, packed.data());
    const Maps x = random_maps(3, H, W), dy = random_maps(N, H, W);
    const Floats b = floats(padded(bias, blocks));
    Scratch scratch(pynst::image_conv3x3_relu_scratch(threads, s));
    for (const Padding padding : {Padding::zero, Padding::replicate}) {
        const Edge edge = padding == Padding::zero ? Edge::zero : Edge::replicate;
        const Maps wanted = naive::rectified(naive::correlate(x, weights, bias, 3, edge));
        Floats y = empty_features(N, H, W), dx(x.v.size(), 1e30f);
        Bits bits(static_cast<size_t>(blocks) * H * W);
        pynst::image_conv3x3_relu(threads,
                                  s,
                                  floats(x.v).data(),
                                  packed.data(),
                                  b.data(),
                                  padding,
                                  y.data(),
                                  bits.data(),
                                  scratch.data());
        close(y, wanted);
        pynst::image_conv3x3_relu_backward(threads,
                                           s,
                                           blocked(dy).data(),
                                           bits_of(wanted).data(),
                                           packed.data(),
                                           padding,
                                           dx.data(),
                                           scratch.data());
        close_planes(dx,
                     naive::correlate_transposed(naive::gated(dy, wanted), weights, 3, 3, edge));
    }
}

void check_filter7x7(Threads& threads, int K, int H, int W) {
    const ConvShape s = {3, 2 * K, H, W};
    const Values filters = random_values(static_cast<size_t>(K) * 49, 0.2);
    std::vector<int32_t> plane(K), planes(channel_blocks(K));
    Values signed_weights(static_cast<size_t>(2) * K * 3 * 49);  // what the op means, written out
    for (int f = 0; f < K; ++f) {
        plane[f] = f % 5 == 4 ? 2 : f % 3;
        for (int tap = 0; tap < 49; ++tap) {
            for (const int half : {0, 1}) {
                const size_t at = (static_cast<size_t>(2 * f + half) * 3 + plane[f]) * 49 + tap;
                signed_weights[at] = (half ? -1 : 1) * filters[static_cast<size_t>(f) * 49 + tap];
            }
        }
    }
    Floats packed(planes.size() * 3 * 49 * kLanes);
    pynst::filter7x7_pack(floats(filters).data(), plane.data(), K, packed.data(), planes.data());
    const Maps x = random_maps(3, H, W), dy = random_maps(2 * K, H, W);
    const Maps wanted =
        naive::rectified(naive::correlate(x, signed_weights, Values(2 * K), 7, Edge::mirror));
    Floats y = empty_features(2 * K, H, W), dx = floats(x.v);
    Bits bits(static_cast<size_t>(channel_blocks(2 * K)) * H * W);
    Scratch scratch(pynst::filter7x7_scratch(threads, s));
    pynst::filter7x7(threads,
                     s,
                     floats(x.v).data(),
                     packed.data(),
                     planes.data(),
                     y.data(),
                     bits.data(),
                     scratch.data());
    close(y, wanted);
    pynst::filter7x7_backward(threads,
                              s,
                              blocked(dy).data(),
                              bits_of(wanted).data(),
                              packed.data(),
                              planes.data(),
                              dx.data(),
                              scratch.data());
    Maps sum =
        naive::correlate_transposed(naive::gated(dy, wanted), signed_weights, 3, 7, Edge::mirror);
    for (size_t i = 0; i < sum.v.size(); ++i) {
        sum.v[i] += x.v[i];  // the op adds
    }
    close_planes(dx, sum);
}

void check_pool2x2(Threads& threads, int C, int H, int W) {
    Maps x = random_maps(C, H, W);
    for (double& v : x.v) {
        v = std::floor(v);  // many equal values
    }
    const Maps dy = random_maps(C, H / 2, W / 2);
    for (const Pooling mode : {Pooling::average, Pooling::max}) {
        const bool maximum = mode == Pooling::max;
        std::vector<uint8_t> chosen;
        const Maps wanted = naive::pooled(x, maximum, chosen);
        const Choices choices = choices_of(wanted, chosen);
        Floats y = empty_features(C, H / 2, W / 2), dx = empty_features(C, H, W);
        Choices found(choices.size());
        pynst::pool2x2(
            threads, C, H, W, blocked(x).data(), mode, y.data(), maximum ? found.data() : nullptr);
        close(y, wanted);
        require(!maximum || found == choices, "choices differ");
        pynst::pool2x2_backward(
            threads, C, H, W, blocked(dy).data(), mode, choices.data(), dx.data());
        close(dx, naive::unpooled(dy, H, W, maximum, chosen));
    }
}

// Factors in [0, 1), as a mask has them.
Values weights_of_pixels(size_t M) {
    Values m = random_values(M, 1.0);
    for (double& v : m) {
        v = std::abs(v) - std::floor(std::abs(v));
    }
    return m;
}

void check_losses(Threads& threads, int N, int H, int W, bool weighted) {
    const size_t M = static_cast<size_t>(H) * W;
    const Maps F = random_maps(N, H, W), P = random_maps(N, H, W), before = random_maps(N, H, W);
    const Values ones(M, 1.0), A = naive::gram(random_maps(N, 1, 3), Values(3, 1.0));
    const Values scale = random_values(N, 1.0), m = weighted ? weights_of_pixels(M) : ones;
    const Floats values = floats(m);
    const PixelWeights weights = {weighted ? values.data() : nullptr,
                                  std::accumulate(m.begin(), m.end(), 0.0)};
    const double k = 0.75;
    Values G(A.size());
    Scratch gram_scratch(pynst::gram_scratch(threads, N, M));
    pynst::gram(threads, N, M, blocked(F).data(), weights, G.data(), gram_scratch.data());
    close(G, naive::gram(F, m), 1e-6);
    for (int i = 0; i < N * N; ++i) {
        require(G[i] == G[i % N * N + i / N], "not symmetric");
    }
    for (const bool scaled : {false, true}) {
        const Values s = scaled ? scale : Values(N, 1.0);
        Values content(2), style(2);  // wanted, found
        Maps content_dF = before, style_dF = before;
        for (int i = 0; i < N; ++i) {
            for (size_t p = 0; p < M; ++p) {
                const double d = s[i] * (F.v[i * M + p] - P.v[i * M + p]);
                content[0] += k * m[p] * d * d;
                content_dF.v[i * M + p] += 2 * k * m[p] * s[i] * d;
            }
            for (int j = 0; j < N; ++j) {
                const double d = s[i] * s[j] * (G[i * N + j] - A[i * N + j]);
                style[0] += k * d * d;
                for (size_t p = 0; p < M; ++p) {
                    const double factor = 4 * k / weights.total * m[p] * s[i] * s[j];
                    style_dF.v[i * M + p] += factor * d * F.v[j * M + p];
                }
            }
        }
        Floats dF = blocked(before);
        Scratch content_scratch(pynst::content_loss_scratch(N, M));
        const Floats lanes = floats(padded(scale, channel_blocks(N)));
        pynst::content_loss(threads,
                            N,
                            M,
                            blocked(F).data(),
                            blocked(P).data(),
                            k,
                            scaled ? lanes.data() : nullptr,
                            weights.values,
                            dF.data(),
                            &content[1],
                            content_scratch.data());
        close({content[1]}, {content[0]}, 1e-6);
        close(dF, content_dF);
        dF = blocked(before);
        Scratch style_scratch(pynst::style_loss_scratch(threads, N, M));
        pynst::style_loss(threads,
                          N,
                          M,
                          blocked(F).data(),
                          G.data(),
                          A.data(),
                          k,
                          scaled ? scale.data() : nullptr,
                          weights,
                          dF.data(),
                          &style[1],
                          style_scratch.data());
        close({style[1]}, {style[0]}, 1e-12);
        close(dF, style_dF);
    }
}

// (planes, M) to (M, planes): the order of an interleaved image.
Floats interleaved(const Floats& planes) {
    const size_t M = planes.size() / 3;
    Floats out(planes.size());
    for (size_t i = 0; i < planes.size(); ++i) {
        out[i % M * 3 + i / M] = planes[i];
    }
    return out;
}

// The same halving of an interleaved image, and its transpose onto the image itself.
void check_interleaved(
    Threads& threads, const Maps& x, const Floats& y, const Maps& dy, const Floats& dx) {
    const pynst::Pixels all = {1, x.H, x.W, 3};
    Floats half(y.size()), to = interleaved(floats(x.v)), wanted = interleaved(dx);
    pynst::binomial_down(threads, all, to.data(), half.data());
    close(half, interleaved(y));
    for (size_t i = 0; i < to.size(); ++i) {
        wanted[i] += 0.5f * to[i];
    }
    pynst::binomial_down_backward(
        threads, all, interleaved(floats(dy.v)).data(), 0.5f, to.data(), to.data());
    close(to, wanted);
}

// A flat image stays flat, and the filter is its own transpose.
void check_destripe(Threads& threads, int H, int W) {
    const size_t n = static_cast<size_t>(3) * H * W;
    const Floats a = floats(random_maps(3, H, W).v), b = floats(random_maps(3, H, W).v);
    Floats flat(n, 0.5f), damped_flat(n), damped_a(n), damped_b(n);
    pynst::destripe(threads, H, W, flat.data(), damped_flat.data());
    close(damped_flat, flat);
    pynst::destripe(threads, H, W, a.data(), damped_a.data());
    pynst::destripe(threads, H, W, b.data(), damped_b.data());
    double left = 0.0, right = 0.0;
    for (size_t i = 0; i < n; ++i) {
        left += static_cast<double>(damped_a[i]) * b[i];
        right += static_cast<double>(a[i]) * damped_b[i];
    }
    close({left}, {right}, 1e-5);
}

Floats random_floats(size_t n) {
    return floats(random_maps(1, 1, static_cast<int>(n)).v);
}

void check_lbfgs(Threads& threads, int n) {
    constexpr int rows = 3, spare = 1;
    const Floats x = random_floats(n), g = random_floats(n), h = random_floats(n),
                 d = random_floats(n), gradient = random_floats(n);
    Floats pairs = random_floats(2 * rows * n), next(n), seen(n), next_g(n), next_h(n), sum(n);
    const pynst::PairCoefficients c = {2, {0, 4}, {0.5, -1.0}, 2.0};
    const size_t length = n;
    const pynst::PairRows kept = {rows, length, pairs.data(), nullptr, nullptr};
    pynst::lbfgs_direction(threads, kept, c, h.data(), sum.data());
    Floats wanted(n);
    for (int i = 0; i < n; ++i) {
        wanted[i] = 0.5f * pairs[i] - pairs[4 * n + i] + 2.0f * h[i];
    }
    close(sum, wanted);
    pynst::lbfgs_step(threads, x.data(), d.data(), 0.5, n, next.data(), seen.data());
    pynst::lbfgs_gradient(threads, next.data(), gradient.data(), 0.1, n, next_g.data());
    for (int i = 0; i < n; ++i) {
        const float beyond = next[i] - seen[i];
        wanted[i] = (beyond == 0.0f ? gradient[i] : 0.0f) + 0.2f * beyond;
        next_h[i] = 2.0f * next_g[i];
    }
    close(next_g, wanted);
    Values sums(pynst::lbfgs_arrive_sums(rows));
    Scratch scratch(pynst::lbfgs_arrive_scratch(rows, n));
    const pynst::Arrival step = {kept,
                                 spare,
                                 x.data(),
                                 g.data(),
                                 h.data(),
                                 d.data(),
                                 next.data(),
                                 next_g.data(),
                                 next_h.data()};
    pynst::lbfgs_arrive(threads, step, sums.data(), scratch.data());
    Values products(sums.size());
    for (int i = 0; i < n; ++i) {
        const double of_g = next_g[i], y = of_g - g[i], beyond = double(next[i]) - seen[i];
        const double own[] = {
            beyond * beyond, of_g * d[i], of_g * next_h[i], double(next_h[i]) * next_h[i]};
        for (int k = 0; k < 4; ++k) {
            products[k] += own[k];
        }
        for (int v = 0; v < 2 * rows; ++v) {
            products[4 + v] += of_g * pairs[v * n + i];
            products[4 + 2 * rows + v] += y * pairs[v * n + i];
        }
    }
    close(sums, products, 1e-9);

    // The same in half precision: the sums of the new pair, whose row is the first of its kind.
    std::vector<int16_t> numbers(2 * rows * length);
    Floats factors(2 * rows * pynst::runs_of(length));
    pynst::Arrival half = step;
    half.pairs = {rows, length, nullptr, numbers.data(), factors.data()};
    Values sums_of_half(sums.size());
    pynst::lbfgs_arrive(threads, half, sums_of_half.data(), scratch.data());
    const double s_y = sums[4 + 2 * rows + spare], s_y_of_half = sums_of_half[4 + 2 * rows + spare];
    close(Values{s_y_of_half}, Values{s_y}, 1e-2);
    const pynst::PairCoefficients only_s = {1, {spare}, {1.0}, 0.0};
    pynst::lbfgs_direction(threads, half.pairs, only_s, h.data(), sum.data());
    const auto s = pairs.begin() + spare * length;
    close(Values(sum.begin(), sum.end()), Values(s, s + length), 1e-4);
}

void check_image_ops(Threads& threads, int H, int W) {
    const Maps x = random_maps(3, H, W);
    if (H >= 2 && W >= 2) {
        const Maps dy = random_maps(3, (H + 1) / 2, (W + 1) / 2);
        Floats y(dy.v.size()), dx(x.v.size());
        const pynst::Pixels planar = {3, H, W, 1};
        pynst::binomial_down(threads, planar, floats(x.v).data(), y.data());
        close_planes(y, naive::binomial(x));
        pynst::binomial_down_backward(
            threads, planar, floats(dy.v).data(), 0.0f, nullptr, dx.data());
        close_planes(dx, naive::binomial_transposed(dy, H, W));
        check_interleaved(threads, x, y, dy, dx);
    }
    check_destripe(threads, H, W);
    check_lbfgs(threads, 3 * H * W);
    const double k = 1.5, step = 1e-3;
    Floats dx(x.v.size());
    double loss = 0.0;
    Scratch scratch(pynst::total_variation_scratch(H));
    pynst::total_variation(threads, H, W, floats(x.v).data(), k, dx.data(), &loss, scratch.data());
    close({loss}, {k * naive::total_variation(x)}, 1e-6);
    Values wanted(x.v.size());
    for (size_t i = 0; i < x.v.size();
         ++i) {  // central differences are exact for a quadratic function
        Maps more = x, less = x;
        more.v[i] += step;
        less.v[i] -= step;
        wanted[i] = k * (naive::total_variation(more) - naive::total_variation(less)) / (2 * step);
    }
    close(Values(dx.begin(), dx.end()), wanted);
}

template <class Real>
void check_image_input(Threads& threads, int H, int W) {
    const Maps x = random_maps(3, H, W);
    const Values image = random_values(x.v.size(), 1.0), axes = random_values(9, 1.0),
                 mean = random_values(3, 100.0);
    Floats planes(x.v.size());
    Values gradient(x.v.size());
    const std::vector<Real> given(image.begin(), image.end());
    pynst::image_input(threads, H, W, given.data(), axes.data(), mean.data(), planes.data());
    close(Values(planes.begin(), planes.end()), naive::image_input(image, axes, mean), 1e-7);
    pynst::image_input_backward(threads, H, W, floats(x.v).data(), axes.data(), gradient.data());
    close(gradient, naive::image_input_transposed(x.v, axes), 1e-14);
}

// Two threads on one pool at a time.
void check_sharing(Threads& threads) {
    const Maps F = random_maps(20, 9, 7);
    const Floats features = blocked(F);
    const auto work = [&](Values& G) {
        Scratch scratch(pynst::gram_scratch(threads, 20, 63));
        for (int i = 0; i < 20; ++i) {
            pynst::gram(
                threads, 20, 63, features.data(), {nullptr, 63.0}, G.data(), scratch.data());
        }
    };
    Values first(400), second(400);
    std::thread other([&] { work(second); });
    work(first);
    other.join();
    close(first, naive::gram(F, Values(63, 1.0)), 1e-6);
    require(first == second, "two callers got different results");
}

void check(const std::string& name, const std::function<void()>& body) {
    now_checking = std::string(pynst::inner().name) + " " + name;
    body();
}

void check_all(int count) {
    Threads threads(count);
    const std::string of = ", " + std::to_string(count) + " threads";
    for (const ConvShape s : {ConvShape{4, 5, 1, 1},
                              {16, 16, 2, 3},
                              {20, 33, 5, 9},
                              {33, 20, 9, 4},
                              {64, 48, 13, 17},
                              {8, 80, 25, 31}}) {
        const std::string shape = " C=" + std::to_string(s.C) + " N=" + std::to_string(s.N) + " " +
                                  std::to_string(s.H) + "x" + std::to_string(s.W) + of;
        check("conv3x3_relu" + shape, [&] { check_conv3x3(threads, s); });
        check("image_conv3x3_relu" + shape, [&] { check_image_conv3x3(threads, s); });
        check("pool2x2" + shape, [&] { check_pool2x2(threads, s.N, s.H, s.W); });
        check("losses" + shape, [&] { check_losses(threads, s.N, s.H, s.W, false); });
        check("image ops" + shape, [&] { check_image_ops(threads, s.H, s.W); });
    }
    for (const int W : {1, 7, 4096, 6007}) {
        const std::string shape = " 3x" + std::to_string(W) + of;
        check("image_input" + shape, [&] { check_image_input<double>(threads, 3, W); });
        check("image_input, float32" + shape, [&] { check_image_input<float>(threads, 3, W); });
    }
    check("conv3x3_relu, large tiles" + of, [&] { check_conv3x3(threads, {20, 9, 61, 67}); });
    check("gram of several tiles" + of, [&] { check_losses(threads, 150, 3, 11, true); });
    check("gram of several strips" + of, [&] { check_losses(threads, 3, 50, 61, true); });
    check("filter7x7, 3 filters" + of, [&] { check_filter7x7(threads, 3, 3, 5); });
    check("filter7x7, 19 filters" + of, [&] { check_filter7x7(threads, 19, 9, 21); });
    check("filter7x7, 67 filters" + of, [&] { check_filter7x7(threads, 67, 20, 6); });
    check("sharing" + of, [&] { check_sharing(threads); });
}

}  // namespace

int main() {
    try {
        pynst::inner();
    } catch (const std::exception& error) {
        std::printf("skipped: %s\n", error.what());
        return 0;
    }
    for (const int count : {1, 3}) {
        check_all(count);
    }
    std::printf("%s: %d checks passed\n", pynst::inner().name, checks);
    return 0;
}
