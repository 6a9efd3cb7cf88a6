// threads.h: a small persistent pool of threads.

#pragma once

#include <functional>
#include <memory>

namespace pynst {

// Runs independent tasks on `count` threads, of which the calling thread is one.
//
// * Which thread computes a task is not fixed. Ops therefore cut their work so that the result of a
//   task does not depend on its thread.
// * Calls that several threads make at the same time are served one after another.
// * After fork() the child starts threads of its own at its first call.
class Threads {
   public:
    static constexpr int kMost = 1024;

    // count in 1..kMost; std::invalid_argument otherwise. The threads start at the first call of
    // run.
    explicit Threads(int count);
    ~Threads();
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    int count() const {
        return count_;
    }

    // Calls body(task, thread) for each task in [0, tasks), with 0 <= thread < count(), and returns
    // when all are done. body must not throw, nor run tasks on the same pool. Throws
    // std::runtime_error if the system does not give that many threads.
    void run(int tasks, const std::function<void(int task, int thread)>& body);

   private:
    struct Pool;

    int count_;
    std::unique_ptr<Pool> pool_;
};

}  // namespace pynst
