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

// The rows of G are (1, p, p^2) for the finite points p, and (0, 0, 1). What they lack, a factor of
// one over the product of (p - q) over the other finite points q, is made up for in A^T: there it
// costs one operation, here it would cost five.
//
// u = G w
inline void transform_weights(const Lanes* w, Lanes* u) {
    u[0] = w[0];
    Lanes even = fma(broadcast(kA2), w[2], w[0]);
    u[1] = fma(broadcast(kA), w[1], even);
    u[2] = fnma(broadcast(kA), w[1], even);
    even = fma(broadcast(kB2), w[2], w[0]);
    u[3] = fma(broadcast(kB), w[1], even);
    u[4] = fnma(broadcast(kB), w[1], even);
    u[5] = w[2];
}

constexpr float kScale0 = 1 / (kA2 * kB2);
constexpr float kScaleA = 1 / (2 * kA2 * (kA2 - kB2)), kScaleB = 1 / (2 * kB2 * (kB2 - kA2));

// y = A^T m
inline void transform_output(const Lanes* m, Lanes* y) {
    const Lanes sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    const Lanes sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    y[0] =
        fma(broadcast(kScaleB), sum_b, fma(broadcast(kScaleA), sum_a, broadcast(kScale0) * m[0]));
    y[1] = fma(broadcast(kScaleB * kB), difference_b, broadcast(kScaleA * kA) * difference_a);
    y[2] = fma(broadcast(kScaleB * kB2), sum_b, broadcast(kScaleA * kA2) * sum_a);
    y[3] = fma(
        broadcast(kScaleB * kB3), difference_b, fma(broadcast(kScaleA * kA3), difference_a, m[5]));
}

}  // namespace PYNST_ISA
}  // namespace pynst
