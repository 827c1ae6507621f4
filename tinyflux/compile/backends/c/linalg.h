/* Sorting, and factors of matrices, in the memory of their arguments and results alone. Those that can fail return 1 then.

   Matrices lie row by row. The factors of a matrix A of n rows are n + 1 rows: L without its diagonal of ones and U, with
   L U = P A, and a last row with the number of the row that each row was swapped with, from the first on. */

#define TF_SWAP(T, x, y) do { T swapped = x; x = y; y = swapped; } while (0)

/* The places of a row's elements in ascending order, NaN last, equal ones as they stand: merges of ever longer stretches,
   from one half of `to`, which has room for two rows, into the other. The places end in its first half. */
#define SORTING(T, s, AFTER)                                                                                           \
    static void argsort_##s(const T *x, int64_t *to, int64_t n) {                                                      \
        int64_t *from = to + n, rounds = 0;                                                                            \
        for (int64_t width = 1; width < n; width *= 2) rounds++;                                                       \
        int64_t *a = rounds % 2 ? from : to, *b = rounds % 2 ? to : from;                                              \
        for (int64_t i = 0; i < n; i++) a[i] = i;                                                                      \
        for (int64_t width = 1; width < n; width *= 2) {                                                               \
            for (int64_t start = 0; start < n; start += 2 * width) {                                                   \
                const int64_t middle = start + width < n ? start + width : n;                                          \
                const int64_t end = start + 2 * width < n ? start + 2 * width : n;                                     \
                int64_t i = start, j = middle;                                                                         \
                for (int64_t k = start; k < end; k++) {                                                                \
                    const int right = i == middle || (j < end && AFTER(x[a[i]], x[a[j]]));                             \
                    b[k] = right ? a[j++] : a[i++];                                                                    \
                }                                                                                                      \
            }                                                                                                          \
            TF_SWAP(int64_t *, a, b);                                                                                  \
        }                                                                                                              \
    }

#define TF_AFTER(a, b) ((a) > (b) || ((a) != (a) && (b) == (b)))
SORTING(float, f32, TF_AFTER)
SORTING(double, f64, TF_AFTER)
SORTING(int64_t, i64, TF_AFTER)
SORTING(uint64_t, u64, TF_AFTER)

/* The threads of a block share the work of a matrix on a GPU, where device.cuh defines these; here there is one. */
#ifndef TF_THREAD
#define TF_THREAD 0
#define TF_THREADS 1
#define TF_WARP 1
#define TF_BARRIER (void)0
#endif

#define FACTORS(T, s, f)                                                                                               \
    static void factors_##s(const T *a, T *lu, int64_t n) {                                                            \
        T *swaps = lu + n * n;                                                                                         \
        for (int64_t e = TF_THREAD; e < n * n; e += TF_THREADS) lu[e] = a[e];                                          \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            TF_BARRIER;                                                                                                \
            if (TF_THREAD == 0) {                                                                                      \
                int64_t p = k;                                                                                         \
                for (int64_t i = k + 1; i < n; i++)                                                                    \
                    if (fabs##f(lu[i * n + k]) > fabs##f(lu[p * n + k])) p = i;                                        \
                swaps[k] = (T)p;                                                                                       \
            }                                                                                                          \
            TF_BARRIER;                                                                                                \
            const int64_t p = (int64_t)swaps[k];                                                                       \
            for (int64_t j = TF_THREAD; j < n && p != k; j += TF_THREADS)                                              \
                TF_SWAP(T, lu[p * n + j], lu[k * n + j]);                                                              \
            TF_BARRIER;                                                                                                \
            const T diagonal = lu[k * n + k]; /* where it is 0, all below is 0, too */                                 \
            for (int64_t i = k + 1 + TF_THREAD / TF_WARP; i < n && diagonal != 0; i += TF_THREADS / TF_WARP) {         \
                const T l = lu[i * n + k] / diagonal;                                                                  \
                for (int64_t j = k + 1 + TF_THREAD % TF_WARP; j < n; j += TF_WARP) lu[i * n + j] -= l * lu[k * n + j]; \
            }                                                                                                          \
        }                                                                                                              \
        TF_BARRIER;                                                                                                    \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t j = TF_THREAD; j < i; j += TF_THREADS) lu[i * n + j] /= lu[j * n + j] == 0 ? 1 : lu[j * n + j];\
    }                                                                                                                  \
    /* The m columns x with A x = b, each calculated by one thread; fails where A is singular. */                      \
    static int solve_##s(const T *restrict lu, const T *b, T *restrict x, int64_t n, int64_t m) {                      \
        const T *swaps = lu + n * n;                                                                                   \
        for (int64_t i = 0; i < n; i++)                                                                                \
            if (lu[i * n + i] == 0) return 1;                                                                          \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t j = TF_THREAD; j < m; j += TF_THREADS) x[i * m + j] = b[i * m + j];                           \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            T *row = x + i * m, *other = x + (int64_t)swaps[i] * m;                                                    \
            for (int64_t j = TF_THREAD; j < m && row != other; j += TF_THREADS)                                        \
                TF_SWAP(T, row[j], other[j]);                                                                          \
        }                                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t k = 0; k < i; k++)                                                                            \
                for (int64_t j = TF_THREAD; j < m; j += TF_THREADS) x[i * m + j] -= lu[i * n + k] * x[k * m + j];      \
        for (int64_t i = n - 1; i >= 0; i--) {                                                                         \
            for (int64_t k = i + 1; k < n; k++)                                                                        \
                for (int64_t j = TF_THREAD; j < m; j += TF_THREADS) x[i * m + j] -= lu[i * n + k] * x[k * m + j];      \
            for (int64_t j = TF_THREAD; j < m; j += TF_THREADS) x[i * m + j] /= lu[i * n + i];                         \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
    /* L with L L^T = A, of which the lower triangle is read; fails where A is not positive definite. */               \
    static int cholesky_##s(const T *restrict a, T *restrict l, int64_t n) {                                           \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t j = TF_THREAD; j <= i; j += TF_THREADS) l[i * n + j] = a[i * n + j];                          \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            TF_BARRIER;                                                                                                \
            const T square = l[k * n + k], diagonal = sqrt##f(square);                                                 \
            if (square <= 0) return 1;                                                                                 \
            TF_BARRIER;                                                                                                \
            /* Above the diagonal lies L^T meanwhile, whose rows are in one piece. */                                  \
            for (int64_t i = k + TF_THREAD; i < n; i += TF_THREADS)                                                    \
                l[k * n + i] = l[i * n + k] = i == k ? diagonal : l[i * n + k] / diagonal;                             \
            TF_BARRIER;                                                                                                \
            for (int64_t i = k + 1 + TF_THREAD / TF_WARP; i < n; i += TF_THREADS / TF_WARP) {                          \
                const T own = l[i * n + k];                                                                            \
                for (int64_t j = k + 1 + TF_THREAD % TF_WARP; j <= i; j += TF_WARP) l[i * n + j] -= own * l[k * n + j];\
            }                                                                                                          \
        }                                                                                                              \
        TF_BARRIER;                                                                                                    \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t j = i + 1 + TF_THREAD; j < n; j += TF_THREADS) l[i * n + j] = 0;                              \
        return 0;                                                                                                      \
    }

FACTORS(float, f32, f)
FACTORS(double, f64, )

#define SINGULAR(T, s, f, EPSILON)                                                                                     \
    /* A unit vector at right angles to the first k columns of U, in column k; there is one as k < m. */               \
    static void completed_##s(T *u, int64_t m, int64_t n, int64_t k) {                                                 \
        for (int64_t start = 0; start < m; start++) {                                                                  \
            T length = 0;                                                                                              \
            for (int64_t i = 0; i < m; i++) u[i * n + k] = i == start;                                                 \
            for (int64_t again = 0; again < 2; again++)                                                                \
                for (int64_t p = 0; p < k; p++) {                                                                      \
                    T along = 0;                                                                                       \
                    for (int64_t i = 0; i < m; i++) along += u[i * n + p] * u[i * n + k];                              \
                    for (int64_t i = 0; i < m; i++) u[i * n + k] -= along * u[i * n + p];                              \
                }                                                                                                      \
            for (int64_t i = 0; i < m; i++) length += u[i * n + k] * u[i * n + k];                                     \
            if (2 * m * length < 1) continue;                                                                          \
            for (int64_t i = 0; i < m; i++) u[i * n + k] /= sqrt##f(length);                                           \
            return;                                                                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    /* U, a row of singular values and V, of a matrix of m >= n rows, by Jacobi's rotations of pairs of columns, which end\
       at right angles to each other. */                                                                               \
    static int singular_##s(const T *restrict a, T *restrict u, int64_t m, int64_t n) {                                \
        T *sigma = u + m * n, *v = sigma + n, scale = 0;                                                               \
        for (int64_t i = 0; i < m * n; i++) {                                                                          \
            if (!isfinite(a[i])) return 1;                                                                             \
            scale = fmax##f(scale, fabs##f(a[i]));                                                                     \
        }                                                                                                              \
        for (int64_t i = 0; i < m * n; i++) u[i] = scale > 0 ? a[i] / scale : 0;                                       \
        for (int64_t i = 0; i < n * n; i++) v[i] = i / n == i % n;                                                     \
        for (int64_t round = 0, turned = 1; turned && round < 60; round++) {                                           \
            turned = 0;                                                                                                \
            for (int64_t p = 0; p < n; p++)                                                                            \
                for (int64_t q = p + 1; q < n; q++) {                                                                  \
                    T aa = 0, bb = 0, ab = 0;                                                                          \
                    for (int64_t i = 0; i < m; i++) {                                                                  \
                        const T x = u[i * n + p], y = u[i * n + q];                                                    \
                        aa += x * x;                                                                                   \
                        bb += y * y;                                                                                   \
                        ab += x * y;                                                                                   \
                    }                                                                                                  \
                    if (fabs##f(ab) <= m * EPSILON * sqrt##f(aa) * sqrt##f(bb)) continue;                              \
                    const T zeta = (bb - aa) / (2 * ab);                                                               \
                    const T tangent = (zeta < 0 ? -1 : 1) / (fabs##f(zeta) + hypot##f(1, zeta));                       \
                    const T cosine = 1 / hypot##f(1, tangent), sine = cosine * tangent;                                \
                    turned = 1;                                                                                        \
                    for (int64_t i = 0; i < m + n; i++) {                                                              \
                        T *row = i < m ? u + i * n : v + (i - m) * n;                                                  \
                        const T x = row[p], y = row[q];                                                                \
                        row[p] = cosine * x - sine * y;                                                                \
                        row[q] = sine * x + cosine * y;                                                                \
                    }                                                                                                  \
                }                                                                                                      \
        }                                                                                                              \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            sigma[k] = 0;                                                                                              \
            for (int64_t i = 0; i < m; i++) sigma[k] = hypot##f(sigma[k], u[i * n + k]);                               \
        }                                                                                                              \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            int64_t best = k;                                                                                          \
            for (int64_t j = k + 1; j < n; j++)                                                                        \
                if (sigma[j] > sigma[best]) best = j;                                                                  \
            for (int64_t i = 0; i < m + 1 + n && best != k; i++)                                                       \
                TF_SWAP(T, u[i * n + k], u[i * n + best]);                                                             \
            if (sigma[k] > 0)                                                                                          \
                for (int64_t i = 0; i < m; i++) u[i * n + k] /= sigma[k];                                              \
            else                                                                                                       \
                completed_##s(u, m, n, k);                                                                             \
            sigma[k] *= scale;                                                                                         \
        }                                                                                                              \
        return 0;                                                                                                      \
    }

SINGULAR(float, f32, f, 1e-7f)
SINGULAR(double, f64, , 2e-16)
