// common.h: what the inner kernels share. No code of the standard library here: an inline function
// compiled for AVX-512 could replace its twin in the rest of the program.

#if defined(__clang__)
#define PYNST_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PYNST_UNROLL _Pragma("GCC unroll 64")
#endif

namespace pynst {
namespace PYNST_ISA {

inline int min(int a, int b) {
    return a < b ? a : b;
}

inline int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

// Of sixteen 2-bit choices: one bit for each that equals q.
inline uint16_t chosen(uint32_t choices, int q) {
    const uint32_t different = choices ^ (0x55555555u * static_cast<uint32_t>(q));
    uint32_t bits = ~(different | different >> 1) & 0x55555555u;  // at the even places
    bits = (bits | bits >> 1) & 0x33333333u;
    bits = (bits | bits >> 2) & 0x0f0f0f0fu;
    bits = (bits | bits >> 4) & 0x00ff00ffu;
    return static_cast<uint16_t>(bits | bits >> 8);
}

// Sixteen bits, moved to the even places of 32.
inline uint32_t spread_bits(uint16_t sixteen) {
    uint32_t bits = sixteen;
    bits = (bits | bits << 8) & 0x00ff00ffu;
    bits = (bits | bits << 4) & 0x0f0f0f0fu;
    bits = (bits | bits << 2) & 0x33333333u;
    return (bits | bits << 1) & 0x55555555u;
}

// Maximum of a 2 x 2 square (a b / c d) and which it was: 0, 1, 2, 3, the first of equals.
inline Lanes maximum(Lanes a, Lanes b, Lanes c, Lanes d, uint32_t* choices) {
    const uint16_t right = greater(b, a), low_right = greater(d, c);
    const Lanes upper = select(right, b, a), lower = select(low_right, d, c);
    const uint16_t low = greater(lower, upper);
    const uint16_t odd = static_cast<uint16_t>((low_right & low) | (right & ~low));
    *choices = spread_bits(odd) | spread_bits(low) << 1;
    return select(low, lower, upper);
}

inline Lanes average(Lanes a, Lanes b, Lanes c, Lanes d) {
    return broadcast(0.25f) * ((a + b) + (c + d));
}

}  // namespace PYNST_ISA
}  // namespace pynst
