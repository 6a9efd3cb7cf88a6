// lanes_avx512.h: sixteen float32 lanes in one AVX-512 register.
//
// Every lanes_*.h defines the same names, in a namespace of its own; lanes_generic.h explains them.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace pynst {
namespace PYNST_ISA {

// Sizes of the register blocks, for 32 registers; lanes_generic.h explains each of them.
constexpr int kRegisterRows = 14;  // 14 x 2 sums, 2 weights and 1 broadcast
constexpr int kBlocks = 2;
constexpr int kAheads = 16;
constexpr int kImagePixels = 8;  // 8 x 2 sums, 10 pixels (each for three taps) and 2 weights
constexpr int kGramRows = 8;
constexpr int kGramBlocks = 3;
constexpr int kGradientPixels = 8;

struct Lanes {
    __m512 v;
};

using Vec = Lanes;
constexpr int kVecs = 1;

inline Vec vec(Lanes a, int) {
    return a;
}
inline void set_vec(Lanes& a, int, Vec value) {
    a = value;
}

inline Lanes zero() {
    return {_mm512_setzero_ps()};
}
inline Lanes broadcast(float x) {
    return {_mm512_set1_ps(x)};
}
inline Lanes load(const float* p) {
    return {_mm512_loadu_ps(p)};
}
inline void store(float* p, Lanes a) {
    _mm512_storeu_ps(p, a.v);
}
inline void stream(float* p, Lanes a) {
    _mm512_stream_ps(p, a.v);
}
inline void end_stream() {
    _mm_sfence();
}
inline Lanes operator+(Lanes a, Lanes b) {
    return {_mm512_add_ps(a.v, b.v)};
}
inline Lanes operator-(Lanes a, Lanes b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
inline Lanes operator*(Lanes a, Lanes b) {
    return {_mm512_mul_ps(a.v, b.v)};
}
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
// In assembly, so that it works in place: the compiler would copy some of so many sums from
// register to register.
inline void add_product(Lanes& sum, Lanes a, Lanes b) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum.v) : "v"(a.v), "v"(b.v));
}
inline Lanes fnma(Lanes a, Lanes b, Lanes c) {
    return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
inline Lanes relu(Lanes a) {
    return {_mm512_max_ps(_mm512_setzero_ps(), a.v)};  // in this order NaN stays NaN
}
inline uint16_t greater(Lanes a, Lanes b) {
    return static_cast<uint16_t>(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ));
}
inline Lanes where(uint16_t bits, Lanes a) {
    return {_mm512_maskz_mov_ps(bits, a.v)};
}
inline Lanes select(uint16_t bits, Lanes a, Lanes b) {
    return {_mm512_mask_mov_ps(b.v, bits, a.v)};
}
inline float sum(Lanes a) {
    return _mm512_reduce_add_ps(a.v);
}
inline Lanes zip_low(Lanes a, Lanes b) {
    const __m512i pick = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return {_mm512_permutex2var_ps(a.v, pick, b.v)};
}
inline Lanes zip_high(Lanes a, Lanes b) {
    const __m512i pick =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return {_mm512_permutex2var_ps(a.v, pick, b.v)};
}
inline Lanes even(Lanes a, Lanes b) {
    const __m512i pick =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return {_mm512_permutex2var_ps(a.v, pick, b.v)};
}
inline Lanes odd(Lanes a, Lanes b) {
    const __m512i pick =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return {_mm512_permutex2var_ps(a.v, pick, b.v)};
}

}  // namespace PYNST_ISA
}  // namespace pynst
