/* Products of small matrices for one thread, in float32 (names ending in _f32) and float64 (_f64).

   dot_*   c[i,j] (+)= sum_k a[i,k] b[j,k]     both operands contiguous along k
   axpy_*  c[i,j] (+)= sum_k a[i,k] b[k,j]     b and c contiguous along j, a with any strides
   total_* the sum of the lanes of a vector, one half added to the other again and again; lanes_*, how many there are

   Everything is inlined into its caller: with sizes and strides known when compiling, the cases that cannot
   happen vanish. Any sizes >= 0 are right; no operand needs alignment; c must not overlap a or b. The body is
   written once, for a type TF_T, and this file includes itself for each of the two types. */
#ifndef TF_MATMUL_H
#define TF_MATMUL_H

#include <stddef.h>
#include <stdint.h>

#include "machine.h"

/* Rows of a tile that is nv vectors wide: as many accumulators as leave registers for b and one of a. At nv = 1, 12
   and 16 rows were no faster than 8. */
#define TF_ROWS(nv) (TF_WIDE == 4 ? ((nv) == 4 ? 6 : 8) : ((nv) == 1 ? 8 : 4))
#define TF_TALL 8 /* the most of them */

/* Bytes of a strip of b that should stay in the first-level cache (48 KiB where this was measured); also the stack
   that dot and axpy need. */
#define TF_STRIP 40960

/* From so many rows of a on, dot packs b. Measured GFLOP/s in float32 for (n, k), packed / not: (16, 784) 62/98 at
   4 rows, 87/99 at 8, 105/99 at 16; (60, 784) 54/85, 79/86, 112/86; (60, 60) 70/73, 99/73, 131/73; (16, 16) 79/60,
   100/60, 123/60. In float64, at 8 rows: 44/40, 40/40, 54/44, 68/44. */
#define TF_PACK_ROWS 8

/* From so many rows of a on, axpy copies a strip of a wide b, so that its rows lie together. Measured GFLOP/s, with /
   without, float32 and float64: (128, 512, 512) 173/148, 81/61; (512, 512, 512) 176/140, 80/56; (60, 784, 128)
   183/193, 88/72. */
#define TF_COPY_ROWS 64

/* Tiles of long rows of a fetch those of the tile after the next into the second-level cache. With 60,000 rows of 784
   float32 in memory, this took the product with (16, 784) from 33 ms to 14 ms; with rows in that cache already it
   costs 8 %. The address may lie past the end of a: a prefetch never faults. */
#define TF_AHEAD 2
#define TF_LINE (64 * 8 / TF_BITS) /* numbers of a cache line */

/* A program needn't read what it doesn't call. */
#ifndef TF_WITHOUT_f32
#define TF_MASKED TF_MASKED_F32
#define TF_NUMBERS (tf_int32){0, 1, 2, 3, 4, 5, 6, 7}
#define TF_T float
#define TF_BITS 32
#define TF_LANES (TF_BYTES / 4)
#define TF_N(name) name##_f32
#define TF_MIX TF_MIX_F32
#include "matmul.h"
#endif

#ifndef TF_WITHOUT_f64
#define TF_MASKED TF_MASKED_F64
#define TF_NUMBERS (tf_int64){0, 1, 2, 3}
#define TF_T double
#define TF_BITS 64
#define TF_LANES (TF_BYTES / 8)
#define TF_N(name) name##_f64
#define TF_MIX TF_MIX_F64
#include "matmul.h"
#endif

/* Where numbers lie: for all indices of some axes, the last of which runs fastest, the sum of index times stride. A program
   calls it once for each table; loops of its own would take the compiler a tenth of a second for each contraction. */
static __attribute__((noinline, cold, unused)) void write_places(int64_t *to, int axes, const int64_t *lengths,
                                                                 const int64_t *strides)
{
    int64_t size = 1;
    to[0] = 0;
    for (int axis = axes - 1; axis >= 0; size *= lengths[axis--])
        for (int64_t i = 1; i < lengths[axis]; i++)
            for (int64_t j = 0; j < size; j++) to[i * size + j] = to[j] + i * strides[axis];
}

/* Compilers inline all branches before they drop those that can't be taken, so the large ones are chosen between before:
   a product of known sizes takes half the time to compile. */
#define TF_IS_KNOWN(x) (sizeof(int) == sizeof(*(1 ? (void *)((int64_t)(x) * 0) : (int *)0))) /* a constant expression */
#define TF_KNOWN(x, otherwise) __builtin_choose_expr(TF_IS_KNOWN(x), x, otherwise)
#define TF_ONE_STRIP(n, bits) (TF_KNOWN(n, INT64_MAX) <= TF_WIDE * TF_BYTES * 8 / (bits))
#define TF_AXPY(n, bits) __builtin_choose_expr(TF_ONE_STRIP(n, bits), tf_axpy_strip_f##bits, axpy_f##bits)
#define TF_DOT_MANY(m, n, bits) \
    __builtin_choose_expr(TF_IS_KNOWN(m) && TF_ONE_STRIP(n, bits), tf_dot_strip_f##bits, dot_f##bits)
#define TF_DOT(m, n, bits) \
    __builtin_choose_expr(TF_KNOWN(m, INT64_MAX) < TF_PACK_ROWS, tf_dot_few_f##bits, TF_DOT_MANY(m, n, bits))
#define axpy_f32(m, n, ...) TF_AXPY(n, 32)(m, n, __VA_ARGS__)
#define axpy_f64(m, n, ...) TF_AXPY(n, 64)(m, n, __VA_ARGS__)
#define dot_f32(m, n, ...) TF_DOT(m, n, 32)(m, n, __VA_ARGS__)
#define dot_f64(m, n, ...) TF_DOT(m, n, 64)(m, n, __VA_ARGS__)

#elif defined(TF_T) /* ---- the body, once for each type ---- */

typedef TF_T TF_N(tf_vec) __attribute__((vector_size(TF_BYTES)));
typedef TF_T TF_N(tf_mem) __attribute__((vector_size(TF_BYTES), aligned(TF_BITS / 8), may_alias)); /* anywhere */
#define TF_V TF_N(tf_vec)
#define TF_M TF_N(tf_mem)

#include "vectors.h"

/* acc[r] += a[r, q] b[q, :] for the rows r of a tile, with a at row[r] + offset and b[q, :] at `from`. */
TF_INLINE void TF_N(tf_step)(const int mr, const int nv, const TF_T **row, int64_t offset, const TF_T *from,
                             int b_lanes, TF_V (*acc)[TF_WIDE])
{
    TF_V bv[TF_WIDE];
    TF_UNROLL for (int v = 0; v < nv; v++)
        bv[v] = TF_N(tf_load)(from + v * TF_LANES, v == nv - 1 ? b_lanes : TF_LANES);
    TF_UNROLL for (int r = 0; r < mr; r++) {
        const TF_T x = row[r][offset];
        TF_UNROLL for (int v = 0; v < nv; v++) acc[r][v] += x * bv[v];
    }
}

/* A tile of mr rows and nv vectors of c, kept in registers over the whole of k:
   c[r, :] (+)= sum_q a[r, q] b[q, :]. The last vector has `lanes` columns, of which b holds b_lanes (a packed b
   is padded). Few accumulators would wait for each other, so then `sets` of them take turns along k. Rows of a that
   are contiguous and long are fetched ahead (TF_AHEAD); `left` rows of a remain, which bounds a_rows. */
TF_INLINE void TF_N(tf_tile)(const int mr, const int nv, int64_t left, int64_t k, const TF_T *a, int64_t a_i,
                             int64_t a_k, const int64_t *a_rows, const TF_T *b, int64_t ldb, const int64_t *b_rows,
                             int b_lanes, TF_T *c, int64_t c_i, int64_t c_j, int lanes, int add)
{
    const int sets = mr * nv >= 8 ? 1 : mr * nv >= 4 ? 2 : 4;
    const int ahead = a_k == 1 && k >= 8 * TF_LINE;
    const TF_T *row[TF_TALL], *next[TF_TALL];
    TF_V acc[4][TF_TALL][TF_WIDE];
    TF_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = a + (a_rows ? a_rows[r] : r) * a_i;
        next[r] = a_rows ? a + a_rows[TF_MIN(TF_AHEAD * mr + r, left - 1)] * a_i : row[r] + TF_AHEAD * mr * a_i;
        TF_UNROLL for (int s = 0; s < sets; s++)
            TF_UNROLL for (int v = 0; v < nv; v++) acc[s][r][v] = (TF_V){0};
    }
#define TF_STEP(q, s) \
    TF_N(tf_step)(mr, nv, row, (q) * a_k, b + (b_rows ? b_rows[q] : (q)) * ldb, b_lanes, acc[s])
    int64_t q = 0;
    if (ahead)
        while (q + TF_LINE <= k) {
            TF_UNROLL for (int r = 0; r < mr; r++) __builtin_prefetch(next[r] + q, 0, 2);
            for (const int64_t stop = q + TF_LINE; q < stop; q += sets)
                TF_UNROLL for (int s = 0; s < sets; s++) TF_STEP(q + s, s);
        }
    for (; q + sets <= k; q += sets)
        TF_UNROLL for (int s = 0; s < sets; s++) TF_STEP(q + s, s);
    for (int64_t over = k % sets; over > 0; over--, q++)
        TF_STEP(q, 0);
#undef TF_STEP
    TF_UNROLL for (int r = 0; r < mr; r++)
        TF_UNROLL for (int v = 0; v < nv; v++) {
            TF_V sum = acc[0][r][v];
            if (sets >= 2)
                sum += acc[1][r][v];
            if (sets == 4)
                sum += acc[2][r][v] + acc[3][r][v];
            TF_N(tf_put)(c + r * c_i + v * TF_LANES * c_j, c_j, sum, v == nv - 1 ? lanes : TF_LANES, add);
        }
}

/* All m rows of a strip of nv vectors, as tiles of TF_ROWS(nv) rows, then 4, 2 and 1. */
TF_INLINE void TF_N(tf_strip)(const int nv, int64_t m, int64_t k, const TF_T *a, int64_t a_i, int64_t a_k,
                              const int64_t *a_rows, const TF_T *b, int64_t ldb, const int64_t *b_rows, int b_lanes,
                              TF_T *c, int64_t c_i, int64_t c_j, int lanes, int add)
{
    int64_t i = 0;
#define TF_TILES(mr)                                                                                          \
    TF_N(tf_tile)(mr, nv, m - i, k, a_rows ? a : a + i * a_i, a_i, a_k, a_rows ? a_rows + i : NULL, b, ldb, b_rows, \
                  b_lanes, c + i * c_i, c_i, c_j, lanes, add)
    for (; i + TF_ROWS(nv) <= m; i += TF_ROWS(nv))
        TF_TILES(TF_ROWS(nv));
    if (TF_ROWS(nv) > 4 && i + 4 <= m) {
        TF_TILES(4);
        i += 4;
    }
    if (i + 2 <= m) {
        TF_TILES(2);
        i += 2;
    }
    if (i < m)
        TF_TILES(1);
#undef TF_TILES
}

/* tf_strip for 1 to TF_WIDE vectors. */
TF_INLINE void TF_N(tf_strips)(int nv, int64_t m, int64_t k, const TF_T *a, int64_t a_i, int64_t a_k,
                               const int64_t *a_rows, const TF_T *b, int64_t ldb, const int64_t *b_rows, int b_lanes,
                               TF_T *c, int64_t c_i, int64_t c_j, int lanes, int add)
{
    if (nv == 1)
        TF_N(tf_strip)(1, m, k, a, a_i, a_k, a_rows, b, ldb, b_rows, b_lanes, c, c_i, c_j, lanes, add);
    else if (nv == 2)
        TF_N(tf_strip)(2, m, k, a, a_i, a_k, a_rows, b, ldb, b_rows, b_lanes, c, c_i, c_j, lanes, add);
    else if (nv == 3)
        TF_N(tf_strip)(3, m, k, a, a_i, a_k, a_rows, b, ldb, b_rows, b_lanes, c, c_i, c_j, lanes, add);
#if TF_WIDE == 4
    else
        TF_N(tf_strip)(4, m, k, a, a_i, a_k, a_rows, b, ldb, b_rows, b_lanes, c, c_i, c_j, lanes, add);
#endif
}

/* How many k of a strip of nv vectors to take at once: equal pieces, whole vectors, of TF_STRIP bytes at most. */
TF_INLINE int64_t TF_N(tf_depth)(int64_t k, int nv)
{
    const int64_t most = TF_STRIP / TF_BYTES / nv / TF_LANES * TF_LANES, pieces = (k + most - 1) / most;
    return k <= most ? most : (k + pieces * TF_LANES - 1) / (pieces * TF_LANES) * TF_LANES;
}

/* c[i*ldc + j] = (add ? itself : 0) + sum_k a[i*a_i + k*a_k] * b[(b_rows ? b_rows[k] : k)*ldb + j].
   Strips of columns, and k in pieces, so that the strip of b stays in the first-level cache for all rows. Of a wide b,
   strips have 3 vectors, which leaves registers for 8 rows: fewer passes over the strip than with 4 and 6. */
TF_INLINE void TF_N(axpy)(int64_t m, int64_t n, int64_t k, const TF_T *a, int64_t a_i, int64_t a_k, const TF_T *b,
                          int64_t ldb, const int64_t *b_rows, TF_T *c, int64_t ldc, int add)
{
    const int64_t vectors = (n + TF_LANES - 1) / TF_LANES;
    const int wide = vectors <= TF_WIDE ? (int)vectors : 3, copy = vectors > TF_WIDE && m >= TF_COPY_ROWS;
    const int64_t depth = TF_N(tf_depth)(k, wide ? wide : 1);
    TF_T packed[TF_STRIP / sizeof(TF_T)] __attribute__((aligned(TF_BYTES)));
    for (int64_t q = 0; q == 0 || q < k; q += depth) {
        const int64_t deep = TF_MIN(k - q, depth);
        const TF_T *aq = a + q * a_k, *bq = b_rows ? b : b + q * ldb;
        const int64_t *rows = b_rows ? b_rows + q : NULL;
        int64_t j = 0;
        for (; j + 3 * TF_LANES <= n && wide == 3; j += 3 * TF_LANES) {
            if (copy)
                for (int64_t r = 0; r < deep; r++)
                    TF_UNROLL for (int v = 0; v < 3; v++)
                        *(TF_M *)(packed + (3 * r + v) * TF_LANES) =
                            *(const TF_M *)(bq + (rows ? rows[r] : r) * ldb + j + v * TF_LANES);
            TF_N(tf_strip)(3, m, deep, aq, a_i, a_k, NULL, copy ? packed : bq + j, copy ? 3 * TF_LANES : ldb,
                           copy ? NULL : rows, TF_LANES, c + j, ldc, 1, TF_LANES, add || q > 0);
        }
        if (j < n) {
            const int left = (int)((n - j + TF_LANES - 1) / TF_LANES), lanes = (int)(n - j - (left - 1) * TF_LANES);
            TF_N(tf_strips)(left, m, deep, aq, a_i, a_k, NULL, bq + j, ldb, rows, lanes, c + j, ldc, 1, lanes,
                            add || q > 0);
        }
    }
}

/* axpy for an n of at most TF_WIDE vectors: one strip. */
TF_INLINE void TF_N(tf_axpy_strip)(int64_t m, int64_t n, int64_t k, const TF_T *a, int64_t a_i, int64_t a_k,
                                   const TF_T *b, int64_t ldb, const int64_t *b_rows, TF_T *c, int64_t ldc, int add)
{
    const int vectors = (int)((n + TF_LANES - 1) / TF_LANES), lanes = (int)(n - (vectors - 1) * TF_LANES);
    const int64_t depth = TF_N(tf_depth)(k, vectors ? vectors : 1);
    for (int64_t q = 0; (q == 0 || q < k) && n > 0; q += depth)
        TF_N(tf_strip)(vectors, m, TF_MIN(k - q, depth), a + q * a_k, a_i, a_k, NULL, b_rows ? b : b + q * ldb, ldb,
                       b_rows ? b_rows + q : NULL, lanes, c, ldc, 1, lanes, add || q > 0);
}

/* Up to TF_LANES numbers of one row of c as dot products: each accumulator runs along k for one row of b; the sums
   over lanes come at the end. Rows past the last repeat it. Fewer than 8 accumulators wait, so they come in sets. */
TF_INLINE void TF_N(tf_dots)(int count, int64_t k, const TF_T *a, const TF_T *b, int64_t ldb, TF_T *c, int64_t c_j,
                             int add)
{
    const int sets = TF_LANES >= 8 ? 1 : 8 / TF_LANES;
    TF_V acc[TF_LANES][4];
    TF_UNROLL for (int r = 0; r < TF_LANES; r++)
        TF_UNROLL for (int s = 0; s < sets; s++) acc[r][s] = (TF_V){0};
    int64_t q = 0;
    for (; q + sets * TF_LANES <= k; q += sets * TF_LANES)
        TF_UNROLL for (int s = 0; s < sets; s++) {
            TF_V x = *(const TF_M *)(a + q + s * TF_LANES);
            TF_UNROLL for (int r = 0; r < TF_LANES; r++)
                acc[r][s] += x * *(const TF_M *)(b + (r < count ? r : count - 1) * ldb + q + s * TF_LANES);
        }
    for (; q < k; q += TF_LANES) {
        const int lanes = k - q < TF_LANES ? (int)(k - q) : TF_LANES;
        TF_V x = TF_N(tf_load)(a + q, lanes);
        TF_UNROLL for (int r = 0; r < TF_LANES; r++)
            acc[r][0] += x * TF_N(tf_load)(b + (r < count ? r : count - 1) * ldb + q, lanes);
    }
    TF_V sums[TF_LANES];
    TF_UNROLL for (int r = 0; r < TF_LANES; r++) {
        sums[r] = acc[r][0];
        TF_UNROLL for (int s = 1; s < sets; s++) sums[r] += acc[r][s];
    }
    TF_N(tf_put)(c, c_j, TF_N(tf_sums)(sums), count, add);
}

/* dot for few rows of a: each number of c is a dot product. */
TF_INLINE void TF_N(tf_dot_few)(int64_t m, int64_t n, int64_t k, const TF_T *a, int64_t lda, const int64_t *a_rows,
                                const TF_T *b, int64_t ldb, TF_T *c, int64_t c_i, int64_t c_j, int add)
{
    for (int64_t i = 0; i < m; i++) {
        const TF_T *row = a + (a_rows ? a_rows[i] : i) * lda;
        TF_T *to = c + i * c_i;
        int64_t j = 0;
        for (; j + TF_LANES <= n; j += TF_LANES)
            TF_N(tf_dots)(TF_LANES, k, row, b + j * ldb, ldb, to + j * c_j, c_j, add);
        if (j < n)
            TF_N(tf_dots)((int)(n - j), k, row, b + j * ldb, ldb, to + j * c_j, c_j, add);
    }
}

/* dot for an n of at most TF_WIDE vectors and many rows of a: one strip of b, transposed on the stack. */
TF_INLINE void TF_N(tf_dot_strip)(int64_t m, int64_t n, int64_t k, const TF_T *a, int64_t lda, const int64_t *a_rows,
                                  const TF_T *b, int64_t ldb, TF_T *c, int64_t c_i, int64_t c_j, int add)
{
    TF_T packed[TF_STRIP / sizeof(TF_T)] __attribute__((aligned(TF_BYTES)));
    const int vectors = (int)((n + TF_LANES - 1) / TF_LANES), lanes = (int)(n - (vectors - 1) * TF_LANES);
    const int64_t depth = TF_N(tf_depth)(k, vectors ? vectors : 1);
    for (int64_t q = 0; (q == 0 || q < k) && n > 0; q += depth) {
        int64_t deep = TF_MIN(k - q, depth);
        __asm__("" : "+r"(deep)); /* of a known length GCC makes a slower loop: (128, 16, 784) 34.5 µs, not 29.8 */
        TF_N(tf_pack)(n, deep, b + q, ldb, packed);
        TF_N(tf_strip)(vectors, m, deep, a + q, lda, 1, a_rows, packed, vectors * TF_LANES, NULL, TF_LANES, c, c_i, c_j,
                       lanes, add || q > 0);
    }
}

/* c[i*c_i + j*c_j] = (add ? itself : 0) + sum_k a[(a_rows ? a_rows[i] : i)*lda + k] * b[j*ldb + k].
   Few rows: dot products. Many rows: strips of b, transposed on the stack, and the tiles of axpy. */
TF_INLINE void TF_N(dot)(int64_t m, int64_t n, int64_t k, const TF_T *a, int64_t lda, const int64_t *a_rows,
                         const TF_T *b, int64_t ldb, TF_T *c, int64_t c_i, int64_t c_j, int add)
{
    if (m < TF_PACK_ROWS) {
        TF_N(tf_dot_few)(m, n, k, a, lda, a_rows, b, ldb, c, c_i, c_j, add);
        return;
    }
    TF_T packed[TF_STRIP / sizeof(TF_T)] __attribute__((aligned(TF_BYTES)));
    for (int64_t j = 0; j < n; j += TF_WIDE * TF_LANES) {
        const int64_t wide = TF_MIN(n - j, TF_WIDE * TF_LANES);
        const int vectors = (int)((wide + TF_LANES - 1) / TF_LANES);
        const int64_t depth = TF_N(tf_depth)(k, vectors);
        for (int64_t q = 0; q == 0 || q < k; q += depth) {
            const int64_t deep = TF_MIN(k - q, depth);
            TF_N(tf_pack)(wide, deep, b + j * ldb + q, ldb, packed);
            TF_N(tf_strips)(vectors, m, deep, a + q, lda, 1, a_rows, packed, vectors * TF_LANES, NULL, TF_LANES,
                            c + j * c_j, c_i, c_j, (int)(wide - (vectors - 1) * TF_LANES), add || q > 0);
        }
    }
}

#include "contract.h"
#include "winograd.h"

#undef TF_T
#undef TF_BITS
#undef TF_LANES
#undef TF_N
#undef TF_MIX
#undef TF_MASKED
#undef TF_NUMBERS
#endif
