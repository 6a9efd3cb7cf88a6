// lanes_generic.h: sixteen float32 lanes in four 4-lane vectors of the compiler.
//
// The readable definition of what every lanes_*.h has to provide, and the one that runs on any
// processor: SSE2 on an old x86-64, NEON on arm64.

#include <cstddef>
#include <cstdint>

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pynst {
namespace PYNST_ISA {

// Sizes of the register blocks, for 32 registers of four lanes on arm64 and 16 on x86-64:
//
//   kRegisterRows    rows of the matrix multiplication (tiles or pixels)
//   kBlocks          its columns, in blocks of 16 lanes
//   kAheads          cache lines that it fetches ahead for each 16 input channels
//   kImagePixels     pixels that the convolution of the image sums at a time
//   kGramRows        channels that are the rows of the Gram matrix's register block; where they do
//                    not divide 16, the last channels of a block make a smaller one
//   kGramBlocks      columns of that register block, in blocks of 16 lanes
//   kGradientPixels  pixels whose gradients are summed at a time, in three planes, by the backward
//                    ops that end in the image
#if defined(__aarch64__)
constexpr int kRegisterRows = 5;  // with 6 rows, 24 sums, clang would spill some
constexpr int kBlocks = 1;
constexpr int kAheads = 8;
constexpr int kImagePixels = 5;
constexpr int kGramRows = 6;
constexpr int kGramBlocks = 1;
constexpr int kGradientPixels = 2;
#else
constexpr int kRegisterRows = 2;
constexpr int kBlocks = 1;
constexpr int kAheads = 8;
constexpr int kImagePixels = 2;
constexpr int kGramRows = 2;
constexpr int kGramBlocks = 1;
constexpr int kGradientPixels = 1;
#endif

typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

struct Lanes {
    Four v[4];
};

// One register of the sixteen lanes, for functions that need more numbers at a time than registers
// could hold for all sixteen lanes.
using Vec = Four;
constexpr int kVecs = 4;

inline Vec vec(Lanes a, int i) {
    return a.v[i];
}
inline void set_vec(Lanes& a, int i, Vec value) {
    a.v[i] = value;
}
inline void store(float* p, Vec a) {
    __builtin_memcpy(p, &a, sizeof a);
}

template <class Op>
inline Lanes each(Op op) {
    return {{op(0), op(1), op(2), op(3)}};
}

inline Lanes broadcast(float x) {
    const Four v = {x, x, x, x};
    return {{v, v, v, v}};
}
inline Lanes zero() {
    return broadcast(0.0f);
}
// p need not be aligned. Each vector is copied by itself, because GCC copies all four at once
// through memory.
inline Lanes load(const float* p) {
    return each([&](int i) {
        Four v;
        __builtin_memcpy(&v, p + 4 * i, sizeof v);
        return v;
    });
}
inline void store(float* p, Lanes a) {
    for (int i = 0; i < 4; ++i) {
        store(p + 4 * i, a.v[i]);
    }
}
// Stores past the caches if the processor can; p is a multiple of 64 bytes. Other threads are
// certain to see the values only after end_stream().
inline void stream(float* p, Lanes a) {
    store(p, a);
}
inline void end_stream() {}
inline Lanes operator+(Lanes a, Lanes b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline Lanes operator-(Lanes a, Lanes b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline Lanes operator*(Lanes a, Lanes b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
}
// a b + c and c - a b, rounded once if the processor can.
#if defined(__aarch64__)
inline Vec fma(Vec a, Vec b, Vec c) {
    return Vec(vfmaq_f32(c, a, b));
}
inline Vec fnma(Vec a, Vec b, Vec c) {
    return Vec(vfmsq_f32(c, a, b));
}
#else
inline Vec fma(Vec a, Vec b, Vec c) {
    return a * b + c;
}
inline Vec fnma(Vec a, Vec b, Vec c) {
    return c - a * b;
}
#endif
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
    return each([&](int i) { return fma(a.v[i], b.v[i], c.v[i]); });
}
inline void add_product(Lanes& sum, Lanes a, Lanes b) {
    sum = fma(a, b, sum);
}
inline Lanes fnma(Lanes a, Lanes b, Lanes c) {
    return each([&](int i) { return fnma(a.v[i], b.v[i], c.v[i]); });
}
// Lanes whose bit is set become all ones.
inline FourInts spread(uint16_t bits, int i) {
    const FourInts one = FourInts{1, 2, 4, 8} << (4 * i);
    return ((FourInts{bits, bits, bits, bits} & one) == one);
}
// select: a where the bit of the lane is set, else b. where: a there, else zero.
inline Lanes select(uint16_t bits, Lanes a, Lanes b) {
    return each([&](int i) {
        const FourInts m = spread(bits, i);
        return Four((FourInts(a.v[i]) & m) | (FourInts(b.v[i]) & ~m));
    });
}
inline Lanes where(uint16_t bits, Lanes a) {
    return each([&](int i) { return Four(FourInts(a.v[i]) & spread(bits, i)); });
}
// max(0, a); NaN stays NaN.
inline Vec relu(Vec a) {
    return Vec(FourInts(a) & ~(a <= Vec{}));
}
inline Lanes relu(Lanes a) {
    return each([&](int i) { return relu(a.v[i]); });
}
// One bit per lane: a > b; false where either is NaN.
#if defined(__aarch64__)
inline uint16_t greater(Lanes a, Lanes b) {
    const auto eight = [&](int i) {  // the bits of the lanes of v[i] and v[i + 1]
        const uint16x4_t low = vmovn_u32(vcgtq_f32(a.v[i], b.v[i]));
        const uint16x4_t high = vmovn_u32(vcgtq_f32(a.v[i + 1], b.v[i + 1]));
        const uint8x8_t masks = vmovn_u16(vcombine_u16(low, high));
        return vaddv_u8(vand_u8(masks, uint8x8_t{1, 2, 4, 8, 16, 32, 64, 128}));
    };
    return static_cast<uint16_t>(eight(0) | eight(2) << 8);
}
#else
inline uint16_t greater(Lanes a, Lanes b) {
    int bits = 0;
    for (int i = 0; i < 4; ++i) {
        const FourInts one = {1, 2, 4, 8};
        const FourInts m = (a.v[i] > b.v[i]) & one;
        bits |= (m[0] | m[1] | m[2] | m[3]) << (4 * i);
    }
    return static_cast<uint16_t>(bits);
}
#endif
// The sum over the lanes, in a fixed tree.
inline float sum(Lanes a) {
    const Four four = (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
    return (four[0] + four[2]) + (four[1] + four[3]);
}
// zip_low: a0 b0 a1 b1 ... of the first eight lanes; zip_high: of the last eight.
inline Lanes zip(Lanes a, Lanes b, int first) {
    return each([&](int i) {
        const int n = first + 2 * i, q = n / 4, r = n % 4;
        return Four{a.v[q][r], b.v[q][r], a.v[q][r + 1], b.v[q][r + 1]};
    });
}
inline Lanes zip_low(Lanes a, Lanes b) {
    return zip(a, b, 0);
}
inline Lanes zip_high(Lanes a, Lanes b) {
    return zip(a, b, 8);
}
// The inverse of zip: the even (or odd) lanes of a, then those of b.
inline Lanes every_second(Lanes a, Lanes b, int r) {
    return each([&](int i) {
        const Four* v = i < 2 ? a.v : b.v;
        const int q = 2 * (i % 2);
        return Four{v[q][r], v[q][r + 2], v[q + 1][r], v[q + 1][r + 2]};
    });
}
inline Lanes even(Lanes a, Lanes b) {
    return every_second(a, b, 0);
}
inline Lanes odd(Lanes a, Lanes b) {
    return every_second(a, b, 1);
}

}  // namespace PYNST_ISA
}  // namespace pynst
