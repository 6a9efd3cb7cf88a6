// inner.cpp: chooses the inner kernels at run time.

#include "inner.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(PYNST_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pynst {

// The tables; each is defined in the inner/*.cpp of its name.
#if defined(PYNST_X86)
#if defined(PYNST_AMX)
namespace amx {
extern const Inner kInner;
}
#endif
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

#if defined(PYNST_AMX)
// Whether the processor multiplies bfloat16 in tiles and the system lets this process use them: the
// tiles' eight kilobytes of state have to be asked for.
bool has_amx() {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24;
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
           (edx & (kBfloat16 | kTiles)) == (kBfloat16 | kTiles) &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

// Those that this processor can run, best first.
std::vector<const Inner*> supported() {
    std::vector<const Inner*> tables;
#if defined(PYNST_X86)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("fma");
#if defined(PYNST_AMX)
    if (avx512 && has_amx()) {
        tables.push_back(&amx::kInner);
    }
#endif
    if (avx512) {
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

std::vector<const char*> instruction_sets() {
    std::vector<const char*> names;
    for (const Inner* table : supported()) {
        names.push_back(table->name);
    }
    return names;
}

const Inner& inner() {
    static const Inner& chosen = choose();  // a choice that throws is tried again at the next call
    return chosen;
}

}  // namespace pynst
