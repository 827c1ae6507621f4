/* Vectors of TF_LANES numbers of one type; included by matmul.h, once for each type. */

/* The first `lanes` numbers at p, the other lanes zero; nothing past them is touched. */
TF_INLINE TF_V TF_N(tf_load)(const TF_T *p, int lanes)
{
    if (__builtin_constant_p(lanes) && lanes == TF_LANES)
        return *(const TF_M *)p;
#if TF_BYTES == 64 && !defined(TF_ONE_BY_ONE)
    return TF_MASKED(load)((const void *)p, (TF_V){0}, (1u << lanes) - 1);
#elif TF_BYTES == 32 && !defined(TF_ONE_BY_ONE)
    return TF_MASKED(load)((const void *)p, TF_NUMBERS < lanes);
#else
    union { TF_V v; TF_T t[TF_LANES]; } u = {(TF_V){0}};
    for (int l = 0; l < lanes; l++)
        u.t[l] = p[l];
    return u.v;
#endif
}

/* Store the first `lanes` numbers of v at p. */
TF_INLINE void TF_N(tf_store)(TF_T *p, TF_V v, int lanes)
{
    if (__builtin_constant_p(lanes) && lanes == TF_LANES) {
        *(TF_M *)p = v;
        return;
    }
#if TF_BYTES == 64 && !defined(TF_ONE_BY_ONE)
    TF_MASKED(store)((void *)p, v, (1u << lanes) - 1);
#elif TF_BYTES == 32 && !defined(TF_ONE_BY_ONE)
    TF_MASKED(store)((void *)p, TF_NUMBERS < lanes, v);
#else
    union { TF_V v; TF_T t[TF_LANES]; } u = {v};
    for (int l = 0; l < lanes; l++)
        p[l] = u.t[l];
#endif
}

/* Store (or add) `lanes` numbers to c, in steps of c_j, or where places say; apart, so that it is compiled once. */
static __attribute__((noinline, unused)) void TF_N(tf_scatter)(TF_T *c, int64_t c_j, const int64_t *places, TF_M v,
                                                               int lanes, int add)
{
    for (int l = 0; l < lanes; l++) {
        TF_T *const to = c + (places ? places[l] : l * c_j);
        *to = (add ? *to : 0) + v[l];
    }
}

/* Store (or add) `lanes` results v to c. */
TF_INLINE void TF_N(tf_put)(TF_T *c, int64_t c_j, TF_V v, int lanes, int add)
{
    if (c_j == 1)
        TF_N(tf_store)(c, add ? v + TF_N(tf_load)(c, lanes) : v, lanes);
    else
        TF_N(tf_scatter)(c, c_j, NULL, v, lanes, add);
}

#if TF_LANES >= 16
#define TF_STEPS TF_STEP(8) TF_STEP(4) TF_STEP(2) TF_STEP(1)
#elif TF_LANES >= 8
#define TF_STEPS TF_STEP(4) TF_STEP(2) TF_STEP(1)
#elif TF_LANES >= 4
#define TF_STEPS TF_STEP(2) TF_STEP(1)
#else
#define TF_STEPS TF_STEP(1)
#endif

/* Transpose a square of TF_LANES vectors in place. */
TF_INLINE void TF_N(tf_transpose)(TF_V *s)
{
#define TF_STEP(h)                                               \
    TF_UNROLL for (int r = 0; r < TF_LANES; r++) if (!(r & h)) { \
        TF_V x = s[r], y = s[r + h];                             \
        s[r] = TF_MIX(x, y, h, TF_LO);                           \
        s[r + h] = TF_MIX(x, y, h, TF_HI);                       \
    }
    TF_STEPS
#undef TF_STEP
}

/* Lane r of the result is the sum over the lanes of s[r]: the transposition, adding what it would exchange,
   so that half of the vectors remain after each step. */
TF_INLINE TF_V TF_N(tf_sums)(TF_V *s)
{
#define TF_STEP(h)                        \
    TF_UNROLL for (int r = 0; r < h; r++) \
        s[r] = TF_MIX(s[r], s[r + h], h, TF_LO) + TF_MIX(s[r], s[r + h], h, TF_HI);
    TF_STEPS
#undef TF_STEP
    return s[0];
}
#undef TF_STEPS

/* packed[k, :] = b[:, k] for n <= TF_WIDE vectors of rows and k < deep, padded with zeros to whole vectors. */
TF_INLINE void TF_N(tf_pack)(int64_t n, int64_t deep, const TF_T *b, int64_t ldb, TF_T *packed)
{
    const int64_t width = (n + TF_LANES - 1) / TF_LANES * TF_LANES;
    for (int64_t j = 0; j < n; j += TF_LANES)
        for (int64_t q = 0; q < deep; q += TF_LANES) {
            const int lanes = deep - q < TF_LANES ? (int)(deep - q) : TF_LANES;
            TF_V s[TF_LANES];
            TF_UNROLL for (int r = 0; r < TF_LANES; r++)
                s[r] = j + r < n ? TF_N(tf_load)(b + (j + r) * ldb + q, lanes) : (TF_V){0};
            TF_N(tf_transpose)(s);
            TF_UNROLL for (int r = 0; r < TF_LANES; r++)
                if (r < lanes)
                    *(TF_M *)(packed + (q + r) * width + j) = s[r];
        }
}

enum { TF_N(lanes) = TF_LANES };

TF_INLINE TF_T TF_N(total)(TF_V v)
{
    union { TF_V v; TF_T t[TF_LANES]; } u = {v};
    for (int n = TF_LANES / 2; n; n /= 2)
        for (int l = 0; l < n; l++)
            u.t[l] += u.t[l + n];
    return u.t[0];
}
