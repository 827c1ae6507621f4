/* Sums of products whose rows, columns and terms lie anywhere, as those of a convolution do; included by matmul.h, once
   for each type. Tables say where: row i of a begins at a_i[i], term k of it stands a_k[k] further on, and so for b. */

/* Rows that are taken at once, so that what is read of a stays in the second-level cache, and a strip of b that was
   packed serves many of them; a multiple of all TF_ROWS. */
#define TF_BLOCK 480

/* c[r, :] (+)= sum_q a[a_i[r] + a_k[q]] packed[q, :] for mr rows and nv vectors of columns, the last with `lanes`. */
TF_INLINE void TF_N(tf_gathered_tile)(const int mr, const int nv, int64_t k, const TF_T *a, const int64_t *a_i,
                                      const int64_t *a_k, const TF_T *packed, TF_T *c, const int64_t *c_i, int lanes,
                                      int add)
{
    const TF_T *row[TF_TALL];
    TF_V acc[TF_TALL][TF_WIDE];
    TF_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = a + a_i[r];
        TF_UNROLL for (int v = 0; v < nv; v++) acc[r][v] = (TF_V){0};
    }
    for (int64_t q = 0; q < k; q++)
        TF_N(tf_step)(mr, nv, row, a_k[q], packed + q * nv * TF_LANES, TF_LANES, acc);
    TF_UNROLL for (int r = 0; r < mr; r++)
        TF_UNROLL for (int v = 0; v < nv; v++)
            TF_N(tf_put)(c + c_i[r] + v * TF_LANES, 1, acc[r][v], v == nv - 1 ? lanes : TF_LANES, add);
}

/* All m rows of a strip: compiled once for each number of vectors. */
#define TF_GATHERED(nv)                                                                                              \
    static __attribute__((noinline, unused)) void TF_N(tf_gathered##nv)(                                             \
        int64_t m, int64_t k, const TF_T *a, const int64_t *a_i, const int64_t *a_k, const TF_T *packed, TF_T *c,    \
        const int64_t *c_i, int lanes, int add)                                                                      \
    {                                                                                                                \
        int64_t i = 0;                                                                                               \
        for (; i + TF_ROWS(nv) <= m; i += TF_ROWS(nv))                                                               \
            TF_N(tf_gathered_tile)(TF_ROWS(nv), nv, k, a, a_i + i, a_k, packed, c, c_i + i, lanes, add);             \
        for (; i + 2 <= m; i += 2)                                                                                   \
            TF_N(tf_gathered_tile)(2, nv, k, a, a_i + i, a_k, packed, c, c_i + i, lanes, add);                       \
        if (i < m)                                                                                                   \
            TF_N(tf_gathered_tile)(1, nv, k, a, a_i + i, a_k, packed, c, c_i + i, lanes, add);                       \
    }
TF_GATHERED(1)
TF_GATHERED(2)
TF_GATHERED(3)
#if TF_WIDE == 4
TF_GATHERED(4)
#else
#define tf_gathered4_f32 tf_gathered3_f32
#define tf_gathered4_f64 tf_gathered3_f64
#endif
#undef TF_GATHERED

/* packed[q, :] = b[b_k[q] + b_j[:]] for n columns, padded with zeros to whole vectors. Columns lie together in pieces of
   `along` (0: they don't), the first of which begins `j` before; or else terms do, in pieces of `down`. */
static __attribute__((noinline, unused)) void TF_N(tf_gather)(int64_t n, int64_t k, const TF_T *b, const int64_t *b_k,
                                                              const int64_t *b_j, int64_t j, int64_t along, int64_t q0,
                                                              int64_t down, TF_T *packed)
{
    const int64_t width = (n + TF_LANES - 1) / TF_LANES * TF_LANES;
    for (int64_t v = 0; v < n; v += TF_LANES) {
        const int lanes = n - v < TF_LANES ? (int)(n - v) : TF_LANES;
        const int together = along && (j + v) % along + lanes <= along;
        for (int64_t q = 0; q < k;) {
            TF_T *to = packed + q * width + v;
            if (together) {
                const TF_T *from = b + b_k[q++] + b_j[v];
                *(TF_M *)to = TF_N(tf_load)(from, lanes);
            } else if (down && k - q >= TF_LANES && (q0 + q) % down + TF_LANES <= down) {
                TF_V s[TF_LANES];
                TF_UNROLL for (int l = 0; l < TF_LANES; l++)
                    s[l] = l < lanes ? TF_N(tf_load)(b + b_k[q] + b_j[v + l], TF_LANES) : (TF_V){0};
                TF_N(tf_transpose)(s);
                TF_UNROLL for (int l = 0; l < TF_LANES; l++) *(TF_M *)(to + l * width) = s[l];
                q += TF_LANES;
            } else {
                for (int l = 0; l < TF_LANES; l++)
                    to[l] = l < lanes ? b[b_k[q] + b_j[v + l]] : 0;
                q++;
            }
        }
    }
}

/* c[c_i[i] + j] = (add ? itself : 0) + sum_k a[a_i[i] + a_k[k]] * b[b_k[k] + b_j[j]] for the columns from `first` up to n;
   see tf_gather for the last two. Blocks of rows; for each the terms in pieces, whose strips of b stay in the first-level
   cache. The pieces are the same for any stretch of columns, so that a sum is, too. */
static __attribute__((noinline, unused)) void TF_N(contract)(int64_t m, int64_t first, int64_t n, int64_t k, const TF_T *a,
                                                             const int64_t *a_i, const int64_t *a_k, const TF_T *b,
                                                             const int64_t *b_k, const int64_t *b_j, TF_T *c,
                                                             const int64_t *c_i, int add, int64_t along, int64_t down)
{
    const int64_t vectors = (n - first + TF_LANES - 1) / TF_LANES;
    const int wide = vectors <= TF_WIDE ? (int)vectors : vectors % 3 && TF_WIDE == 4 && vectors % 4 != 1 ? 4 : 3;
    const int64_t depth = TF_N(tf_depth)(k, TF_WIDE);
    TF_T packed[TF_STRIP / sizeof(TF_T)] __attribute__((aligned(TF_BYTES)));
    for (int64_t i = 0; i < m; i += TF_BLOCK)
        for (int64_t q = 0; q == 0 || q < k; q += depth)
            for (int64_t j = first; j < n; j += wide * TF_LANES) {
                const int64_t rows = TF_MIN(m - i, TF_BLOCK), deep = TF_MIN(k - q, depth);
                const int64_t columns = TF_MIN(n - j, wide * TF_LANES);
                const int nv = (int)((columns + TF_LANES - 1) / TF_LANES);
                const int lanes = (int)(columns - (nv - 1) * TF_LANES), more = add || q > 0;
                TF_N(tf_gather)(columns, deep, b, b_k + q, b_j + j, j, along, q, down, packed);
#define TF_CALL(nv) TF_N(tf_gathered##nv)(rows, deep, a, a_i + i, a_k + q, packed, c + j, c_i + i, lanes, more)
                if (nv == 1)
                    TF_CALL(1);
                else if (nv == 2)
                    TF_CALL(2);
                else if (nv == 3)
                    TF_CALL(3);
                else
                    TF_CALL(4);
#undef TF_CALL
            }
}
