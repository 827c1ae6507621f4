// What the kernels of a program call beside CUDA's own functions; C's headers follow.

#ifdef __CUDACC_RTC__  // it has no headers of C's
#define int8_t signed char
#define int16_t short
#define int32_t int
#define int64_t long long
#define uint8_t unsigned char
#define uint16_t unsigned short
#define uint32_t unsigned
#define uint64_t unsigned long long
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif
#else
#include <stdint.h>
#include <string.h>
#endif
#define restrict __restrict__  // C++ has it by no other name

#ifndef RESTRICT  // of pointers, where nobody else writes what they point to while a kernel runs
#define RESTRICT __restrict__
#endif

constexpr int larger(int x, int y) { return x > y ? x : y; }

// The same address; but the compiler doesn't know that it has read from there before.
template <class T>
static __device__ T* read_anew(T* address) {
    asm volatile("" : "+l"(address));
    return address;
}

#define ELEMENTARY(T, s, f)                                                   \
    static inline __device__ T exp_##s(T x) { return exp##f(x); }            \
    static inline __device__ T log_##s(T x) { return log##f(x); }            \
    static inline __device__ T tanh_##s(T x) { return tanh##f(x); }          \
    static inline __device__ T sigmoid_##s(T x) { return 1 / (1 + exp##f(-x)); }

ELEMENTARY(float, f32, f)
ELEMENTARY(double, f64, )

// How the threads of a block share the work of a matrix: see linalg.h.
#define TF_THREAD (int64_t)threadIdx.x
#define TF_THREADS (int64_t)blockDim.x
#define TF_WARP 32
#define TF_BARRIER __syncthreads()

// The first fault of all is noted.
static inline __device__ void note_fault(int code, int32_t* fault) { atomicCAS(fault, 0, code); }

// An index from the start; where it is out of bounds, the first one.
static inline __device__ int64_t find_index(int64_t index, int64_t length, int code, int32_t* fault) {
    if (index >= -length && index < length) return index < 0 ? index + length : index;
    note_fault(code, fault);
    return 0;
}
