// lanes_avx2.h: sixteen float32 lanes in two AVX2 registers, with FMA. See lanes_generic.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace pynst {
namespace PYNST_ISA {

// Sizes of the register blocks, for 16 registers; lanes_generic.h explains each of them.
constexpr int kRegisterRows = 6;  // 6 x 2 sums, 2 weights and 1 broadcast
constexpr int kBlocks = 1;
constexpr int kAheads = 8;
constexpr int kImagePixels = 4;  // 4 x 2 sums, 6 pixels (each for three taps) and 2 weights
constexpr int kGramRows = 6;     // the last of the 16 channels make a block of 4
constexpr int kGramBlocks = 1;
constexpr int kGradientPixels = 2;

struct Lanes {
    __m256 low, high;
};

struct Vec {
    __m256 v;
};
constexpr int kVecs = 2;

inline Vec vec(Lanes a, int i) {
    return {i == 0 ? a.low : a.high};
}
inline void set_vec(Lanes& a, int i, Vec value) {
    (i == 0 ? a.low : a.high) = value.v;
}
inline void store(float* p, Vec a) {
    _mm256_storeu_ps(p, a.v);
}
inline Vec operator+(Vec a, Vec b) {
    return {_mm256_add_ps(a.v, b.v)};
}
inline Vec operator-(Vec a, Vec b) {
    return {_mm256_sub_ps(a.v, b.v)};
}
inline Vec operator*(Vec a, Vec b) {
    return {_mm256_mul_ps(a.v, b.v)};
}
inline Vec fma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline Vec fnma(Vec a, Vec b, Vec c) {
    return {_mm256_fnmadd_ps(a.v, b.v, c.v)};
}
inline Vec relu(Vec a) {
    return {_mm256_max_ps(_mm256_setzero_ps(), a.v)};  // first operand zero: NaN stays NaN
}

inline Lanes zero() {
    return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline Lanes broadcast(float x) {
    const __m256 v = _mm256_set1_ps(x);
    return {v, v};
}
inline Lanes load(const float* p) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void store(float* p, Lanes a) {
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
inline void stream(float* p, Lanes a) {
    _mm256_stream_ps(p, a.low);
    _mm256_stream_ps(p + 8, a.high);
}
inline void end_stream() {
    _mm_sfence();
}
inline Lanes operator+(Lanes a, Lanes b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Lanes operator-(Lanes a, Lanes b) {
    return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Lanes operator*(Lanes a, Lanes b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
// In assembly, so that it works in place: the compiler would copy some of so many sums from
// register to register.
inline void add_product(Lanes& sum, Lanes a, Lanes b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum.low) : "x"(a.low), "x"(b.low));
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum.high) : "x"(a.high), "x"(b.high));
}
inline Lanes fnma(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
inline Lanes relu(Lanes a) {
    return {relu(vec(a, 0)).v, relu(vec(a, 1)).v};
}
inline uint16_t greater(Lanes a, Lanes b) {
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ));
    return static_cast<uint16_t>(low | high << 8);
}
// Lanes whose bit is set become all ones, the others zero: each lane shifts its bit to the sign.
inline Lanes spread(uint16_t bits) {
    const __m256i places = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256i all = _mm256_set1_epi16(static_cast<int16_t>(bits));
    const __m256i low = _mm256_sllv_epi32(all, places);
    const __m256i high = _mm256_sllv_epi32(all, _mm256_sub_epi32(places, _mm256_set1_epi32(8)));
    return {_mm256_castsi256_ps(_mm256_srai_epi32(low, 31)),
            _mm256_castsi256_ps(_mm256_srai_epi32(high, 31))};
}
inline Lanes where(uint16_t bits, Lanes a) {
    const Lanes m = spread(bits);
    return {_mm256_and_ps(m.low, a.low), _mm256_and_ps(m.high, a.high)};
}
inline Lanes select(uint16_t bits, Lanes a, Lanes b) {
    const Lanes m = spread(bits);
    return {_mm256_blendv_ps(b.low, a.low, m.low), _mm256_blendv_ps(b.high, a.high, m.high)};
}
inline float sum(Lanes a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline Lanes zip8(__m256 a, __m256 b) {
    const __m256 low = _mm256_unpacklo_ps(a, b), high = _mm256_unpackhi_ps(a, b);
    return {_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
}
inline Lanes zip_low(Lanes a, Lanes b) {
    return zip8(a.low, b.low);
}
inline Lanes zip_high(Lanes a, Lanes b) {
    return zip8(a.high, b.high);
}
// Every second of sixteen lanes. kPick is the pattern for _mm256_shuffle_ps.
template <int kPick>
inline __m256 halve(Lanes a) {
    const __m256d picked = _mm256_castps_pd(_mm256_shuffle_ps(a.low, a.high, kPick));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(picked, 0xd8));
}
inline Lanes even(Lanes a, Lanes b) {
    return {halve<0x88>(a), halve<0x88>(b)};
}
inline Lanes odd(Lanes a, Lanes b) {
    return {halve<0xdd>(a), halve<0xdd>(b)};
}

}  // namespace PYNST_ISA
}  // namespace pynst
