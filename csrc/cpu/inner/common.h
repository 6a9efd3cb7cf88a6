// common.h: what the inner kernels share. They use no code of the standard library: an inline
// function that was compiled for AVX-512 could replace its twin in the rest of the program.

#define PYNST_INLINE __attribute__((always_inline)) inline
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

// Stores a result of `job`, past the caches if the job says so.
template <class Job>
inline void put(const Job& job, float* to, Lanes value) {
    if (job.past_caches) {
        stream(to, value);
    } else {
        store(to, value);
    }
}

// ---- matrix multiplications (multiply*.h) -------------------------------------------------------

// The rows of all products of a call. They come in groups of at most kRows rows. From one group to
// the next it is v_group floats in v and 16 * group floats in out; within a group it is v_stride
// and out_stride floats from one block of channels to the next. Their weights are read by products
// that are weighed.
struct Rows {
    int count, group;
    size_t v_group, v_stride, out_stride;
    const float* weights = nullptr;
};

// A product is stored, or added to what is there, or added to it times the weight of its row.
enum class Into { stored, added, weighed };

// One product of a call. It has `width` blocks of columns, 1 <= width <= kBlocks.
struct Product {
    const float *v, *u;
    int width;
    float* out;
};

// ---- caches -------------------------------------------------------------------------------------

// Fetches cache lines that will be written. Without it, stores would wait for their lines one after
// the other, since they are made in order.
template <int kLines>
inline void claim(const float* to, size_t step) {
    PYNST_UNROLL
    for (int i = 0; i < kLines; ++i) {
        __builtin_prefetch(to + i * step, 1, 3);
    }
}

// One bit for each of sixteen 2-bit choices: set where the choice equals q.
inline uint16_t chosen(uint32_t choices, int q) {
    const uint32_t different = choices ^ (0x55555555u * static_cast<uint32_t>(q));
    uint32_t bits = ~(different | different >> 1) & 0x55555555u;  // at the even places
    bits = (bits | bits >> 1) & 0x33333333u;
    bits = (bits | bits >> 2) & 0x0f0f0f0fu;
    bits = (bits | bits >> 4) & 0x00ff00ffu;
    return static_cast<uint16_t>(bits | bits >> 8);
}

// Moves sixteen bits to the even places of 32.
inline uint32_t spread_bits(uint16_t sixteen) {
    uint32_t bits = sixteen;
    bits = (bits | bits << 8) & 0x00ff00ffu;
    bits = (bits | bits << 4) & 0x0f0f0f0fu;
    bits = (bits | bits << 2) & 0x33333333u;
    return (bits | bits << 1) & 0x55555555u;
}

// The maximum of a 2 x 2 square (a b / c d), and which of the four it was: 0, 1, 2 or 3, the first
// of equals.
inline Lanes maximum(Lanes a, Lanes b, Lanes c, Lanes d, uint32_t* choices) {
    const uint16_t right = greater(b, a), low_right = greater(d, c);
    const Lanes upper = select(right, b, a), lower = select(low_right, d, c);
    const uint16_t low = greater(lower, upper);
    const uint16_t odd = static_cast<uint16_t>((low_right & low) | (right & ~low));
    *choices = spread_bits(odd) | spread_bits(low) << 1;
    return select(low, lower, upper);
}

// Transposes 16 x 16 numbers: each round moves the highest bit of the row's number below the lowest
// bit of the lane's, so that after four of them the two have changed places.
inline void transpose(Lanes (&rows)[kLanes]) {
    PYNST_UNROLL
    for (int round = 0; round < 4; ++round) {
        Lanes next[kLanes];
        PYNST_UNROLL
        for (int i = 0; i < kLanes / 2; ++i) {
            next[2 * i] = zip_low(rows[i], rows[i + kLanes / 2]);
            next[2 * i + 1] = zip_high(rows[i], rows[i + kLanes / 2]);
        }
        PYNST_UNROLL
        for (int i = 0; i < kLanes; ++i) {
            rows[i] = next[i];
        }
    }
}

// The sums over the lanes of N vectors, N a power of two, in the first N lanes of the result. Each
// round adds neighbouring lanes and so halves what has to be summed.
template <int N, int kRounds = 4>
inline Lanes sums(const Lanes* v) {
    if constexpr (N > 1) {
        Lanes halved[N / 2];
        PYNST_UNROLL
        for (int i = 0; i < N / 2; ++i) {
            halved[i] = even(v[2 * i], v[2 * i + 1]) + odd(v[2 * i], v[2 * i + 1]);
        }
        return sums<N / 2, kRounds - 1>(halved);
    } else if constexpr (kRounds > 0) {
        const Lanes halved = even(v[0], v[0]) + odd(v[0], v[0]);
        return sums<1, kRounds - 1>(&halved);
    } else {
        return v[0];
    }
}

inline Lanes average(Lanes a, Lanes b, Lanes c, Lanes d) {
    return broadcast(0.25f) * ((a + b) + (c + d));
}

}  // namespace PYNST_ISA
}  // namespace pynst
