// messages.cpp: prints what a kernel does wrong, and ends the process.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

[[noreturn]] void fail_with(const Site* site, const char* format, std::va_list arguments) {
    char message[2048];
    std::vsnprintf(message, sizeof message, format, arguments);
    std::fprintf(stderr, "cuda_on_cpu: ");
    if (site != nullptr) {
        std::fprintf(stderr, "%s:%d: ", site->file, site->line);
    }
    std::fprintf(stderr, "%s\n", message);
    if (launched != nullptr) {
        std::fprintf(stderr,
                     "  in %s, launched at %s:%d",
                     launched->name,
                     launched->site.file,
                     launched->site.line);
        if (block != nullptr && block->live > 0) {
            const uint3 b = block->index;
            std::fprintf(stderr, ", block (%u, %u, %u)", b.x, b.y, b.z);
        }
        if (current != nullptr) {
            const uint3 t = current->place.thread;
            std::fprintf(stderr, ", thread (%u, %u, %u)", t.x, t.y, t.z);
        }
        std::fprintf(stderr, "\n");
    }
    std::fflush(stderr);
    std::abort();
}

// Prints where the threads of a block wait, those that wait in one place on one line.
void tell_threads(const Block& of) {
    const uint3 b = of.index;
    std::fprintf(stderr, "  block (%u, %u, %u)\n", b.x, b.y, b.z);
    std::vector<bool> told(of.count, false);
    for (unsigned i = 0; i < of.count; ++i) {
        const Thread& first = of.threads[i];
        const bool exited = first.state == State::exited;
        const auto likewise = [&](unsigned other) {
            const Thread& thread = of.threads[other];
            return thread.state == first.state && (exited || (thread.called == first.called &&
                                                              thread.site.line == first.site.line));
        };
        if (told[i]) {
            continue;
        }
        std::string threads;
        for (unsigned t = i, end; t < of.count; t = end) {
            for (end = t; end < of.count && likewise(end); ++end) {
                told[end] = true;
            }
            if (end > t && threads.size() < 60) {
                threads += (threads.empty() ? "" : ", ") + std::to_string(t) +
                           (end - t > 1 ? "-" + std::to_string(end - 1) : "");
            }
            end += end == t;
        }
        std::fprintf(stderr, "  threads %s ", threads.c_str());
        if (exited) {
            std::fprintf(stderr, "have exited\n");
        } else {
            std::fprintf(
                stderr, "wait in %s at %s:%d\n", first.called, first.site.file, first.site.line);
        }
    }
}

}  // namespace

void fail(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    fail_with(nullptr, format, arguments);
}

void fail_at(Site site, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    fail_with(&site, format, arguments);
}

void fail_deadlocked() {
    std::fprintf(stderr, "cuda_on_cpu: deadlock: all threads of a block wait or have exited\n");
    for (unsigned i = 0; i < cluster.count; ++i) {
        tell_threads(cluster.blocks[i]);
    }
    current = nullptr;
    fail("nobody can go on");
}

}  // namespace cuda_on_cpu
