// winograd.h: the three one-dimensional transforms of Winograd's F(4, 3), sixteen lanes at a time.
//
// Four outputs of a filter of three taps from six inputs, with the interpolation points 0, +-a, +-b
// and infinity:  y = A^T ((G w) * (B^T d)).  The usual points 0, +-1, +-2 would lose a factor of
// two to three in accuracy against a = 5/8, b = 3/2, whose squares are still short binary
// fractions.

namespace pynst {
namespace PYNST_ISA {

constexpr int kOut = 4;                // outputs of a tile along one side
constexpr int kIn = kOut + 2;          // inputs
constexpr int kPositions = kIn * kIn;  // of the transformed tile

constexpr float kA = 0.625f, kA2 = kA * kA, kA3 = kA2 * kA;
constexpr float kB = 1.5f, kB2 = kB * kB, kB3 = kB2 * kB;

// v = B^T d
inline void transform_input(const Lanes* d, Lanes* v) {
    const Lanes product = broadcast(kA2 * kB2), sum = broadcast(kA2 + kB2);
    v[0] = fma(product, d[0], fnma(sum, d[2], d[4]));
    Lanes even = fnma(broadcast(kB2), d[2], d[4]), odd = fnma(broadcast(kB2), d[1], d[3]);
    v[1] = fma(broadcast(kA), odd, even);
    v[2] = fnma(broadcast(kA), odd, even);
    even = fnma(broadcast(kA2), d[2], d[4]);
    odd = fnma(broadcast(kA2), d[1], d[3]);
    v[3] = fma(broadcast(kB), odd, even);
    v[4] = fnma(broadcast(kB), odd, even);
    v[5] = fma(product, d[1], fnma(sum, d[3], d[5]));
}

// The rows of G: (1, p, p^2) / product of (p - q) over the other finite points q; the last is (0,
// 0, 1).
constexpr float kScale0 = 1 / (kA2 * kB2);
constexpr float kScaleA = 1 / (2 * kA2 * (kA2 - kB2)), kScaleB = 1 / (2 * kB2 * (kB2 - kA2));
constexpr float kG[kIn][3] = {{kScale0, 0, 0},
                              {kScaleA, kScaleA * kA, kScaleA * kA2},
                              {kScaleA, -kScaleA * kA, kScaleA * kA2},
                              {kScaleB, kScaleB * kB, kScaleB * kB2},
                              {kScaleB, -kScaleB * kB, kScaleB * kB2},
                              {0, 0, 1}};

// u = G w
inline void transform_weights(const Lanes* w, Lanes* u) {
    u[0] = broadcast(kScale0) * w[0];
    Lanes even = fma(broadcast(kG[1][2]), w[2], broadcast(kG[1][0]) * w[0]);
    Lanes odd = broadcast(kG[1][1]) * w[1];
    u[1] = even + odd;
    u[2] = even - odd;
    even = fma(broadcast(kG[3][2]), w[2], broadcast(kG[3][0]) * w[0]);
    odd = broadcast(kG[3][1]) * w[1];
    u[3] = even + odd;
    u[4] = even - odd;
    u[5] = w[2];
}

// y = A^T m
inline void transform_output(const Lanes* m, Lanes* y) {
    const Lanes sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    const Lanes sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    y[0] = m[0] + sum_a + sum_b;
    y[1] = fma(broadcast(kB), difference_b, broadcast(kA) * difference_a);
    y[2] = fma(broadcast(kB2), sum_b, broadcast(kA2) * sum_a);
    y[3] = fma(broadcast(kB3), difference_b, fma(broadcast(kA3), difference_a, m[5]));
}

}  // namespace PYNST_ISA
}  // namespace pynst
