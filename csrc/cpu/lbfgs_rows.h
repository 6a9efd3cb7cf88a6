// lbfgs_rows.h: the kept vectors of L-BFGS, a run at a time.
//
// In half precision a run of 1024 values is kept as whole numbers of 16 bits, from -32767 to 32767,
// times one factor: the largest value of the run / 32767. So a value is off by 1/65534 of the
// largest one at most.

#pragma once

#include <cmath>
#include <limits>

#include "kernels.h"

namespace pynst {

constexpr float kLargestNumber = 32767.0f;

// Where the values of a run are to be written before `keep_run`: its own place, or `room`.
inline float* run_to_fill(const PairRows& pairs, int row, size_t begin, float* room) {
    return pairs.values != nullptr ? pairs.values + row * pairs.n + begin : room;
}

// Keeps what has been written there. A run that is not finite is kept as zeros: the descent ends.
inline void keep_run(
    const PairRows& pairs, int row, size_t begin, size_t count, const float* values) {
    if (pairs.values != nullptr) {
        return;
    }
    float largest = 0.0f;
    bool finite = true;
    for (size_t i = 0; i < count; ++i) {
        const float size = std::fabs(values[i]);
        finite &= size <= std::numeric_limits<float>::max();
        largest = size > largest ? size : largest;
    }
    const float factor = largest / kLargestNumber;
    const bool any = finite && factor >= std::numeric_limits<float>::min();
    const float inverse = any ? 1.0f / factor : 0.0f;
    int16_t* const numbers = pairs.numbers + row * pairs.n + begin;
    for (size_t i = 0; i < count; ++i) {
        const float scaled = any ? values[i] * inverse : 0.0f;
        // Halves are rounded away from zero. Rounding of `inverse` moves 32767 by less than a half.
        numbers[i] = static_cast<int16_t>(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    }
    pairs.factors[row * runs_of(pairs.n) + begin / kVectorRun] = any ? factor : 0.0f;
}

// The values of a run, in their own place or in `room`.
inline const float* kept_run(
    const PairRows& pairs, int row, size_t begin, size_t count, float* room) {
    if (pairs.values != nullptr) {
        return pairs.values + row * pairs.n + begin;
    }
    const int16_t* const numbers = pairs.numbers + row * pairs.n + begin;
    const float factor = pairs.factors[row * runs_of(pairs.n) + begin / kVectorRun];
    for (size_t i = 0; i < count; ++i) {
        room[i] = factor * static_cast<float>(numbers[i]);
    }
    return room;
}

}  // namespace pynst
