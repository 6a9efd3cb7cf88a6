// threads.cpp: workers that wait for a job, first in a short spin and then asleep.

#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace pynst {
namespace {

// Turns of a waiting loop before a thread sleeps or yields: some tens of microseconds, which is the
// time between two ops of a walk through a network.
constexpr int kSpins = 2000;

constexpr size_t kCacheLine = 64;  // bytes

long process() {
#if defined(__unix__) || defined(__APPLE__)
    return static_cast<long>(getpid());
#else
    return 0;
#endif
}

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

struct Threads::Pool {
    std::mutex caller;  // one job at a time
    long owner = process();
    std::vector<std::thread> workers;

    // The job. A worker takes part in job number `ticket` once it has seen that number; `working`
    // counts the workers that have not left it yet. Each of the three has a cache line of its own:
    // a worker that takes the next task would else take from the others the line in which they
    // look for the next job.
    const std::function<void(int, int)>* body = nullptr;
    int tasks = 0;
    alignas(kCacheLine) std::atomic<int> next{0};
    alignas(kCacheLine) std::atomic<int> working{0};
    alignas(kCacheLine) std::atomic<unsigned> ticket{0};

    std::mutex mutex;  // guards ticket and stop for the workers that sleep
    std::condition_variable wake;
    std::atomic<bool> stop{false};

    void take(int thread) {
        for (int task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) {
            (*body)(task, thread);
        }
    }

    void work(int thread) {
        for (unsigned seen = 0;; ++seen) {
            for (int spin = 0; spin < kSpins && ticket.load() == seen && !stop.load(); ++spin) {
                pause();
            }
            if (ticket.load() == seen) {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return ticket.load() != seen || stop.load(); });
            }
            if (stop.load()) {
                return;
            }
            take(thread);
            working.fetch_sub(1);
        }
    }

    void start(int count) {
        try {
            for (int thread = 1; thread < count; ++thread) {
                workers.emplace_back([this, thread] { work(thread); });
            }
        } catch (const std::system_error&) {
            const size_t given = workers.size() + 1;
            finish();
            throw std::runtime_error("Threads: the system gives " + std::to_string(given) + " of " +
                                     std::to_string(count) + " threads");
        }
    }

    void finish() {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            stop.store(true);
        }
        wake.notify_all();
        for (std::thread& worker : workers) {
            worker.join();
        }
    }
};

Threads::Threads(int count) : count_(count) {
    if (count < 1 || count > kMost) {
        throw std::invalid_argument("Threads: count must be in 1.." + std::to_string(kMost) +
                                    ", got " + std::to_string(count));
    }
}

Threads::~Threads() {
    if (pool_ == nullptr) {
        return;
    }
    if (pool_->owner != process()) {
        // This is a fork's copy: its threads do not exist here and cannot be joined.
        static_cast<void>(pool_.release());
        return;
    }
    pool_->finish();
}

void Threads::run(int tasks, const std::function<void(int, int)>& body) {
    if (count_ == 1 || tasks == 1) {
        for (int task = 0; task < tasks; ++task) {
            body(task, 0);
        }
        return;
    }
    static std::mutex creation;
    {
        const std::lock_guard<std::mutex> lock(creation);
        if (pool_ != nullptr && pool_->owner != process()) {
            static_cast<void>(pool_.release());
        }
        if (pool_ == nullptr) {
            auto pool = std::make_unique<Pool>();
            pool->start(count_);
            pool_ = std::move(pool);
        }
    }
    Pool& pool = *pool_;
    const std::lock_guard<std::mutex> job(pool.caller);
    pool.body = &body;
    pool.tasks = tasks;
    pool.next.store(0);
    pool.working.store(count_ - 1);
    {
        const std::lock_guard<std::mutex> lock(pool.mutex);
        pool.ticket.fetch_add(1);
    }
    pool.wake.notify_all();
    pool.take(0);
    for (int spin = 0; pool.working.load() != 0; ++spin) {
        if (spin < kSpins) {
            pause();
        } else {
            std::this_thread::yield();
        }
    }
}

}  // namespace pynst
