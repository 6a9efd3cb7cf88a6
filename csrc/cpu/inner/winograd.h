// winograd.h: the one-dimensional transforms of Winograd's F(4, 3) and F(6, 3). They work on one
// register of the sixteen lanes at a time, since most processors have too few registers for all
// lanes at once.
//
// They give m outputs of a filter of three taps from m + 2 inputs, with the interpolation points 0,
// m / 2 pairs +-p, and infinity:  y = A^T ((G w) * (B^T d)).  The points are chosen for accuracy:
//
// * The usual points 0, +-1, +-2 would lose a factor of two to three against points near 5/8 and
//   3/2.
// * B^T and G are exact, because their numbers are short binary fractions; A^T is not. Its rounded
//   numbers do not add noise but the same relative error to every output of every layer, which
//   enters the loss to the fourth power. With 5/8 and 3/2 that error would be 4.5e-8, with 1/2, 1
//   and 2 up to 3e-8; with the points below it is less than 1e-8.
//
// The rounding noise of F(6, 3) is about four times that of F(4, 3), whatever the points. Most of
// it comes from the sums over channels in between, and most of it ends in the outer rows of a tile.

namespace pynst {
namespace PYNST_ISA {

template <int kPairs>
constexpr double kPoints[kPairs] = {};
template <>
constexpr double kPoints<2>[2] = {41.0 / 64, 23.0 / 16};
template <>
constexpr double kPoints<3>[3] = {1.0 / 2, 61.0 / 64, 2.0};

// The numbers that follow from the points, in double precision, so that each is rounded only once.
template <int kPairs>
struct Coefficients {
    // prod (t - p^2) over all pairs (all) and over all pairs but one (others), as polynomials in t,
    // lowest power first
    double all[kPairs + 1], others[kPairs][kPairs];
    double finite[2 * kPairs][kPairs], zero;  // A^T: row r, at the points +-p and at 0

    constexpr Coefficients() : all(), others(), finite(), zero() {
        expand(kPairs, all);
        zero = 1 / all[0];
        for (int i = 0; i < kPairs; ++i) {
            expand(i, others[i]);
            const double p = kPoints<kPairs>[i];
            double product = 2 * p * p, power = 1;
            for (int j = 0; j < kPairs; ++j) {
                const double q = kPoints<kPairs>[j];
                product *= j == i ? 1 : p * p - q * q;
            }
            for (int r = 0; r < 2 * kPairs; ++r, power *= p) {
                finite[r][i] = power / product;
            }
        }
    }

   private:
    static constexpr void expand(int skipped, double* c) {
        c[0] = 1;
        int degree = 0;
        for (int i = 0; i < kPairs; ++i) {
            if (i == skipped) {
                continue;
            }
            const double square = kPoints<kPairs>[i] * kPoints<kPairs>[i];
            c[++degree] = 1;
            for (int k = degree - 1; k > 0; --k) {
                c[k] = c[k - 1] - square * c[k];
            }
            c[0] *= -square;
        }
    }
};

inline Vec constant(double x) {
    return vec(broadcast(static_cast<float>(x)), 0);
}

// A Winograd tile of kOut x kOut outputs. Its functions have to be inlined, so that their numbers
// stay in registers; by itself the compiler does not inline them.
template <int kSide>
struct Tile {
    static constexpr int kOut = kSide;            // outputs along one side
    static constexpr int kIn = kOut + 2;          // inputs along one side
    static constexpr int kPositions = kIn * kIn;  // Winograd positions of the transformed tile
    static constexpr int kPairs = kOut / 2;
    static constexpr Coefficients<kPairs> k = {};

    // v = B^T d
    PYNST_INLINE static void transform_input(const Vec* d, Vec* v) {
        v[0] = polynomial<kPairs>(k.all, d);
        PYNST_UNROLL
        for (int i = 0; i < kPairs; ++i) {
            const Vec odd = polynomial<kPairs - 1>(k.others[i], d + 1);
            const Vec even = polynomial<kPairs - 1>(k.others[i], d + 2);
            v[1 + 2 * i] = fma(constant(kPoints<kPairs>[i]), odd, even);
            v[2 + 2 * i] = fnma(constant(kPoints<kPairs>[i]), odd, even);
        }
        v[kIn - 1] = polynomial<kPairs>(k.all, d + 1);
    }

    // The rows of G are (1, p, p^2) for the finite points p, and (0, 0, 1). Their factors, one over
    // the product of (p - q) over the other finite points q, are left out here and multiplied into
    // A^T, where they cost one operation instead of one for each row.
    //
    // u = G w
    PYNST_INLINE static void transform_weights(const Vec* w, Vec* u) {
        u[0] = w[0];
        PYNST_UNROLL
        for (int i = 0; i < kPairs; ++i) {
            const double p = kPoints<kPairs>[i];
            const Vec even = fma(constant(p * p), w[2], w[0]);
            u[1 + 2 * i] = fma(constant(p), w[1], even);
            u[2 + 2 * i] = fnma(constant(p), w[1], even);
        }
        u[kIn - 1] = w[2];
    }

    // Row `row` of G w. It gives the same numbers as transform_weights.
    PYNST_INLINE static Vec weights_row(int row, const Vec* w) {
        const float* g = kWeightRows.g[row];
        const Vec even = fma(vec(broadcast(g[2]), 0), w[2], vec(broadcast(g[0]), 0) * w[0]);
        return fma(vec(broadcast(g[1]), 0), w[1], even);
    }

    // y = A^T m
    PYNST_INLINE static void transform_output(const Vec* m, Vec* y) {
        Vec sums[kPairs], differences[kPairs];
        PYNST_UNROLL
        for (int i = 0; i < kPairs; ++i) {
            sums[i] = m[1 + 2 * i] + m[2 + 2 * i];
            differences[i] = m[1 + 2 * i] - m[2 + 2 * i];
        }
        PYNST_UNROLL
        for (int r = 0; r < kOut; ++r) {
            const Vec* from = r % 2 == 0 ? sums : differences;
            const double* row = k.finite[r];
            Vec sum;
            if (r == 0) {
                sum = fma(constant(row[0]), from[0], constant(k.zero) * m[0]);
            } else if (r == kOut - 1) {
                sum = fma(constant(row[0]), from[0], m[kIn - 1]);
            } else {
                sum = constant(row[0]) * from[0];
            }
            PYNST_UNROLL
            for (int i = 1; i < kPairs; ++i) {
                sum = fma(constant(row[i]), from[i], sum);
            }
            y[r] = sum;
        }
    }

   private:
    struct WeightRows {
        float g[kIn][3];

        constexpr WeightRows() : g() {
            g[0][0] = g[kIn - 1][2] = 1;
            for (int i = 0; i < 2 * kPairs; ++i) {
                const double p = (i % 2 == 0 ? 1 : -1) * kPoints<kPairs>[i / 2];
                g[1 + i][0] = 1;
                g[1 + i][1] = static_cast<float>(p);
                g[1 + i][2] = static_cast<float>(p * p);
            }
        }
    };
    static constexpr WeightRows kWeightRows = {};

    // The sum over j of c[j] d[2 j], where c[kDegree] is 1.
    template <int kDegree>
    PYNST_INLINE static Vec polynomial(const double* c, const Vec* d) {
        Vec sum = d[2 * kDegree];
        PYNST_UNROLL
        for (int j = kDegree - 1; j >= 0; --j) {
            sum = fma(constant(c[j]), d[2 * j], sum);
        }
        return sum;
    }
};

}  // namespace PYNST_ISA
}  // namespace pynst
