// What CUDA has and C++ hasn't, as far as the kernels use it: they run on the CPU, one fiber to a CUDA thread.
//
// The threads of a block run one at a time and change places at barriers only, in an order that the caller gives; blocks
// run one after another. A kernel that is right gives the same in every order.

#include <math.h>
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

struct Thread {
    ucontext_t context;
    char stack[1 << 16];
    bool finished, fenced;
};

static const char* fault;  // what went wrong in a launch
static ucontext_t scheduler;
static Thread *threads, *current;
static void (*kernel)(void**);
static void** arguments;

static void entry() {
    kernel(arguments);
    current->finished = true;
}

static void run_block(const unsigned* order) {
    const unsigned count = blockDim.x;
    for (unsigned i = 0; i < count; ++i) {
        Thread& thread = threads[i];
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack;
        thread.context.uc_stack.ss_size = sizeof(thread.stack);
        thread.context.uc_link = &scheduler;
        thread.finished = thread.fenced = false;
        makecontext(&thread.context, entry, 0);
    }
    for (unsigned finished = 0; finished == 0;) {  // from barrier to barrier
        for (unsigned i = 0; i < count; ++i) {
            threadIdx.x = order[i];
            current = &threads[order[i]];
            swapcontext(&scheduler, &current->context);
            finished += current->finished;
        }
        if (finished != 0 && finished != count) {
            fault = "a barrier that not all threads of a block reach";
        }
    }
}

// The orders are permutations of the blocks and of the threads of each block.
static const char* run(unsigned grid, unsigned block, const unsigned* blocks, const unsigned* order) {
    fault = nullptr;
    gridDim.x = grid;
    blockDim.x = block;
    threads = new Thread[block];
    for (unsigned i = 0; i < grid; ++i) {
        blockIdx.x = blocks[i];
        run_block(order);
    }
    delete[] threads;
    return fault;
}

}  // namespace shim

static void __syncthreads() {
    shim::current->fenced = false;
    swapcontext(&shim::current->context, &shim::scheduler);
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
