/* Functions of single numbers with NumPy's and SciPy's definitions, where C has none or another one: for the CPU, and for
   the GPU, where `static inline` functions run as well. */
#define SCALAR_FUNCTIONS(T, s, f)                                                                                      \
    /* a - b floor(a / b), with the sign of b */                                                                       \
    static inline T remainder_##s(T a, T b) {                                                                          \
        const T r = fmod##f(a, b);                                                                                     \
        return r != 0 ? ((b < 0) != (r < 0) ? r + b : r) : copysign##f((T)0, b) + (r != r ? r : 0);                    \
    }                                                                                                                  \
    static inline T floor_divide_##s(T a, T b) {                                                                       \
        const T r = fmod##f(a, b);                                                                                     \
        const T q = (a - r) / b - (T)(r != 0 && (b < 0) != (r < 0)), whole = floor##f(q);                              \
        return b == 0 ? a / b : q == 0 ? copysign##f((T)0, a / b) : q - whole > (T)0.5 ? whole + 1 : whole;            \
    }                                                                                                                  \
    /* log(exp a + exp b) */                                                                                           \
    static inline T logaddexp_##s(T a, T b) {                                                                          \
        const T d = a - b;                                                                                             \
        return a == b ? a + (T)0.69314718055994530942 : d > 0 ? a + log1p##f(exp##f(-d)) : d <= 0 ? b + log1p##f(exp##f(d)) : d;        \
    }                                                                                                                  \
    /* log(x / (1 - x)), which near x = 1/2 is a difference of small numbers */                                        \
    static inline T logit_##s(T x) {                                                                                   \
        const T d = 2 * (x - (T)0.5);                                                                                  \
        return x < (T)0.3 || x > (T)0.65 ? log##f(x / (1 - x)) : log1p##f(d) - log1p##f(-d);                           \
    }                                                                                                                  \
    /* a log b, 0 where a = 0 and b is a number */                                                                     \
    static inline T xlogy_##s(T a, T b) { return a == 0 && b == b ? 0 : a * log##f(b); }                               \
    static inline T log_expit_##s(T x) { return x < 0 ? x - log1p##f(exp##f(x)) : -log1p##f(exp##f(-x)); }             \
    static inline T power_##s(T a, T b) { return pow##f(a, b); }                                                       \
    static inline T sign_##s(T x) { const T y = x > 0 ? 1 : x + 0; return x < 0 ? -1 : y; } /* x + 0: NaN stays, -0 is 0 */

SCALAR_FUNCTIONS(float, f32, f)
SCALAR_FUNCTIONS(double, f64, )

/* As NumPy has it, dividing by 0 gives 0. */
static inline int64_t remainder_i64(int64_t a, int64_t b) {
    if (b == 0 || b == -1) return 0;
    const int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static inline int64_t floor_divide_i64(int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (b == -1) return (int64_t)(0 - (uint64_t)a);
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* a to the power of b, modulo 2^64. */
static inline uint64_t power_u64(uint64_t a, uint64_t b) {
    uint64_t y = 1;
    for (; b; b /= 2, a *= a) y *= b % 2 ? a : 1;
    return y;
}
