// naive.cpp: see naive.h.

#include "naive.h"

#include <algorithm>

namespace naive {
namespace {

// Pixel at place i of a padded line of n, or -1 for a zero.
int place(int i, int n, Edge edge) {
    if (i >= 0 && i < n) {
        return i;
    }
    switch (edge) {
        case Edge::zero:
            return -1;
        case Edge::replicate:
            return std::clamp(i, 0, n - 1);
        default:
            return i < 0 ? -1 - i : 2 * n - 1 - i;
    }
}

// Calls visit(output pixel, input pixel, tap) for every pair that a filter connects.
template <class Visit>
void each_tap(int H, int W, int size, Edge edge, Visit visit) {
    for (int y = 0; y < H; ++y) {
        for (int x = 0; x < W; ++x) {
            for (int tap = 0; tap < size * size; ++tap) {
                const int v = place(y + tap / size - size / 2, H, edge);
                const int u = place(x + tap % size - size / 2, W, edge);
                if (v >= 0 && u >= 0) {
                    visit(y, x, v, u, tap);
                }
            }
        }
    }
}

constexpr double kBinomial[4] = {0.125, 0.375, 0.375, 0.125};

template <class Visit>
void each_binomial(int H, int W, Visit visit) {
    for (int y = 0; y < (H + 1) / 2; ++y) {
        for (int x = 0; x < (W + 1) / 2; ++x) {
            for (int tap = 0; tap < 16; ++tap) {
                const int v = place(2 * y + tap / 4 - 1, H, Edge::replicate);
                const int u = place(2 * x + tap % 4 - 1, W, Edge::replicate);
                visit(y, x, v, u, kBinomial[tap / 4] * kBinomial[tap % 4]);
            }
        }
    }
}

}  // namespace

Maps correlate(const Maps& x, const Values& weights, const Values& bias, int size, Edge edge) {
    const int N = static_cast<int>(bias.size());
    Maps y(N, x.H, x.W);
    for (int n = 0; n < N; ++n) {
        std::fill_n(&y.at(n, 0, 0), static_cast<size_t>(x.H) * x.W, bias[n]);
        for (int c = 0; c < x.C; ++c) {
            const double* w = &weights[(static_cast<size_t>(n) * x.C + c) * size * size];
            each_tap(x.H, x.W, size, edge, [&](int r, int s, int v, int u, int tap) {
                y.at(n, r, s) += w[tap] * x.at(c, v, u);
            });
        }
    }
    return y;
}

Maps correlate_transposed(const Maps& dy, const Values& weights, int C, int size, Edge edge) {
    Maps dx(C, dy.H, dy.W);
    for (int n = 0; n < dy.C; ++n) {
        for (int c = 0; c < C; ++c) {
            const double* w = &weights[(static_cast<size_t>(n) * C + c) * size * size];
            each_tap(dy.H, dy.W, size, edge, [&](int r, int s, int v, int u, int tap) {
                dx.at(c, v, u) += w[tap] * dy.at(n, r, s);
            });
        }
    }
    return dx;
}

Maps rectified(const Maps& z) {
    Maps y = z;
    for (double& v : y.v) {
        v = std::max(0.0, v);
    }
    return y;
}

Maps gated(const Maps& dy, const Maps& y) {
    Maps out = dy;
    for (size_t i = 0; i < out.v.size(); ++i) {
        out.v[i] = y.v[i] > 0 ? dy.v[i] : 0.0;
    }
    return out;
}

Maps pooled(const Maps& x, bool maximum, std::vector<uint8_t>& chosen) {
    Maps y(x.C, x.H / 2, x.W / 2);
    chosen.assign(y.v.size(), 0);
    for (size_t i = 0; i < y.v.size(); ++i) {
        const int u = static_cast<int>(i % y.W), v = static_cast<int>(i / y.W % y.H);
        const int c = static_cast<int>(i / y.W / y.H);
        double sum = 0.0, best = x.at(c, 2 * v, 2 * u);
        for (int q = 0; q < 4; ++q) {
            const double value = x.at(c, 2 * v + q / 2, 2 * u + q % 2);
            sum += value;
            if (value > best) {
                best = value;
                chosen[i] = static_cast<uint8_t>(q);
            }
        }
        y.v[i] = maximum ? best : sum / 4;
    }
    return y;
}

Maps unpooled(const Maps& dy, int H, int W, bool maximum, const std::vector<uint8_t>& chosen) {
    Maps dx(dy.C, H, W);
    for (size_t i = 0; i < dy.v.size(); ++i) {
        const int u = static_cast<int>(i % dy.W), v = static_cast<int>(i / dy.W % dy.H);
        const int c = static_cast<int>(i / dy.W / dy.H);
        for (int q = 0; q < 4; ++q) {
            const double share = maximum ? (chosen[i] == q ? 1.0 : 0.0) : 0.25;
            dx.at(c, 2 * v + q / 2, 2 * u + q % 2) = share * dy.v[i];
        }
    }
    return dx;
}

Maps binomial(const Maps& x) {
    Maps y(x.C, (x.H + 1) / 2, (x.W + 1) / 2);
    for (int c = 0; c < x.C; ++c) {
        each_binomial(x.H, x.W, [&](int r, int s, int v, int u, double w) {
            y.at(c, r, s) += w * x.at(c, v, u);
        });
    }
    return y;
}

Maps binomial_transposed(const Maps& dy, int H, int W) {
    Maps dx(dy.C, H, W);
    for (int c = 0; c < dy.C; ++c) {
        each_binomial(H, W, [&](int r, int s, int v, int u, double w) {
            dx.at(c, v, u) += w * dy.at(c, r, s);
        });
    }
    return dx;
}

Values image_input(const Values& image, const Values& axes, const Values& mean) {
    const size_t M = image.size() / 3;
    Values x(3 * M);
    for (size_t i = 0; i < M; ++i) {
        for (int p = 0; p < 3; ++p) {
            for (int c = 0; c < 3; ++c) {
                x[p * M + i] += axes[3 * p + c] * (255 * image[3 * i + c] - mean[c]);
            }
        }
    }
    return x;
}

Values image_input_transposed(const Values& dx, const Values& axes) {
    const size_t M = dx.size() / 3;
    Values gradient(3 * M);
    for (size_t i = 0; i < M; ++i) {
        for (int p = 0; p < 3; ++p) {
            for (int c = 0; c < 3; ++c) {
                gradient[3 * i + c] += 255 * axes[3 * p + c] * dx[p * M + i];
            }
        }
    }
    return gradient;
}

Values gram(const Maps& F, const Values& m) {
    const size_t M = static_cast<size_t>(F.H) * F.W;
    double total = 0.0;
    for (size_t k = 0; k < M; ++k) {
        total += m[k];
    }
    Values G(static_cast<size_t>(F.C) * F.C);
    for (int i = 0; i < F.C; ++i) {
        for (int j = 0; j < F.C; ++j) {
            for (size_t k = 0; k < M; ++k) {
                G[static_cast<size_t>(i) * F.C + j] +=
                    m[k] * F.v[i * M + k] * F.v[j * M + k] / total;
            }
        }
    }
    return G;
}

double total_variation(const Maps& x) {
    double straight = 0.0, diagonal = 0.0;
    for (int c = 0; c < x.C; ++c) {
        for (int i = 0; i < x.H; ++i) {
            for (int j = 0; j < x.W; ++j) {
                const int below = std::min(i + 1, x.H - 1), right = std::min(j + 1, x.W - 1);
                const double p = x.at(c, i, j), q = x.at(c, i, right);
                const double r = x.at(c, below, j), s = x.at(c, below, right);
                straight += (q - p) * (q - p) + (r - p) * (r - p);
                diagonal += (s - p) * (s - p) + (r - q) * (r - q);
            }
        }
    }
    return 2.0 * (straight / 3 + diagonal / 12) / static_cast<double>(x.v.size());
}

}  // namespace naive
