/* The processor's peak: independent fused multiply-adds, nothing else.
 *
 * Twelve accumulators hide the latency of two FMA units of four to five cycles; the compiler's own
 * vectors are as wide as the instruction set that it compiles for. */

#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif

typedef float Vector __attribute__((vector_size(WIDTH)));

enum { kAccumulators = 12 };

/* Runs `rounds` rounds; writes a sum, so that nothing can be left out; returns the FLOP done. */
double fma_rounds(long rounds, float* sum) {
    /* Read at run time: a compiler that knows these finds an accumulator that stays what it is. */
    static volatile const float given[2] = {0.999999f, 1e-6f};
    Vector a[kAccumulators];
    Vector scale = {0}, offset = {0};
    scale += given[0];
    offset += given[1];
    for (int i = 0; i < kAccumulators; ++i) a[i] = offset + (float)i;
    for (long round = 0; round < rounds; ++round) {
        for (int i = 0; i < kAccumulators; ++i) a[i] = a[i] * scale + offset;
    }
    *sum = 0;
    for (int i = 0; i < kAccumulators; ++i) *sum += a[i][0];
    return 2.0 * kAccumulators * (WIDTH / sizeof(float)) * (double)rounds;
}
