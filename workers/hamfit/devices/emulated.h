// CUDA's words on a plain processor, for compiling the kernels with g++: see emulated.py.
#pragma once
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__
#define __launch_bounds__(...)

struct emulated_dim3 { int x, y, z; };
static emulated_dim3 threadIdx, blockIdx, blockDim, gridDim;
// dynamic shared memory: what kernels declare as extern __shared__ double tile[]
double tile[96 * 1024 / 8];

template <class T> inline T __ldg(const T* p) { return *p; }
// rounded on their own, whatever the flags say of other products and sums: the compiler must not see through it
inline double emulated_opaque(double x) {
#if defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#else
    volatile double kept = x;
    x = kept;
#endif
    return x;
}
inline double __dmul_rn(double a, double b) { return emulated_opaque(a * b); }
inline double __dadd_rn(double a, double b) { return emulated_opaque(emulated_opaque(a) + emulated_opaque(b)); }
inline int atomicAdd(int* p, int v) { int old = *p; *p += v; return old; }
inline int atomicMin(int* p, int v) { int old = *p; if (v < old) *p = v; return old; }
inline int atomicMax(int* p, int v) { int old = *p; if (v > old) *p = v; return old; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

namespace emulated {

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done;
};

static std::vector<Fiber*> fibers;
static ucontext_t scheduler;
static int current;
static const std::function<void()>* body;
static unsigned long long state = 0x9E3779B97F4A7C15ull;

// An order of 0 .. n - 1 that changes from call to call, and is the same in every run.
inline std::vector<int> shuffled(int n) {
    std::vector<int> order(n);
    for (int k = 0; k < n; ++k) order[k] = k;
    for (int k = n - 1; k > 0; --k) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        int other = (int)((state >> 33) % (unsigned long long)(k + 1));
        int kept = order[k];
        order[k] = order[other];
        order[other] = kept;
    }
    return order;
}

inline void run(int blocks, int threads, const std::function<void()>& call) {
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (int block : shuffled(blocks)) {
        blockIdx = {block, 0, 0};
        for (int thread : shuffled(threads)) {
            threadIdx = {thread, 0, 0};
            call();
        }
    }
}

inline void enter() {
    (*body)();
    fibers[current]->done = true;
}

inline void run_with_barriers(int blocks, int threads, const std::function<void()>& call) {
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    body = &call;
    while ((int)fibers.size() < threads) {
        fibers.push_back(new Fiber());
        fibers.back()->stack.resize(64 * 1024);
    }
    for (int block : shuffled(blocks)) {
        blockIdx = {block, 0, 0};
        // what a block left in shared memory means nothing to the next
        memset(tile, 0xFF, sizeof(tile));
        for (int k = 0; k < threads; ++k) {
            Fiber* fiber = fibers[k];
            getcontext(&fiber->context);
            fiber->context.uc_stack.ss_sp = fiber->stack.data();
            fiber->context.uc_stack.ss_size = fiber->stack.size();
            fiber->context.uc_link = &scheduler;
            fiber->done = false;
            makecontext(&fiber->context, enter, 0);
        }
        int left = threads;
        while (left > 0) {
            int ended = 0;
            for (int k : shuffled(threads)) {
                if (fibers[k]->done) continue;
                current = k;
                threadIdx = {k, 0, 0};
                swapcontext(&scheduler, &fibers[k]->context);
                ended += fibers[k]->done;
            }
            if (ended != 0 && ended != left) {
                fprintf(stderr, "some threads of block %d ended while others wait at a barrier\n", block);
                abort();
            }
            left -= ended;
        }
    }
}

}  // namespace emulated

inline void __syncthreads() {
    int me = emulated::current;
    swapcontext(&emulated::fibers[me]->context, &emulated::scheduler);
}
