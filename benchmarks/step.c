/* The training step as one writes it by hand for one cell of the table: a limit to hold the others against.

   `hand_written` in peers.py compiles it with the constants

       SIZES        of the layers, the input's first: 784,16,16,16,10; the others even, and no more than WIDEST
       ACTIVATIONS  one for each layer: SIGMOID,SIGMOID,SIGMOID,SIGMOID
       LOSS         MSE, or CROSSENTROPY, which adds EPSILON in its logarithm
       BATCH        samples of a step
       RULE, ETA    DESCENT or ADAM, and its learning rate

   Parameters, and ADAM's averages m and v, lie in one array each: for every layer its weight (out, in), then its bias.
   A weight's gradient is used on the spot; it is stored only where a batch has several blocks of rows. All on one
   core. */

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

enum { SIGMOID, RELU, SOFTMAX, MSE, CROSSENTROPY, DESCENT, ADAM };

static const int size[] = {SIZES}, activation[] = {ACTIVATIONS};
enum { LAYERS = sizeof activation / sizeof *activation, ROWS = BATCH < 128 ? BATCH : 128, WIDEST = 64,
       STRIP = 112 };

#define INLINE static inline __attribute__((always_inline))
#define KERNEL static __attribute__((noinline))
#define EIGHT(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)

static float value[LAYERS][ROWS * WIDEST]; /* what the layers give for a block of rows */
static float slope[2][ROWS * WIDEST];      /* d loss / d z, for z = x wᵀ + bias of a layer and of the one below */
static float rate, correction;             /* of ADAM's step */

/* e to the power x to some 1e-7, in operations that compilers vectorise (the polynomial is Cephes'). */
INLINE float exponential(float x)
{
    x = x < -87 ? -87 : x > 88 ? 88 : x;
    float k = rintf(x * 1.44269504f), r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    union { int32_t bits; float number; } power = {((int32_t)k + 127) << 23};
    return (p * r * r + r + 1) * power.number;
}

/* Up to eight elements of z = x wᵀ + bias at once: R rows times O outputs. */
INLINE void dots(int R, int O, const float *x, const float *w, const float *bias, float *z, int nin, int nout)
{
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3, s4, s5, s6, s7)
    for (int i = 0; i < nin; i++) {
#define ADD(k) if (k < R * O) s##k += x[k / O * nin + i] * w[k % O * nin + i];
        EIGHT(ADD)
    }
#define STORE(k) if (k < R * O) z[k / O * nout + k % O] = s##k + bias[k % O];
    EIGHT(STORE)
}

KERNEL void affine(const float *x, const float *w, const float *bias, float *z, int rows, int nin, int nout)
{
    int r = 0;
    for (; r + 2 <= rows; r += 2) {
        int o = 0;
        for (; o + 4 <= nout; o += 4) dots(2, 4, x + r * nin, w + o * nin, bias + o, z + r * nout + o, nin, nout);
        for (; o < nout; o++) dots(2, 1, x + r * nin, w + o * nin, bias + o, z + r * nout + o, nin, nout);
    }
    for (; r < rows; r++) {
        int o = 0;
        for (; o + 8 <= nout; o += 8) dots(1, 8, x + r * nin, w + o * nin, bias + o, z + r * nout + o, nin, nout);
        for (; o + 2 <= nout; o += 2) dots(1, 2, x + r * nin, w + o * nin, bias + o, z + r * nout + o, nin, nout);
        for (; o < nout; o++) dots(1, 1, x + r * nin, w + o * nin, bias + o, z + r * nout + o, nin, nout);
    }
}

INLINE void activate(int kind, float *z, int rows, int n)
{
    if (kind == SIGMOID) {
#pragma omp simd
        for (int i = 0; i < rows * n; i++) z[i] = 1 / (1 + exponential(-z[i]));
    } else if (kind == RELU) {
#pragma omp simd
        for (int i = 0; i < rows * n; i++) z[i] = z[i] > 0 ? z[i] : 0;
    } else {
        for (int r = 0; r < rows; r++, z += n) {
            float most = z[0], sum = 0;
            for (int i = 1; i < n; i++) most = z[i] > most ? z[i] : most;
#pragma omp simd reduction(+ : sum)
            for (int i = 0; i < n; i++) sum += z[i] = exponential(z[i] - most);
            for (int i = 0; i < n; i++) z[i] /= sum;
        }
    }
}

/* Turn d, the slope of what an activation gave, a, into that of what it was given. */
INLINE void slope_below_activation(int kind, const float *a, float *d, int rows, int n)
{
    if (kind == SIGMOID) {
#pragma omp simd
        for (int i = 0; i < rows * n; i++) d[i] *= a[i] * (1 - a[i]);
    } else if (kind == RELU) {
#pragma omp simd
        for (int i = 0; i < rows * n; i++) d[i] = a[i] > 0 ? d[i] : 0;
    } else {
        for (int r = 0; r < rows; r++, a += n, d += n) {
            float sum = 0;
            for (int i = 0; i < n; i++) sum += a[i] * d[i];
            for (int i = 0; i < n; i++) d[i] = a[i] * (d[i] - sum);
        }
    }
}

/* The sum of the loss over a block of rows; d becomes its slope. */
INLINE double loss_of(const float *a, const float *y, float *d, int rows, int n)
{
    double sum = 0;
    if (LOSS == MSE) {
        for (int i = 0; i < rows * n; i++) {
            float away = a[i] - y[i];
            sum += away * away;
            d[i] = away * (2.0f / (BATCH * n));
        }
        return sum / n;
    }
    for (int i = 0; i < rows * n; i++) {
        if (y[i]) sum -= y[i] * logf(a[i] + EPSILON);
        d[i] = -y[i] / ((a[i] + EPSILON) * BATCH);
    }
    return sum;
}

/* Y rows of y, ystep apart, n numbers each: y[j] += the sum over k < count of c[j + k cstep] times the row k of x. */
INLINE void combine(int Y, float *restrict y, int ystep, const float *c, int cstep, const float *x, int xstep,
                    int count, int n)
{
    int k = 0;
    for (; k + 8 <= count; k += 8, c += 8 * cstep, x += 8 * xstep)
#pragma omp simd
        for (int i = 0; i < n; i++) {
#define TERM(k) +c[k * cstep] * x[k * xstep + i]
#define TERM2(k) +c[1 + k * cstep] * x[k * xstep + i]
            y[i] += EIGHT(TERM);
            if (Y == 2) y[ystep + i] += EIGHT(TERM2);
        }
    for (; k < count; k++, c += cstep, x += xstep)
        for (int j = 0; j < Y; j++)
#pragma omp simd
            for (int i = 0; i < n; i++) y[j * ystep + i] += c[j] * x[i];
}

/* below = d w: the slope of what a layer was given. */
KERNEL void slope_below_weight(const float *d, const float *w, float *below, int rows, int nin, int nout)
{
    memset(below, 0, sizeof *below * rows * nin);
    for (int r = 0; r < rows; r++) combine(1, below + r * nin, 0, d + r * nout, 1, w, nin, nout, nin);
}

/* One parameter's step with its gradient g, or, where g is not yet all, into the store with it. */
INLINE void change(int last, float *p, float *m, float *v, float *store, float g)
{
    if (!last) {
        *store = g;
    } else if (RULE == ADAM) {
        *m = 0.9f * *m + 0.1f * g;
        *v = 0.999f * *v + 0.001f * g * g;
        *p -= rate * *m / (sqrtf(*v * correction) + 1e-8f);
    } else {
        *p -= (float)ETA * g;
    }
}

/* The gradient of a layer's parameters for a block of rows, and the step with it. */
KERNEL void layer(int first, int last, const float *x, const float *d, float *restrict p, float *restrict m,
                  float *restrict v, float *restrict store, int rows, int nin, int nout)
{
    for (int c = 0; c < nin && BATCH > 1; c += STRIP) { /* of columns: those of x stay in the cache for all outputs */
        int n = nin - c < STRIP ? nin - c : STRIP;
        for (int o = 0; o < nout; o += 2) { /* numbers of outputs are even */
            float g[2][STRIP];
            for (int j = 0; j < 2; j++)
                for (int i = 0; i < n; i++) g[j][i] = first ? 0 : store[(o + j) * nin + c + i];
            combine(2, g[0], STRIP, d + o, nout, x + c, nin, rows, n);
            for (int j = 0; j < 2; j++) {
                int k = (o + j) * nin + c;
#pragma omp simd
                for (int i = 0; i < n; i++) change(last, p + k + i, m + k + i, v + k + i, store + k + i, g[j][i]);
            }
        }
    }
    for (int o = 0; o < nout && BATCH == 1; o++)
#pragma omp simd
        for (int i = 0; i < nin; i++) {
            int k = o * nin + i;
            change(last, p + k, m + k, v + k, store + k, d[o] * x[i]);
        }
#pragma omp simd
    for (int o = 0; o < nout; o++) {
        int k = nin * nout + o;
        float g = first ? 0 : store[k];
        for (int r = 0; r < rows; r++) g += d[r * nout + o];
        change(last, p + k, m + k, v + k, store + k, g);
    }
}

/* The part of a step that concerns a block of rows; the last one changes the parameters. */
INLINE double block(int first, int last, const float *x, const float *y, float *p, float *m, float *v, float *store,
                    int rows)
{
    const float *input = x;
    float *d = slope[0], *below = slope[1];
    int start[LAYERS + 1] = {0};
    for (int l = 0; l < LAYERS; l++) {
        int nin = size[l], nout = size[l + 1];
        affine(input, p + start[l], p + start[l] + nin * nout, value[l], rows, nin, nout);
        activate(activation[l], value[l], rows, nout);
        start[l + 1] = start[l] + (nin + 1) * nout;
        input = value[l];
    }
    double loss = loss_of(input, y, d, rows, size[LAYERS]);
    for (int l = LAYERS - 1; l >= 0; l--) {
        int nin = size[l], nout = size[l + 1], k = start[l];
        slope_below_activation(activation[l], value[l], d, rows, nout);
        if (l > 0) slope_below_weight(d, p + k, below, rows, nin, nout);
        layer(first, last, l > 0 ? value[l - 1] : x, d, p + k, m + k, v + k, store + k, rows, nin, nout);
        float *swap = d;
        d = below;
        below = swap;
    }
    return loss;
}

/* The steps done, done + 1 … done + n - 1, over batches that lie one after another in x and y: the last one's loss. */
float run(long n, long done, const float *x, const float *y, long batches, float *p, float *m, float *v, float *store)
{
#ifdef __SSE__
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* subnormal numbers are zero */
#endif
    double loss = 0;
    for (long step = done; step < done + n; step++) {
        const float *xs = x + step % batches * BATCH * size[0], *ys = y + step % batches * BATCH * size[LAYERS];
        rate = ETA / (1 - pow(0.9, step + 1));
        correction = 1 / (1 - pow(0.999, step + 1));
        loss = 0;
        if (BATCH <= ROWS) {
            loss = block(1, 1, xs, ys, p, m, v, store, BATCH);
        } else {
            for (long r = 0; r < BATCH; r += ROWS)
                loss += block(r == 0, r + ROWS >= BATCH, xs + r * size[0], ys + r * size[LAYERS], p, m, v, store,
                              r + ROWS < BATCH ? ROWS : BATCH - r);
        }
        loss /= BATCH;
    }
#ifdef __SSE__
    _mm_setcsr(before);
#endif
    return loss;
}
