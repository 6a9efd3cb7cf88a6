// threads.h: a small persistent pool of threads.

#pragma once

#include <functional>
#include <memory>

namespace pynst {

// Runs independent tasks on `count` threads, the calling one among them.
//
// * Which thread computes a task is not fixed; ops therefore cut their work in such a way that the
//   result of a task does not depend on it.
// * Calls from several threads at a time are served one after another.
// * After fork() the child starts threads of its own at its first call.
class Threads {
   public:
    explicit Threads(int count);
    ~Threads();
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    int count() const {
        return count_;
    }

    // Calls body(task, thread) for each task in [0, tasks), with 0 <= thread < count(), and returns
    // when all are done. body must not throw, nor run tasks on the same pool.
    void run(int tasks, const std::function<void(int task, int thread)>& body);

   private:
    struct Pool;

    int count_;
    std::unique_ptr<Pool> pool_;
};

}  // namespace pynst
