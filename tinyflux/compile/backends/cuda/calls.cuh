// Sorting, and factors of matrices, as linalg.h has them for the CPU; there stands what their results are.

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

// A block calculates one matrix.
template <class T>
static __device__ void factors(char* shared, const T* a, T* lu, int n) {
    const int thread = threadIdx.x, threads = blockDim.x;
    int& pivot = *reinterpret_cast<int*>(shared);
    T* const swaps = lu + n * n;
    for (int e = thread; e < n * n; e += threads) lu[e] = a[e];
    for (int k = 0; k < n; ++k) {
        __syncthreads();
        if (thread == 0) {
            pivot = k;
            for (int i = k + 1; i < n; ++i)
                if (fabs(lu[i * n + k]) > fabs(lu[pivot * n + k])) pivot = i;
            swaps[k] = static_cast<T>(pivot);
        }
        __syncthreads();
        const int p = pivot;
        for (int j = thread; j < n && p != k; j += threads) {
            const T other = lu[p * n + j];
            lu[p * n + j] = lu[k * n + j];
            lu[k * n + j] = other;
        }
        __syncthreads();
        const T diagonal = lu[k * n + k];
        const int rest = diagonal == 0 ? 0 : n - k - 1;  // all below is 0, too
        for (int i = thread; i < rest; i += threads) lu[(k + 1 + i) * n + k] /= diagonal;
        __syncthreads();
        for (int e = thread; e < rest * rest; e += threads) {
            const int i = k + 1 + e / rest, j = k + 1 + e % rest;
            lu[i * n + j] -= lu[i * n + k] * lu[k * n + j];
        }
    }
}

// Each thread calculates columns of x by itself.
template <class T>
static __device__ void solve(const T* lu, const T* b, T* x, int n, int m, int code, int32_t* fault) {
    const int thread = threadIdx.x, threads = blockDim.x;
    const T* const swaps = lu + n * n;
    for (int i = thread; i < n; i += threads)
        if (lu[i * n + i] == 0) note_fault(code, fault);
    for (int j = thread; j < m; j += threads) {
        for (int i = 0; i < n; ++i) x[i * m + j] = b[i * m + j];
        for (int i = 0; i < n; ++i) {
            const int p = static_cast<int>(swaps[i]);
            const T other = x[p * m + j];
            x[p * m + j] = x[i * m + j];
            x[i * m + j] = other;
        }
        for (int i = 0; i < n; ++i)
            for (int k = 0; k < i; ++k) x[i * m + j] -= lu[i * n + k] * x[k * m + j];
        for (int i = n - 1; i >= 0; --i) {
            for (int k = i + 1; k < n; ++k) x[i * m + j] -= lu[i * n + k] * x[k * m + j];
            x[i * m + j] /= lu[i * n + i];
        }
    }
}

template <class T>
static __device__ void cholesky(const T* a, T* l, int n, int code, int32_t* fault) {
    const int thread = threadIdx.x, threads = blockDim.x;
    for (int e = thread; e < n * n; e += threads) l[e] = e % n <= e / n ? a[e] : 0;
    for (int k = 0; k < n; ++k) {
        __syncthreads();
        const T square = l[k * n + k], diagonal = sqrt(square);
        if (square <= 0 && thread == 0) note_fault(code, fault);
        __syncthreads();
        for (int i = k + thread; i < n; i += threads) l[i * n + k] = i == k ? diagonal : l[i * n + k] / diagonal;
        __syncthreads();
        const int rest = n - k - 1;
        for (int e = thread; e < rest * rest; e += threads) {
            const int i = k + 1 + e / rest, j = k + 1 + e % rest;
            if (j <= i) l[i * n + j] -= l[i * n + k] * l[j * n + k];
        }
    }
}
