// inner.cpp: chooses the inner kernels at run time.

#include "inner.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace pynst {

// The tables, each defined in the inner_*.cpp of its name.
#if defined(PYNST_X86)
namespace avx512 {
extern const Inner kInner;
}
namespace avx2 {
extern const Inner kInner;
}
#endif
#if defined(__aarch64__)
namespace neon {
extern const Inner kInner;
}
#else
namespace generic {
extern const Inner kInner;
}
#endif

namespace {

// Those that this processor can run, best first.
std::vector<const Inner*> supported() {
    std::vector<const Inner*> tables;
#if defined(PYNST_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma")) {
        tables.push_back(&avx512::kInner);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        tables.push_back(&avx2::kInner);
    }
#endif
#if defined(__aarch64__)
    tables.push_back(&neon::kInner);
#else
    tables.push_back(&generic::kInner);
#endif
    return tables;
}

const Inner& choose() {
    const std::vector<const Inner*> tables = supported();
    const char* wanted = std::getenv("PYNST_CPU_ISA");
    if (wanted == nullptr || *wanted == '\0') {
        return *tables.front();
    }
    std::string names;
    for (const Inner* table : tables) {
        if (std::string(wanted) == table->name) {
            return *table;
        }
        names += (names.empty() ? "" : ", ") + std::string(table->name);
    }
    throw std::runtime_error("PYNST_CPU_ISA must be one of " + names + " on this processor, got '" +
                             wanted + "'");
}

}  // namespace

const Inner& inner() {
    static const Inner& chosen = choose();  // a choice that throws is tried again at the next call
    return chosen;
}

}  // namespace pynst
