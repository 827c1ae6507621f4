/* Sums of products whose rows, columns and terms lie anywhere, as those of a convolution do; included by matmul.h, once
   for each type. Tables say where: row i of a begins at a_i[i], term k of it stands a_k[k] further on, and so for b. */

/* Rows that are taken at once, so that what is read of a stays in the second-level cache, and a strip of b that was
   packed serves many of them; a multiple of all TF_ROWS. */
#define TF_BLOCK 480

/* Store (or add) `lanes` results v to a row of c, from column j on: where c_j says, side by side where it is NULL. */
TF_INLINE void TF_N(tf_put_columns)(TF_T *c, const int64_t *c_j, int64_t j, TF_V v, int lanes, int add)
{
    if (c_j)
        TF_N(tf_scatter)(c, 0, c_j + j, v, lanes, add);
    else
        TF_N(tf_put)(c + j, 1, v, lanes, add);
}

/* Few accumulators would wait for each other, so then several sets of them take turns along k. */
#define TF_SETS(mr) ((mr) >= 8 ? 1 : (mr) >= 4 ? 2 : 4)

/* What all kinds of tiles are given, whether they need it or not. */
#define TF_PARAMETERS                                                                                             \
    int64_t k, const TF_T *a, const int64_t *a_i, const int64_t *a_k, const TF_T *packed, TF_T *c,                \
        const int64_t *c_i, const int64_t *c_j, int64_t j, int lanes, int add, int64_t run

/* c[r, j..] (+)= sum_q a[a_i[r] + a_k[q]] packed[q, :] for mr rows and nv vectors of columns, the last with `lanes`. */
TF_INLINE void TF_N(tf_gathered_tile)(const int mr, const int nv, const int sets, TF_PARAMETERS)
{
    const TF_T *row[TF_TALL];
    TF_V acc[4][TF_TALL][TF_WIDE];
    TF_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = a + a_i[r];
        TF_UNROLL for (int s = 0; s < sets; s++)
            TF_UNROLL for (int v = 0; v < nv; v++) acc[s][r][v] = (TF_V){0};
    }
    int64_t q = 0;
    for (; q + sets <= k; q += sets)
        TF_UNROLL for (int s = 0; s < sets; s++)
            TF_N(tf_step)(mr, nv, row, a_k[q + s], packed + (q + s) * nv * TF_LANES, TF_LANES, acc[s]);
    for (; q < k; q++)
        TF_N(tf_step)(mr, nv, row, a_k[q], packed + q * nv * TF_LANES, TF_LANES, acc[0]);
    TF_UNROLL for (int r = 0; r < mr; r++)
        TF_UNROLL for (int v = 0; v < nv; v++) {
            TF_UNROLL for (int s = 1; s < sets; s++) acc[0][r][v] += acc[s][r][v];
            TF_N(tf_put_columns)(c + c_i[r], c_j, j + v * TF_LANES, acc[0][r][v], v == nv - 1 ? lanes : TF_LANES, add);
        }
}

#if TF_BYTES == 64
/* The same for no more columns than half a vector has: many processors calculate with two halves in the time of one
   whole. packed[q, :] is half a vector, too. */
typedef TF_T TF_N(tf_half) __attribute__((vector_size(TF_BYTES / 2)));
#if TF_BITS == 32
#define TF_WIDEN(x) __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1)
#else
#define TF_WIDEN(x) __builtin_shufflevector(x, x, 0, 1, 2, 3, -1, -1, -1, -1)
#endif
TF_INLINE void TF_N(tf_half_tile)(const int mr, const int nv, const int sets, TF_PARAMETERS)
{
    const TF_T *row[TF_TALL];
    TF_N(tf_half) acc[4][TF_TALL];
    TF_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = a + a_i[r];
        TF_UNROLL for (int s = 0; s < sets; s++) acc[s][r] = (TF_N(tf_half)){0};
    }
#define TF_STEP(q, s)                                                                       \
    do {                                                                                    \
        const TF_N(tf_half) b = *(const TF_N(tf_half) *)(packed + (q) * (TF_LANES / 2));    \
        TF_UNROLL for (int r = 0; r < mr; r++) acc[s][r] += row[r][a_k[q]] * b;             \
    } while (0)
    int64_t q = 0;
    for (; q + sets <= k; q += sets)
        TF_UNROLL for (int s = 0; s < sets; s++) TF_STEP(q + s, s);
    for (; q < k; q++)
        TF_STEP(q, 0);
#undef TF_STEP
    TF_UNROLL for (int r = 0; r < mr; r++) {
        TF_UNROLL for (int s = 1; s < sets; s++) acc[0][r] += acc[s][r];
        TF_N(tf_put_columns)(c + c_i[r], c_j, j, TF_WIDEN(acc[0][r]), lanes, add);
    }
}
#endif

/* For few columns, `lanes` of nc, and terms of a that lie together in runs: vectors run along the terms, so that they are
   full and no number of a is read by itself; the last of a run may be shorter. packed[q, :, :] is a vector of terms for
   each column. */
TF_INLINE void TF_N(tf_dots_tile)(const int mr, const int nc, const int sets, TF_PARAMETERS)
{
    const TF_T *row[TF_TALL];
    TF_V acc[TF_TALL * TF_TALL];
    TF_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = a + a_i[r];
        TF_UNROLL for (int v = 0; v < nc; v++) acc[r * nc + v] = (TF_V){0};
    }
#define TF_STEP(length)                                                                              \
    do {                                                                                             \
        TF_V x[TF_TALL];                                                                             \
        TF_UNROLL for (int r = 0; r < mr; r++) x[r] = TF_N(tf_load)(row[r] + a_k[q] + p, length);    \
        TF_UNROLL for (int v = 0; v < nc; v++, packed += TF_LANES) {                                 \
            TF_V y = *(const TF_V *)packed;                                                          \
            TF_HOLD(y);                                                                              \
            TF_UNROLL for (int r = 0; r < mr; r++) acc[r * nc + v] += x[r] * y;                      \
        }                                                                                            \
    } while (0)
    for (int64_t q = 0; q < k; q += run) {
        int64_t p = 0;
        for (; p + TF_LANES <= run; p += TF_LANES) TF_STEP(TF_LANES);
        if (p < run) TF_STEP((int)(run - p));
    }
#undef TF_STEP
    TF_T sums[TF_TALL * TF_TALL + TF_LANES];
    TF_UNROLL for (int t = 0; t < mr * nc; t += TF_LANES) {
        TF_V s[TF_LANES];
        TF_UNROLL for (int l = 0; l < TF_LANES; l++) s[l] = t + l < mr * nc ? acc[t + l] : (TF_V){0};
        *(TF_M *)(sums + t) = TF_N(tf_sums)(s);
    }
    for (int r = 0; r < mr; r++)
        TF_N(tf_put_columns)(c + c_i[r], c_j, j, *(const TF_M *)(sums + r * nc), lanes, add);
}

/* All m rows of a strip: compiled once for each number of vectors. Only the strip of a narrow b may have several sets:
   threads cut rows where a tile begins, but columns anywhere, and a sum must not depend on that. */
typedef void TF_N(tf_gathered)(int64_t m, TF_PARAMETERS);
#define TF_GATHERED(name, tile, width, narrow, tall)                                                              \
    static __attribute__((noinline, unused)) void TF_N(name)(int64_t m, TF_PARAMETERS)                            \
    {                                                                                                             \
        int64_t i = 0;                                                                                            \
        for (; i + tall <= m; i += tall) TF_TILE(tile, tall, width, narrow);                                      \
        for (; tall > 4 && i + 4 <= m; i += 4) TF_TILE(tile, 4, width, narrow);                                   \
        for (; i + 2 <= m; i += 2) TF_TILE(tile, 2, width, narrow);                                               \
        if (i < m) TF_TILE(tile, 1, width, narrow);                                                               \
    }
#define TF_TILE(tile, mr, width, narrow)                                                                          \
    TF_N(tile)(mr, width, narrow ? TF_SETS(mr) : 1, k, a, a_i + i, a_k, packed, c, c_i + i, c_j, j, lanes, add, run)
TF_GATHERED(tf_gathered_narrow, tf_gathered_tile, 1, 1, TF_ROWS(1))
TF_GATHERED(tf_gathered1, tf_gathered_tile, 1, 0, TF_ROWS(1))
TF_GATHERED(tf_gathered2, tf_gathered_tile, 2, 0, TF_ROWS(2))
TF_GATHERED(tf_gathered3, tf_gathered_tile, 3, 0, TF_ROWS(3))
#if TF_WIDE == 4
TF_GATHERED(tf_gathered4, tf_gathered_tile, 4, 0, TF_ROWS(4))
#endif
#if TF_BYTES == 64
TF_GATHERED(tf_gathered_half, tf_half_tile, 1, 1, TF_ROWS(1))
#endif
#if TF_LANES >= 4
TF_GATHERED(tf_dots2, tf_dots_tile, 2, 0, 6)
#endif
#if TF_LANES >= 8
TF_GATHERED(tf_dots4, tf_dots_tile, 4, 0, (TF_WIDE == 4 ? 6 : 3))
#endif
#if TF_LANES >= 16
TF_GATHERED(tf_dots6, tf_dots_tile, 6, 0, 4)
TF_GATHERED(tf_dots8, tf_dots_tile, 8, 0, 3)
#endif

/* By how many vectors; then the two of a narrow b; then by how many pairs of columns. */
#define TF_NARROW 5
#define TF_HALF 6
#define TF_PAIRS 7
static TF_N(tf_gathered) *const TF_N(tf_all_gathered)[] = {
    [1] = TF_N(tf_gathered1), [2] = TF_N(tf_gathered2), [3] = TF_N(tf_gathered3), [TF_NARROW] = TF_N(tf_gathered_narrow),
#if TF_WIDE == 4
    [4] = TF_N(tf_gathered4),
#endif
#if TF_BYTES == 64
    [TF_HALF] = TF_N(tf_gathered_half),
#endif
#if TF_LANES >= 4
    [TF_PAIRS + 1] = TF_N(tf_dots2),
#endif
#if TF_LANES >= 8
    [TF_PAIRS + 2] = TF_N(tf_dots4),
#endif
#if TF_LANES >= 16
    [TF_PAIRS + 3] = TF_N(tf_dots6), [TF_PAIRS + 4] = TF_N(tf_dots8),
#endif
};

/* packed[q, :] = b[b_k[q] + b_j[:]] for n columns, padded with zeros to `width`. Columns lie together in pieces of
   `along` (0: they don't), the first of which begins `j` before; or else terms do, in pieces of `down`. Whole vectors
   are stored, first things first: what is too much is overwritten. */
static __attribute__((noinline, unused)) void TF_N(tf_gather)(int64_t n, int64_t k, int64_t width, const TF_T *b,
                                                              const int64_t *b_k, const int64_t *b_j, int64_t j,
                                                              int64_t along, int64_t q0, int64_t down, TF_T *packed)
{
    const int runs = along && (along >= 4 || along >= n || !down), one = runs && n <= along - j % along;
    for (int64_t v = 0; v < n && one; v += TF_LANES) {
        const int lanes = (int)TF_MIN(n - v, TF_LANES);
        for (int64_t q = 0; q < k; q++)
            *(TF_M *)(packed + q * width + v) = TF_N(tf_load)(b + b_k[q] + b_j[v], lanes);
    }
    for (int64_t q = 0; q < k && runs && !one; q++) {
        TF_T *to = packed + q * width;
        int64_t left = along - j % along;
        for (int64_t v = 0; v < n; left = along) {
            const TF_T *from = b + b_k[q] + b_j[v];
            const int64_t piece = TF_MIN(left, n - v);
            for (int64_t l = 0; l < piece; l += TF_LANES)
                *(TF_M *)(to + v + l) = TF_N(tf_load)(from + l, (int)TF_MIN(piece - l, TF_LANES));
            v += piece;
        }
        if (n < width)
            *(TF_M *)(to + n) = (TF_V){0};
    }
    for (int64_t v = 0; v < n && !runs; v += TF_LANES) {
        const int lanes = (int)TF_MIN(n - v, TF_LANES);
        for (int64_t q = 0; q < k;) {
            TF_T *to = packed + q * width + v;
            if (down && k - q >= TF_LANES && (q0 + q) % down + TF_LANES <= down) {
                TF_V s[TF_LANES];
                TF_UNROLL for (int l = 0; l < TF_LANES; l++)
                    s[l] = l < lanes ? TF_N(tf_load)(b + b_k[q] + b_j[v + l], TF_LANES) : (TF_V){0};
                TF_N(tf_transpose)(s);
                TF_UNROLL for (int l = 0; l < TF_LANES; l++) *(TF_M *)(to + l * width) = s[l];
                q += TF_LANES;
            } else {
                for (int l = 0; l < TF_MIN(width - v, TF_LANES); l++)
                    to[l] = l < lanes ? b[b_k[q] + b_j[v + l]] : 0;
                q++;
            }
        }
    }
}

/* packed[q, j, :] = b[b_k[q..] + b_j[j]]: the terms of n columns by vectors, those of each run by themselves, with zeros
   where a run ends within one and for the columns up to nc. */
static __attribute__((noinline, unused)) void TF_N(tf_gather_terms)(int n, int nc, int64_t k, const TF_T *b,
                                                                    const int64_t *b_k, const int64_t *b_j, int64_t run,
                                                                    int64_t along, TF_T *packed)
{
    for (int64_t q = 0; q < k; q += run)
        for (int64_t p = 0; p < run; p += TF_LANES, packed += nc * TF_LANES) {
            const int64_t *const places = b_k + q + p;
            const int lanes = (int)TF_MIN(run - p, TF_LANES);
            if (along >= n) { /* columns lie together */
                TF_V s[TF_LANES];
                TF_UNROLL for (int l = 0; l < TF_LANES; l++)
                    s[l] = l < lanes ? TF_N(tf_load)(b + places[l] + b_j[0], n) : (TF_V){0};
                TF_N(tf_transpose)(s);
                TF_UNROLL for (int j = 0; j < TF_LANES; j++)
                    if (j < nc) *(TF_M *)(packed + j * TF_LANES) = s[j];
            } else
                for (int j = 0; j < nc; j++)
                    for (int l = 0; l < TF_LANES; l++)
                        packed[j * TF_LANES + l] = j < n && l < lanes ? b[places[l] + b_j[j]] : 0;
        }
}

/* How many vectors a strip of n columns has. */
TF_INLINE int TF_N(tf_wide)(int64_t n)
{
    const int64_t vectors = (n + TF_LANES - 1) / TF_LANES;
    return vectors <= TF_WIDE ? (int)vectors : vectors % 3 && TF_WIDE == 4 && vectors % 4 != 1 ? 4 : 3;
}

/* How many terms are taken together where vectors run along them, of k in pieces of `across`; 0 where too many lanes would
   be empty. */
TF_INLINE int64_t TF_N(tf_run)(int64_t k, int64_t across, int64_t depth)
{
    const int64_t lanes = (across + TF_LANES - 1) / TF_LANES * TF_LANES;
    if (!across || (lanes == across && k % TF_LANES == 0))
        return across ? TF_LANES : 0;
    return k % across == 0 && across <= depth && 4 * across >= 3 * lanes ? across : 0;
}

/* c[c_i[i] + c_j[j]] = (add ? itself : 0) + sum_k a[a_i[i] + a_k[k]] * b[b_k[k] + b_j[j]] for the columns from `first`
   up to `last` of n. c_j is NULL where columns of c lie side by side; see tf_gather for the next two; `across` is the
   length of the pieces in which terms of a lie together. Blocks of rows; for each the terms in pieces, whose strips of b
   stay in the first-level cache. The pieces are the same for any stretch of columns, so that a sum is, too. */
static __attribute__((noinline, unused)) void TF_N(contract)(
    int64_t m, int64_t first, int64_t last, int64_t n, int64_t k, const TF_T *a, const int64_t *a_i, const int64_t *a_k,
    const TF_T *b, const int64_t *b_k, const int64_t *b_j, TF_T *c, const int64_t *c_i, const int64_t *c_j, int add,
    int64_t along, int64_t down, int64_t across)
{
    const int wide = TF_N(tf_wide)(last - first), narrow = n <= TF_LANES, few = 2 * n <= TF_LANES;
    const int pairs = (int)(n + 1) / 2, half = TF_BYTES == 64 && few;
    const int64_t most = TF_N(tf_depth)(k, narrow ? 1 : TF_WIDE), run = TF_N(tf_run)(k, across, most);
    const int dots = TF_LANES >= 4 && few && run && k >= 4 * TF_LANES; /* or more is packed than a strip */
    const int64_t depth = dots ? most / run * run : most;
    const int once = k <= depth && last - first <= wide * TF_LANES; /* what was packed serves all rows */
    TF_T packed[TF_STRIP / sizeof(TF_T) + TF_LANES] __attribute__((aligned(TF_BYTES)));
    for (int64_t i = 0; i < m; i += TF_BLOCK)
        for (int64_t q = 0; q == 0 || q < k; q += depth)
            for (int64_t j = first; j < last; j += wide * TF_LANES) {
                const int64_t rows = TF_MIN(m - i, TF_BLOCK), deep = TF_MIN(k - q, depth);
                const int64_t columns = TF_MIN(last - j, wide * TF_LANES);
                const int nv = (int)((columns + TF_LANES - 1) / TF_LANES), more = add || q > 0;
                const int lanes = (int)(columns - (nv - 1) * TF_LANES), width = half ? TF_LANES / 2 : nv * TF_LANES;
                const int kind = dots ? TF_PAIRS + pairs : half ? TF_HALF : narrow ? TF_NARROW : nv;
                if (dots && !(once && i))
                    TF_N(tf_gather_terms)((int)n, 2 * pairs, deep, b, b_k + q, b_j, run, along, packed);
                else if (!(once && i))
                    TF_N(tf_gather)(columns, deep, width, b, b_k + q, b_j + j, j, along, q, down, packed);
                TF_N(tf_all_gathered)[kind](rows, deep, a, a_i + i, a_k + q, packed, c, c_i + i, c_j, j, lanes, more,
                                            run);
            }
}

TF_SHARED(TF_N(shared_contract), TF_N(contract));

#undef TF_WIDEN
