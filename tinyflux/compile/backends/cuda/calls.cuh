// Sorting, as linalg.h has it for the CPU; there stands what the result is.

template <class T>
static inline __device__ bool comes_after(T a, T b) {
    return a > b || (a != a && b == b);
}

// A thread counts for each of its elements how many of the row come before it, which is its place: n steps each, all at
// the same time, and the threads of a warp read the same numbers.
template <class T>
static __device__ void argsort(unsigned block, unsigned blocks, const T* x, int64_t* to, int64_t rows, int64_t n) {
    const int64_t threads = blockDim.x;
    for (int64_t e = block * threads + threadIdx.x; e < rows * n; e += blocks * threads) {
        const int64_t row = e / n, i = e % n;
        const T* const line = x + row * n;
        const T own = line[i];
        int64_t place = 0;
        for (int64_t j = 0; j < n; ++j) place += comes_after(own, line[j]) || (j < i && !comes_after(line[j], own));
        to[2 * row * n + place] = i;
    }
}
