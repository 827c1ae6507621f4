/* Sorting, and factors of matrices, in the memory of their arguments and results alone. Those that can fail return 1 then.

   Matrices lie row by row. The factors of a matrix A of n rows are n + 1 rows: L without its diagonal of ones and U, with
   L U = P A, and a last row with the number of the row that each row was swapped with, from the first on. */

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
            int64_t *other = a;                                                                                        \
            a = b;                                                                                                     \
            b = other;                                                                                                 \
        }                                                                                                              \
    }

#define TF_AFTER(a, b) ((a) > (b) || ((a) != (a) && (b) == (b)))
SORTING(float, f32, TF_AFTER)
SORTING(double, f64, TF_AFTER)
SORTING(int64_t, i64, TF_AFTER)
SORTING(uint64_t, u64, TF_AFTER)

#define FACTORS(T, s, f)                                                                                               \
    static void factors_##s(const T *a, T *lu, int64_t n) {                                                            \
        T *swaps = lu + n * n;                                                                                         \
        memcpy(lu, a, n * n * sizeof(T));                                                                              \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            int64_t p = k;                                                                                             \
            for (int64_t i = k + 1; i < n; i++)                                                                        \
                if (fabs##f(lu[i * n + k]) > fabs##f(lu[p * n + k])) p = i;                                            \
            swaps[k] = (T)p;                                                                                           \
            for (int64_t j = 0; j < n && p != k; j++) {                                                                \
                const T other = lu[p * n + j];                                                                         \
                lu[p * n + j] = lu[k * n + j];                                                                         \
                lu[k * n + j] = other;                                                                                 \
            }                                                                                                          \
            if (lu[k * n + k] == 0) continue; /* all below is 0, too */                                                \
            for (int64_t i = k + 1; i < n; i++) {                                                                      \
                const T l = lu[i * n + k] /= lu[k * n + k];                                                            \
                for (int64_t j = k + 1; j < n; j++) lu[i * n + j] -= l * lu[k * n + j];                                \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    /* The m columns x with A x = b; fails where A is singular. */                                                     \
    static int solve_##s(const T *restrict lu, const T *b, T *restrict x, int64_t n, int64_t m) {                      \
        const T *swaps = lu + n * n;                                                                                   \
        for (int64_t i = 0; i < n; i++)                                                                                \
            if (lu[i * n + i] == 0) return 1;                                                                          \
        memcpy(x, b, n * m * sizeof(T));                                                                               \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            T *row = x + i * m, *other = x + (int64_t)swaps[i] * m;                                                    \
            for (int64_t j = 0; j < m && row != other; j++) {                                                          \
                const T swapped = row[j];                                                                              \
                row[j] = other[j];                                                                                     \
                other[j] = swapped;                                                                                    \
            }                                                                                                          \
        }                                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t k = 0; k < i; k++)                                                                            \
                for (int64_t j = 0; j < m; j++) x[i * m + j] -= lu[i * n + k] * x[k * m + j];                          \
        for (int64_t i = n - 1; i >= 0; i--) {                                                                         \
            for (int64_t k = i + 1; k < n; k++)                                                                        \
                for (int64_t j = 0; j < m; j++) x[i * m + j] -= lu[i * n + k] * x[k * m + j];                          \
            for (int64_t j = 0; j < m; j++) x[i * m + j] /= lu[i * n + i];                                             \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
    /* L with L L^T = A, of which the lower triangle is read; fails where A is not positive definite. */               \
    static int cholesky_##s(const T *restrict a, T *restrict l, int64_t n) {                                           \
        memset(l, 0, n * n * sizeof(T));                                                                               \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            for (int64_t j = 0; j <= i; j++) {                                                                         \
                T rest = a[i * n + j];                                                                                 \
                for (int64_t k = 0; k < j; k++) rest -= l[i * n + k] * l[j * n + k];                                   \
                if (i == j && rest <= 0) return 1;                                                                      \
                l[i * n + j] = i == j ? sqrt##f(rest) : rest / l[j * n + j];                                           \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }

FACTORS(float, f32, f)
FACTORS(double, f64, )
