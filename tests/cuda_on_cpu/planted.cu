// planted.cu: runs a kernel of planted.cuh with its bug or without, for test_cuda_on_cpu.py.
//
//   planted NAME clean|planted      exit status 0: the result is right, 1: it is wrong

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "planted.cuh"

namespace pynst {
namespace {

// Memory of exactly the size asked for, which the device's allocator would round up.
struct Floats {
    std::vector<float> v;
    explicit Floats(int n, float first = NAN) : v(static_cast<size_t>(n)) {
        for (int i = 0; i < n; ++i) {
            v[static_cast<size_t>(i)] = std::isnan(first) ? NAN : first + static_cast<float>(i);
        }
    }
    operator float*() {
        return v.data();
    }
    template <class Wanted>
    bool are(Wanted wanted) const {
        for (size_t i = 0; i < v.size(); ++i) {
            if (!(v[i] == static_cast<float>(wanted(static_cast<int>(i))))) {
                std::printf("value %zu is %g\n", i, static_cast<double>(v[i]));
                return false;
            }
        }
        return true;
    }
};

// 16-byte aligned, as vectors need it.
struct Vectors {
    std::vector<float4> v;
    explicit Vectors(int n) : v(static_cast<size_t>(n)) {
        for (int i = 0; i < n; ++i) {
            v[static_cast<size_t>(i)] = {1.0f * i, 0.25f + i, 0.5f + i, 0.75f + i};
        }
    }
    bool operator==(const Vectors& other) const {
        return std::memcmp(v.data(), other.v.data(), v.size() * sizeof(float4)) == 0;
    }
};

bool run_memory(const std::string& name, bool planted) {
    if (name == "global_overrun") {
        Floats x(70, 1.0f), y(70);
        LAUNCH(neighbour_sum, (2), (64), 0, nullptr, x, 70, y, planted);
        return y.are([](int i) { return i < 69 ? 2 * i + 3 : 70; });
    }
    if (name == "shared_overrun") {
        Floats x(64, 1.0f), y(64);
        LAUNCH(reverse, (1), (64), 0, nullptr, x, y, planted);
        return y.are([](int i) { return 64 - i; });
    }
    if (name == "unwritten_shared") {
        Floats x(64, 1.0f), y(64);
        LAUNCH(sum_of_tile, (1), (64), 0, nullptr, x, y, planted);
        return y.are([](int) { return 65 * 32; });
    }
    Vectors x(33), y(32);
    LAUNCH(load_vectors, (1), (32), 0, nullptr, &x.v[0].x, &y.v[0].x, planted);
    return y == Vectors(32);
}

bool run_barriers(const std::string& name, bool planted) {
    Floats x(384, 0.0f), y(384), total(1);
    if (name == "no_barrier_in_reduction") {
        LAUNCH(block_sum, (1), (128), 0, nullptr, x, total, planted);
        return total.are([](int) { return 127 * 64; });
    }
    if (name == "no_syncwarp") {
        Floats rotated(32);
        LAUNCH(rotate_warp, (1), (32), 0, nullptr, x, rotated, planted);
        return rotated.are([](int i) { return (i + 1) % 32; });
    }
    if (name == "divergent_barrier") {
        Floats reversed(64);
        LAUNCH(wait_for_some, (1), (64), 0, nullptr, x, 50, reversed, planted);
        return reversed.are([](int i) { return i > 13 ? 63 - i : 0; });
    }
    const bool after = planted && name == "no_barrier_after_fill";
    const bool before = planted && name == "no_barrier_before_refill";
    LAUNCH(reverse_pieces, (1), (128), 0, nullptr, x, 3, y, after, before);
    return y.are([](int i) { return i / 128 * 128 + 127 - i % 128; });
}

bool run_warps(const std::string& name, bool planted) {
    Floats x(128, 0.0f), y(32);
    if (name == "divergent_shuffle") {
        LAUNCH(warp_sum_of_some, (1), (32), 0, nullptr, x, y, planted);
        return y.are([](int) { return 31 * 16; });
    }
    if (name == "shuffle_from_outside") {
        LAUNCH(shuffle_half, (1), (32), 0, nullptr, x, y, planted);
        return y.are([](int i) { return i < 15 ? i + 1 : i; });
    }
    if (name == "product_without_a_lane") {
        LAUNCH(product_of_some, (1), (32), 0, nullptr, y, planted);
        return y.are([](int) { return 1; });
    }
    LAUNCH(load_matrix_at, (1), (32), 0, nullptr, x, y, planted);
    return y.are([](int i) { return i; });
}

bool run_blocks(const std::string& name, bool planted) {
    if (name == "no_atomic_between_blocks") {
        int count = 0;
        LAUNCH(count_blocks, (5), (32), 0, nullptr, &count, planted);
        return count == 5;
    }
    const int n = 13 * 1024;  // 52 KB
    Floats y(64);
    if (!planted) {
        cudaFuncSetAttribute(fill_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * n);
    }
    LAUNCH(fill_dynamic, (1), (64), 4 * n, nullptr, y, n);  // SEEN: too_much_shared
    return y.are([](int) { return 2; });
}

bool run_clusters(const std::string& name, bool planted) {
    Vectors x(128), y(128), wanted(128);
    for (int i = 0; i < 128; ++i) {
        wanted.v[i] = x.v[127 - i];
    }
    const bool before = planted && name == "early_cluster_read";
    const bool after = planted && name == "early_cluster_exit";
    LAUNCH_CLUSTERS(
        exchange, (1, 1, 2), (64), 1024, nullptr, 2, x.v.data(), y.v.data(), before, after);
    return y == wanted;
}

bool run_copies(const std::string& name, bool planted) {
    if (name == "wait_for_wrong_copy") {
        Vectors x(96), y(96);
        std::fill(y.v.begin(), y.v.end(), float4{});
        LAUNCH(copy_ahead, (1), (32), 0, nullptr, x.v.data(), 3, y.v.data(), planted);
        return y == x;
    }
    Vectors x(64), y(64);
    std::fill(y.v.begin(), y.v.end(), float4{});
    const bool no_barrier = planted && name == "copy_without_barrier";
    const bool misaligned = planted && name == "misaligned_copy";
    LAUNCH(copy_for_others, (1), (64), 0, nullptr, x.v.data(), y.v.data(), no_barrier, misaligned);
    return y == x;
}

struct Group {
    std::vector<std::string> names;
    bool (*run)(const std::string& name, bool planted);
};

const Group kGroups[] = {
    {{"global_overrun", "shared_overrun", "unwritten_shared", "misaligned_vector"}, run_memory},
    {{"no_barrier_after_fill",
      "no_barrier_before_refill",
      "no_barrier_in_reduction",
      "no_syncwarp",
      "divergent_barrier"},
     run_barriers},
    {{"divergent_shuffle", "shuffle_from_outside", "product_without_a_lane", "misaligned_ldmatrix"},
     run_warps},
    {{"no_atomic_between_blocks", "too_much_shared"}, run_blocks},
    {{"early_cluster_read", "early_cluster_exit"}, run_clusters},
    {{"wait_for_wrong_copy", "copy_without_barrier", "misaligned_copy"}, run_copies},
};

}  // namespace
}  // namespace pynst

int main(int count, char** arguments) {
    if (count == 3) {
        const std::string name = arguments[1];
        for (const pynst::Group& group : pynst::kGroups) {
            for (const std::string& known : group.names) {
                if (known == name) {
                    const bool right = group.run(name, std::string(arguments[2]) == "planted");
                    std::puts(right ? "right" : "wrong");
                    return right ? 0 : 1;
                }
            }
        }
    }
    std::fprintf(stderr, "usage: planted NAME clean|planted\n");
    return 2;
}
