// inner.cpp: chooses the inner kernels at run time.

#include "inner.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(PYNST_X86)
#include <cpuid.h>
#endif
#if defined(PYNST_AMX)
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

#if defined(PYNST_X86)
struct Offered {
    bool avx2 = false;    // with FMA
    bool avx512 = false;  // F, BW, DQ and VL, with FMA
};

// The processor tells by CPUID what it has, and by XGETBV which registers the system saves when it
// switches threads; a set of instructions needs both.
// __builtin_cpu_supports would say the same, but reads a table that some compilers' run-time
// libraries leave empty.
Offered offered() {
    constexpr unsigned kFma = 1u << 12, kXgetbv = 1u << 27;                  // leaf 1, ecx
    constexpr unsigned kAvx2 = 1u << 5;                                      // leaf 7, ebx
    constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
    constexpr unsigned kYmm = 0x6, kZmm = 0xe6;  // register files, as XGETBV counts them
    Offered found;
    unsigned eax, ebx, ecx, edx, saved, high;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 ||
        (ecx & (kFma | kXgetbv)) != (kFma | kXgetbv)) {
        return found;
    }
    asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & kYmm) != kYmm || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) {
        return found;
    }
    found.avx2 = (ebx & kAvx2) != 0;
    found.avx512 = (saved & kZmm) == kZmm && (ebx & kAvx512) == kAvx512;
    return found;
}
#endif

#if defined(PYNST_AMX)
// Whether the processor multiplies bfloat16 in tiles and the system lets this process use them. A
// process has to ask for the eight kilobytes of the tiles' state.
bool has_amx() {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24;
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
           (edx & (kBfloat16 | kTiles)) == (kBfloat16 | kTiles) &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

// The tables that this processor can run, best first.
std::vector<const Inner*> supported() {
    std::vector<const Inner*> tables;
#if defined(PYNST_X86)
    const Offered processor = offered();
#if defined(PYNST_AMX)
    if (processor.avx512 && has_amx()) {
        tables.push_back(&amx::kInner);
    }
#endif
    if (processor.avx512) {
        tables.push_back(&avx512::kInner);
    }
    if (processor.avx2) {
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
    static const Inner& chosen = choose();  // where choose() throws, the next call tries again
    return chosen;
}

}  // namespace pynst
