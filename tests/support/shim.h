// What CUDA has and C++ hasn't, as far as the kernels use it: they run on the CPU, one fiber to a CUDA thread.
//
// The threads of a block run one at a time and change places at barriers, and where a warp exchanges values, only, in an
// order that the caller gives; blocks run one after another. A kernel that is right gives the same in every order.
//
// A fiber begins by setcontext, and changes places by _longjmp, which is no system call and so many times faster.

#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

struct Index {
    unsigned x;
};

static Index threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

enum Stop { BARRIER, EXCHANGE, FINISHED };  // where a thread waits

struct Thread {
    char stack[1 << 16];
    jmp_buf place;  // where it waits
    bool fenced;
    Stop stop;
    int exchanges;     // so far
    char given[2][8];  // in the latest two of them
};

static const char* fault;  // what went wrong in a launch
static jmp_buf scheduler;
static Thread *threads, *current;
static void (*kernel)(void**);
static void** arguments;

static __attribute__((noinline)) void wait(Stop stop) {
    current->stop = stop;
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}

// A thread of one block after another.
static void fiber() {
    for (;;) {
        wait(FINISHED);
        kernel(arguments);
    }
}

static __attribute__((noinline)) void start(Thread* thread) {
    static ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = thread->stack;
    context.uc_stack.ss_size = sizeof(thread->stack);
    makecontext(&context, fiber, 0);
    current = thread;
    if (!_setjmp(scheduler)) setcontext(&context);
}

static __attribute__((noinline)) void resume(Thread* thread) {
    current = thread;
    if (!_setjmp(scheduler)) _longjmp(thread->place, 1);
}

// Run threads to their next stop: all of them, or those that exchange values.
static void run_threads(const unsigned* order, bool all) {
    for (unsigned i = 0; i < blockDim.x; ++i) {
        if (!all && threads[order[i]].stop != EXCHANGE) continue;
        threadIdx.x = order[i];
        resume(&threads[order[i]]);
    }
}

// Whether any thread exchanges values; then all of its warp have to.
static bool find_exchange() {
    bool found = false;
    for (unsigned i = 0; i < blockDim.x; ++i) {
        const Thread &thread = threads[i], &first = threads[i / 32 * 32];
        if ((thread.stop == EXCHANGE) != (first.stop == EXCHANGE)) fault = "an exchange that not all threads of a warp reach";
        found = found || thread.stop == EXCHANGE;
    }
    return found;
}

static void run_block(const unsigned* order) {
    const unsigned count = blockDim.x;
    for (unsigned i = 0; i < count; ++i) {
        threads[i].fenced = false;
        threads[i].exchanges = 0;
    }
    for (unsigned finished = 0; finished == 0 && !fault;) {  // from barrier to barrier
        run_threads(order, true);
        while (find_exchange() && !fault) run_threads(order, false);
        for (unsigned i = 0; i < count; ++i) finished += threads[i].stop == FINISHED;
        if (!fault && finished != 0 && finished != count) {
            fault = "a barrier that not all threads of a block reach";
        }
    }
}

// The orders are permutations of the blocks and of the threads of each block; `memory` has room for as many threads.
static const char* run(unsigned grid, unsigned block, const unsigned* blocks, const unsigned* order, void* memory) {
    fault = nullptr;
    gridDim.x = grid;
    blockDim.x = block;
    threads = static_cast<Thread*>(memory);
    for (unsigned i = 0; i < block; ++i) start(&threads[i]);
    for (unsigned i = 0; i < grid && !fault; ++i) {
        blockIdx.x = blocks[i];
        run_block(order);
    }
    return fault;
}

}  // namespace shim

static void __syncthreads() {
    shim::current->fenced = false;
    shim::wait(shim::BARRIER);
}

template <class T>
static T __shfl_xor_sync(unsigned mask, T value, int lanes) {
    const unsigned other = threadIdx.x ^ lanes;
    const int turn = shim::current->exchanges++ % 2;
    memcpy(shim::current->given[turn], &value, sizeof value);
    shim::wait(shim::EXCHANGE);
    if (mask != 0xffffffff || lanes >= 32 || other >= blockDim.x) {
        shim::fault = "an exchange with a thread that there is not";
        return value;
    }
    memcpy(&value, shim::threads[other].given[turn], sizeof value);
    return value;
}

static void __threadfence() { shim::current->fenced = true; }

static unsigned atomicInc(unsigned* address, unsigned limit) {
    if (!shim::current->fenced) shim::fault = "atomicInc without a __threadfence since the last barrier";
    const unsigned old = *address;
    *address = old >= limit ? 0 : old + 1;
    return old;
}

static int atomicCAS(int* address, int compare, int value) {
    const int old = *address;
    if (old == compare) *address = value;
    return old;
}

static unsigned atomicOr(unsigned* address, unsigned bits) {
    const unsigned old = *address;
    *address |= bits;
    return old;
}

static int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
