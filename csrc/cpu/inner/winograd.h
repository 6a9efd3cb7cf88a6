// winograd.h: the three one-dimensional transforms of Winograd's F(4, 3), sixteen lanes at a time.
//
// Four outputs of a filter of three taps from six inputs, with the interpolation points 0, +-a, +-b
// and infinity:  y = A^T ((G w) * (B^T d)).  The points are chosen for accuracy, twice:
//
// * The usual 0, +-1, +-2 would lose a factor of two to three against points near 5/8 and 3/2.
// * B^T and G are exact (short binary fractions), A^T is not. What its rounded numbers leave is not
//   noise but the same relative error in every output of every layer, and the loss has it to the
//   fourth power. With 5/8 and 3/2 it would be 4.5e-8; with the points below it is less than 4e-9.

namespace pynst {
namespace PYNST_ISA {

constexpr int kOut = 4;                // outputs of a tile along one side
constexpr int kIn = kOut + 2;          // inputs
constexpr int kPositions = kIn * kIn;  // of the transformed tile

// In double precision, so that each number of A^T is rounded once.
constexpr double kA = 41.0 / 64, kA2 = kA * kA, kA3 = kA2 * kA;
constexpr double kB = 23.0 / 16, kB2 = kB * kB, kB3 = kB2 * kB;

inline Lanes constant(double x) {
    return broadcast(static_cast<float>(x));
}

// v = B^T d
inline void transform_input(const Lanes* d, Lanes* v) {
    const Lanes product = constant(kA2 * kB2), sum = constant(kA2 + kB2);
    v[0] = fma(product, d[0], fnma(sum, d[2], d[4]));
    Lanes even = fnma(constant(kB2), d[2], d[4]), odd = fnma(constant(kB2), d[1], d[3]);
    v[1] = fma(constant(kA), odd, even);
    v[2] = fnma(constant(kA), odd, even);
    even = fnma(constant(kA2), d[2], d[4]);
    odd = fnma(constant(kA2), d[1], d[3]);
    v[3] = fma(constant(kB), odd, even);
    v[4] = fnma(constant(kB), odd, even);
    v[5] = fma(product, d[1], fnma(sum, d[3], d[5]));
}

// The rows of G are (1, p, p^2) for the finite points p, and (0, 0, 1). What they lack, a factor of
// one over the product of (p - q) over the other finite points q, is made up for in A^T: there it
// costs one operation, here it would cost five.
//
// u = G w
inline void transform_weights(const Lanes* w, Lanes* u) {
    u[0] = w[0];
    Lanes even = fma(constant(kA2), w[2], w[0]);
    u[1] = fma(constant(kA), w[1], even);
    u[2] = fnma(constant(kA), w[1], even);
    even = fma(constant(kB2), w[2], w[0]);
    u[3] = fma(constant(kB), w[1], even);
    u[4] = fnma(constant(kB), w[1], even);
    u[5] = w[2];
}

constexpr double kScale0 = 1 / (kA2 * kB2);
constexpr double kScaleA = 1 / (2 * kA2 * (kA2 - kB2)), kScaleB = 1 / (2 * kB2 * (kB2 - kA2));

// y = A^T m
inline void transform_output(const Lanes* m, Lanes* y) {
    const Lanes sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    const Lanes sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    y[0] = fma(constant(kScaleB), sum_b, fma(constant(kScaleA), sum_a, constant(kScale0) * m[0]));
    y[1] = fma(constant(kScaleB * kB), difference_b, constant(kScaleA * kA) * difference_a);
    y[2] = fma(constant(kScaleB * kB2), sum_b, constant(kScaleA * kA2) * sum_a);
    y[3] = fma(
        constant(kScaleB * kB3), difference_b, fma(constant(kScaleA * kA3), difference_a, m[5]));
}

}  // namespace PYNST_ISA
}  // namespace pynst
