/* Convolutions with filters of 3 x 3 in steps of 1, by Winograd's F(2 x 2, 3 x 3); included by matmul.h, once for each type.

   Two neighbouring results of three weights need four products, not six:
       y = A'[(G g) * (B'd)],   B' = 1 0 -1 0   G = 1   0  0    A' = 1 1  1  0
                                     0 1  1 0       .5  .5 .5        0 1 -1 -1
                                     0 -1 1 0       .5 -.5 .5
                                     0 1 0 -1       0   0  1
   In both directions that makes 16 products of 36 for a tile of 2 x 2 results. For all channels at once each of the 16 is a
   product of matrices: tiles x channels with channels x filters. Its transpose gives the gradient of the filters.
   Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015.

   Images x are (n, h, w, c), results y (n, p, q, o), filters (o, 3, 3, c); y at 0, 0 begins `top` and `left` outside x. The
   16 parts of filters u are (16, terms, columns): strips of columns one after another, each padded to whole vectors. */

typedef struct { int64_t n, h, w, c, p, q, o, top, left; } TF_N(tf_images);

/* Which tile it is: its image, its row and its place in it. */
typedef struct { int64_t n, i, j, down, along; } TF_N(tf_place);
TF_INLINE TF_N(tf_place) TF_N(tf_find)(const TF_N(tf_images) * s, int64_t tile)
{
    const int64_t down = (s->p + 1) / 2, along = (s->q + 1) / 2;
    return (TF_N(tf_place)){tile / along / down, tile / along % down, tile % along, down, along};
}
TF_INLINE void TF_N(tf_next)(TF_N(tf_place) * at)
{
    if (++at->j < at->along)
        return;
    at->j = 0;
    if (++at->i == at->down)
        at->i = 0, at->n++;
}

/* c = a b for a strip of nv vectors; a lies by rows or by columns. */
static __attribute__((noinline, unused)) void TF_N(tf_strip_by_rows)(int nv, int64_t m, int64_t k, const TF_T *a, int64_t lda,
                                                                     const TF_T *b, TF_T *c, int64_t ldc)
{
    TF_N(tf_strips)(nv, m, k, a, lda, 1, NULL, b, nv * TF_LANES, NULL, TF_LANES, c, ldc, 1, TF_LANES, 0);
}
static __attribute__((noinline, unused)) void TF_N(tf_strip_by_columns)(int nv, int64_t m, int64_t k, const TF_T *a,
                                                                        int64_t lda, const TF_T *b, TF_T *c, int64_t ldc,
                                                                        int add)
{
    TF_N(tf_strips)(nv, m, k, a, 1, lda, NULL, b, nv * TF_LANES, NULL, TF_LANES, c, ldc, 1, TF_LANES, add);
}

/* d[0], d[s] .. = B'd */
TF_INLINE void TF_N(tf_winograd_b)(TF_V *d, int s)
{
    const TF_V d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s];
    d[0] = d0 - d2, d[s] = d1 + d2, d[2 * s] = d2 - d1, d[3 * s] = d1 - d3;
}

/* u = G g G' of one filter, `lanes` channels at w. */
TF_INLINE void TF_N(tf_winograd_g)(TF_V *u, const TF_T *w, int64_t c, int lanes)
{
    TF_V r[4][3];
    TF_UNROLL for (int j = 0; j < 3; j++) {
        const TF_V g0 = TF_N(tf_load)(w + j * c, lanes), g2 = TF_N(tf_load)(w + (6 + j) * c, lanes);
        const TF_V half = (g0 + g2) * (TF_T)0.5, g1 = TF_N(tf_load)(w + (3 + j) * c, lanes) * (TF_T)0.5;
        r[0][j] = g0, r[1][j] = half + g1, r[2][j] = half - g1, r[3][j] = g2;
    }
    TF_UNROLL for (int i = 0; i < 4; i++) {
        const TF_V half = (r[i][0] + r[i][2]) * (TF_T)0.5, g1 = r[i][1] * (TF_T)0.5;
        u[4 * i] = r[i][0], u[4 * i + 1] = half + g1, u[4 * i + 2] = half - g1, u[4 * i + 3] = r[i][2];
    }
}

/* The parts of filters from..to - 1 turned by half a turn, whose terms are filters and whose columns channels. */
static __attribute__((noinline, unused)) void TF_N(winograd_filters)(int64_t from, int64_t to, int64_t o, int64_t c,
                                                                     const TF_T *w, TF_T *u)
{
    static const int turned[] = {3, 1, 2, 0};
    const int64_t vectors = (c + TF_LANES - 1) / TF_LANES, size = vectors * TF_LANES * o;
    const int wide = TF_N(tf_wide)(c);
    for (int64_t k = from; k < TF_MIN(to, o); k++)
        for (int64_t j = 0; j < vectors; j++) {
            const int64_t strip = j / wide * wide, width = TF_MIN(wide, vectors - strip) * TF_LANES;
            TF_T *const to_j = u + strip * TF_LANES * o + k * width + (j - strip) * TF_LANES;
            TF_V g[16];
            TF_N(tf_winograd_g)(g, w + k * 9 * c + j * TF_LANES, c, (int)TF_MIN(TF_LANES, c - j * TF_LANES));
            for (int t = 0; t < 16; t++) *(TF_M *)(to_j + (4 * turned[t / 4] + turned[t % 4]) * size) = g[t];
        }
}

/* v (16, count, c) = B'd B of the tiles from `first` on; `part` numbers lie between one of the 16 and the next. */
static __attribute__((noinline, unused)) void TF_N(tf_winograd_take)(const TF_N(tf_images) * s, int64_t first,
                                                                     int64_t count, const TF_T *x, TF_T *v, int64_t part)
{
    TF_N(tf_place) at = TF_N(tf_find)(s, first);
    for (int64_t tile = 0; tile < count; tile++, v += s->c, TF_N(tf_next)(&at)) {
        const int64_t i = 2 * at.i - s->top, j = 2 * at.j - s->left;
        const TF_T *const from = x + ((at.n * s->h + i) * s->w + j) * s->c;
        const int all = i >= 0 && i + 4 <= s->h && j >= 0 && j + 4 <= s->w;
        for (int64_t c = 0; c < s->c; c += TF_LANES) {
            const int lanes = (int)TF_MIN(TF_LANES, s->c - c);
            TF_V d[16];
#define TF_AT(t) (from + ((t) / 4 * s->w + (t) % 4) * s->c + c)
            if (all && lanes == TF_LANES)
                TF_UNROLL for (int t = 0; t < 16; t++) d[t] = *(const TF_M *)TF_AT(t);
            else
                TF_UNROLL for (int t = 0; t < 16; t++)
                    d[t] = i + t / 4 >= 0 && i + t / 4 < s->h && j + t % 4 >= 0 && j + t % 4 < s->w
                               ? TF_N(tf_load)(TF_AT(t), lanes) : (TF_V){0};
#undef TF_AT
            TF_UNROLL for (int t = 0; t < 4; t++) TF_N(tf_winograd_b)(d + t, 4);
            TF_UNROLL for (int t = 0; t < 4; t++) TF_N(tf_winograd_b)(d + 4 * t, 1);
            TF_UNROLL for (int t = 0; t < 16; t++) TF_N(tf_store)(v + t * part + c, d[t], lanes);
        }
    }
}

/* y = A'm A of those tiles, from m (16, count, columns). */
static __attribute__((noinline, unused)) void TF_N(tf_winograd_give)(const TF_N(tf_images) * s, int64_t first,
                                                                     int64_t count, const TF_T *m, int64_t columns,
                                                                     int64_t part, TF_T *y)
{
    TF_N(tf_place) at = TF_N(tf_find)(s, first);
    for (int64_t tile = 0; tile < count; tile++, m += columns, TF_N(tf_next)(&at)) {
        const int64_t i = 2 * at.i, j = 2 * at.j;
        TF_T *const to = y + ((at.n * s->p + i) * s->q + j) * s->o;
        for (int64_t c = 0; c < s->o; c += TF_LANES) {
            const int lanes = (int)TF_MIN(TF_LANES, s->o - c);
            TF_V r[2][4];
            TF_UNROLL for (int t = 0; t < 4; t++) {
#define TF_AT(i) (*(const TF_M *)(m + (4 * (i) + t) * part + c))
                const TF_V m1 = TF_AT(1), m2 = TF_AT(2);
                r[0][t] = TF_AT(0) + m1 + m2, r[1][t] = m1 - m2 - TF_AT(3);
#undef TF_AT
            }
            TF_UNROLL for (int row = 0; row < 2; row++) {
                const TF_V *const b = r[row];
                TF_T *const to_row = to + row * s->q * s->o + c;
                if (i + row < s->p)
                    TF_N(tf_store)(to_row, b[0] + b[1] + b[2], lanes);
                if (i + row < s->p && j + 1 < s->q)
                    TF_N(tf_store)(to_row + s->o, b[1] - b[2] - b[3], lanes);
            }
        }
    }
}

/* The results in the blocks from..to - 1 of so many tiles each. */
static __attribute__((noinline, unused)) void TF_N(winograd_convolve)(int64_t from, int64_t to, int64_t tiles,
                                                                      TF_N(tf_images) s, const TF_T *x, const TF_T *u,
                                                                      TF_T *y, TF_T *space)
{
    const int64_t all = s.n * ((s.p + 1) / 2) * ((s.q + 1) / 2);
    const int64_t vectors = (s.o + TF_LANES - 1) / TF_LANES, columns = vectors * TF_LANES;
    const int64_t v_part = tiles * s.c + TF_LINE, m_part = tiles * columns + TF_LINE; /* a line more: not all in one set */
    const int wide = TF_N(tf_wide)(s.o);
    TF_T *const v = space, *const m = space + 16 * v_part;
    for (int64_t first = from * tiles; first < TF_MIN(to * tiles, all); first += tiles) {
        const int64_t count = TF_MIN(tiles, all - first);
        TF_N(tf_winograd_take)(&s, first, count, x, v, v_part);
        for (int t = 0; t < 16; t++)
            for (int64_t j = 0; j < vectors; j += wide)
                TF_N(tf_strip_by_rows)((int)TF_MIN(wide, vectors - j), count, s.c, v + t * v_part, s.c,
                                       u + (t * columns + j * TF_LANES) * s.c, m + t * m_part + j * TF_LANES, columns);
        TF_N(tf_winograd_give)(&s, first, count, m, columns, m_part, y);
    }
}

/* The four parts of row `row` of B'd B: v (4, count, columns) for columns channels from c0 on. */
TF_INLINE void TF_N(tf_winograd_take_row)(const int row, const TF_N(tf_images) * s, int64_t first, int64_t count,
                                          const TF_T *x, int64_t c0, int64_t columns, TF_T *v, int64_t part)
{
    const int a = row == 0 ? 0 : row == 2 ? 2 : 1, b = row == 3 ? 3 : row == 2 ? 1 : 2; /* B'd is d[a] +- d[b] */
    TF_N(tf_place) at = TF_N(tf_find)(s, first);
    for (int64_t tile = 0; tile < count; tile++, v += columns, TF_N(tf_next)(&at)) {
        const int64_t i = 2 * at.i - s->top, j = 2 * at.j - s->left;
        const TF_T *const from = x + ((at.n * s->h + i) * s->w + j) * s->c + c0;
        const int in_a = i + a >= 0 && i + a < s->h, in_b = i + b >= 0 && i + b < s->h;
        for (int64_t c = 0; c < columns; c += TF_LANES) {
            const int lanes = (int)TF_MIN(TF_LANES, s->c - c0 - c);
            TF_V d[4];
            TF_UNROLL for (int t = 0; t < 4; t++) {
                const int in = j + t >= 0 && j + t < s->w;
                const TF_V da = in && in_a ? TF_N(tf_load)(from + (a * s->w + t) * s->c + c, lanes) : (TF_V){0};
                const TF_V db = in && in_b ? TF_N(tf_load)(from + (b * s->w + t) * s->c + c, lanes) : (TF_V){0};
                d[t] = row == 1 ? da + db : da - db;
            }
            TF_N(tf_winograd_b)(d, 1);
            TF_UNROLL for (int t = 0; t < 4; t++) *(TF_M *)(v + t * part + c) = d[t];
        }
    }
}

/* The four parts of row `row` of A g A': v (4, count, o). */
TF_INLINE void TF_N(tf_winograd_take_results)(const int row, const TF_N(tf_images) * s, int64_t first, int64_t count,
                                              const TF_T *g, TF_T *v, int64_t part)
{
    TF_N(tf_place) at = TF_N(tf_find)(s, first);
    for (int64_t tile = 0; tile < count; tile++, v += s->o, TF_N(tf_next)(&at)) {
        const int64_t i = 2 * at.i, j = 2 * at.j;
        const TF_T *const from = g + ((at.n * s->p + i) * s->q + j) * s->o;
        for (int64_t c = 0; c < s->o; c += TF_LANES) {
            const int lanes = (int)TF_MIN(TF_LANES, s->o - c);
            TF_V r[2];
            TF_UNROLL for (int t = 0; t < 2; t++) {
                const int in = j + t < s->q;
                const TF_V g0 = row < 3 && in ? TF_N(tf_load)(from + t * s->o + c, lanes) : (TF_V){0};
                const TF_V g1 = row && in && i + 1 < s->p ? TF_N(tf_load)(from + (s->q + t) * s->o + c, lanes) : (TF_V){0};
                r[t] = row == 1 ? g0 + g1 : g0 - g1;
            }
            TF_N(tf_store)(v + c, r[0], lanes);
            TF_N(tf_store)(v + part + c, r[0] + r[1], lanes);
            TF_N(tf_store)(v + 2 * part + c, r[0] - r[1], lanes);
            TF_N(tf_store)(v + 3 * part + c, -r[1], lanes);
        }
    }
}

/* m (16, o, columns) = the sums over all tiles of (A g A') (B'd B), or those sums added: for pieces from..to - 1, of which
   each is a row of 4 parts, for at most `most` channels. */
static __attribute__((noinline, unused)) void TF_N(winograd_correlate)(int64_t from, int64_t to, int64_t tiles,
                                                                       int64_t most, TF_N(tf_images) s, const TF_T *x,
                                                                       const TF_T *g, TF_T *m, int add, TF_T *space)
{
    const int64_t all = s.n * ((s.p + 1) / 2) * ((s.q + 1) / 2), pieces = (s.c + most - 1) / most;
    const int64_t ldm = (s.c + 15) / 16 * 16, v_part = tiles * most + TF_LINE, g_part = tiles * s.o + TF_LINE;
    TF_T *const v = space, *const gv = space + 4 * v_part;
    for (int64_t first = 0; first < all; first += tiles)
        for (int64_t piece = from; piece < to; piece++) { /* inside, so that all find the images in the cache */
            const int64_t count = TF_MIN(tiles, all - first), c0 = piece % pieces * most;
            const int64_t vectors = (TF_MIN(most, s.c - c0) + TF_LANES - 1) / TF_LANES;
            const int row = (int)(piece / pieces), wide = TF_N(tf_wide)(vectors * TF_LANES);
#define TF_TAKE(row)                                                                                          \
    for (int64_t j = 0; j < vectors; j += wide)                                                               \
        TF_N(tf_winograd_take_row)(row, &s, first, count, x, c0 + j * TF_LANES, TF_MIN(wide, vectors - j) * TF_LANES, \
                                   v + j * TF_LANES * tiles, v_part);                                         \
    if (piece == from || piece % pieces == 0)                                                                 \
        TF_N(tf_winograd_take_results)(row, &s, first, count, g, gv, g_part)
            if (row == 0) { TF_TAKE(0); }
            else if (row == 1) { TF_TAKE(1); }
            else if (row == 2) { TF_TAKE(2); }
            else { TF_TAKE(3); }
#undef TF_TAKE
            for (int t = 0; t < 4; t++)
                for (int64_t j = 0; j < vectors; j += wide)
                    TF_N(tf_strip_by_columns)((int)TF_MIN(wide, vectors - j), s.o, count, gv + t * g_part, s.o,
                                              v + t * v_part + j * TF_LANES * tiles,
                                              m + (4 * row + t) * s.o * ldm + c0 + j * TF_LANES, ldm, add || first);
        }
}

/* The gradients G'm G of the filters from..to - 1. */
static __attribute__((noinline, unused)) void TF_N(winograd_gradient)(int64_t from, int64_t to, int64_t o, int64_t c,
                                                                      const TF_T *m, TF_T *w)
{
    const int64_t ldm = (c + 15) / 16 * 16, part = o * ldm;
    for (int64_t k = from; k < TF_MIN(to, o); k++)
        for (int64_t j = 0; j < c; j += TF_LANES) {
            const int lanes = (int)TF_MIN(TF_LANES, c - j);
            TF_V r[3][4];
            TF_UNROLL for (int t = 0; t < 4; t++) {
#define TF_AT(i) (*(const TF_M *)(m + (4 * (i) + t) * part + k * ldm + j))
                const TF_V half = (TF_AT(1) + TF_AT(2)) * (TF_T)0.5;
                r[0][t] = TF_AT(0) + half, r[1][t] = (TF_AT(1) - TF_AT(2)) * (TF_T)0.5, r[2][t] = half + TF_AT(3);
#undef TF_AT
            }
            TF_UNROLL for (int i = 0; i < 3; i++) {
                const TF_V half = (r[i][1] + r[i][2]) * (TF_T)0.5;
                TF_T *const to_row = w + (k * 9 + 3 * i) * c + j;
                TF_N(tf_store)(to_row, r[i][0] + half, lanes);
                TF_N(tf_store)(to_row + c, (r[i][1] - r[i][2]) * (TF_T)0.5, lanes);
                TF_N(tf_store)(to_row + 2 * c, half + r[i][3], lanes);
            }
        }
}

static const struct {
    __typeof__(&TF_N(winograd_filters)) filters;
    __typeof__(&TF_N(winograd_convolve)) convolve;
    __typeof__(&TF_N(winograd_correlate)) correlate;
    __typeof__(&TF_N(winograd_gradient)) gradient;
} TF_N(winograd) = {TF_N(winograd_filters), TF_N(winograd_convolve), TF_N(winograd_correlate), TF_N(winograd_gradient)};
TF_SHARED(TF_N(shared_winograd), &TF_N(winograd));
