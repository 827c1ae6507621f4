/* Elementary functions for loops: exp, expm1, log, sigmoid and tanh, in float32 (names ending in _f32) and
   float64 (_f64). They have no branches, tables or calls, only arithmetic, comparisons that select, and bit
   patterns, so a plain loop  for (...) y[i] = exp_f32(x[i]);  becomes vector code.

   NaN goes in and comes out, and infinities, zeros and overflow behave as in libm. Compile without -ffast-math:
   adding and subtracting a large number to round would be optimised away. Contraction to fma is welcome.

   The fitted polynomials minimise the largest relative error on their interval (a weighted least-squares fit on
   Chebyshev nodes, reweighted until its error is level). */
#ifndef TF_ELEMENTARY_H
#define TF_ELEMENTARY_H

#include <stdint.h>

#define TF_ELEMENTARY static inline __attribute__((always_inline, unused))

/* log 2 in two parts; the first has so few digits that n times it is exact. */
#define TF_LN2_HIGH_f32 0x1.63p-1f
#define TF_LN2_LOW_f32 -0x1.bd0106p-13f
#define TF_LN2_HIGH_f64 0x1.62e42feep-1
#define TF_LN2_LOW_f64 0x1.a39ef35793c76p-33

/* e^r - 1 for |r| <= log(2)/2, as r + r^2 p(r). */
TF_ELEMENTARY float tf_expm1_near_f32(float r)
{
    float p = 1.38825213e-3f;
    p = p * r + 8.36652052e-3f;
    p = p * r + 4.16672006e-2f;
    p = p * r + 1.66665435e-1f;
    p = p * r + 4.99999970e-1f;
    return p * (r * r) + r;
}

TF_ELEMENTARY double tf_expm1_near_f64(double r)
{
    double p = 2.4915989506183378e-08;
    p = p * r + 2.762551857817014e-07;
    p = p * r + 2.755785657198544e-06;
    p = p * r + 2.4801507678777623e-05;
    p = p * r + 0.0001984126920885278;
    p = p * r + 0.001388888892778257;
    p = p * r + 0.00833333333362;
    p = p * r + 0.04166666666660092;
    p = p * r + 0.1666666666666627;
    p = p * r + 0.5;
    return p * (r * r) + r;
}

#define TF_FUNCTIONS(T, U, s, f, DIGITS, ONE, ROUND, PER_LN2, MOST, LEAST, FLAT, CUT)                                  \
    /* The bit pattern of a number, and the number of a bit pattern. */                                                \
    TF_ELEMENTARY U tf_bits_##s(T x) { union { T x; U u; } b = {x}; return b.u; }                                      \
    TF_ELEMENTARY T tf_from_##s(U u) { union { U u; T x; } b = {u}; return b.x; }                                      \
                                                                                                                       \
    /* Adding ROUND rounds x to an integer n, which then stands in the low bits of the sum: subtracting ROUND gives n as\
       a number; shifting the bits left makes n an exponent, and adding those of 1 the number 2^n. */                  \
    TF_ELEMENTARY T tf_power2_##s(T rounded) { return tf_from_##s((tf_bits_##s(rounded) << DIGITS) + ONE); }           \
                                                                                                                       \
    /* e^x = 2^n e^r with n = x / log 2 rounded and r = x - n log 2. Past where the result is infinite or zero, x is cut\
       off (a comparison that a NaN survives); 2^n comes in two factors, as n itself may exceed the exponents. */      \
    TF_ELEMENTARY T exp_##s(T x)                                                                                       \
    {                                                                                                                  \
        x = x > MOST ? MOST : x;                                                                                       \
        x = x < LEAST ? LEAST : x;                                                                                     \
        const T n = (x * PER_LN2 + ROUND) - ROUND;                                                                     \
        const T r = (x - n * TF_LN2_HIGH_##s) - n * TF_LN2_LOW_##s;                                                    \
        const T half = n * (T)0.5 + ROUND, rest = (n - (half - ROUND)) + ROUND;                                        \
        const T p = 1 + tf_expm1_near_##s(r);                                                                          \
        return (p * tf_power2_##s(half)) * tf_power2_##s(rest);                                                        \
    }                                                                                                                  \
                                                                                                                       \
    /* e^x - 1 = 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2)), with the parts as above: accurate for small x too, where n = 0\
       and the second term is nothing, and without overflow before the result's. -0 stays. */                          \
    TF_ELEMENTARY T expm1_##s(T x)                                                                                     \
    {                                                                                                                  \
        const T y = x > MOST ? MOST : x < FLAT ? FLAT : x;                                                             \
        const T rounded = y * PER_LN2 + ROUND, n = rounded - ROUND;                                                    \
        const T r = (y - n * TF_LN2_HIGH_##s) - n * TF_LN2_LOW_##s;                                                    \
        const T scale = tf_power2_##s(rounded - 1);                                                                    \
        const T m = 2 * (scale * tf_expm1_near_##s(r) + (scale - (T)0.5));                                             \
        return x == 0 ? x : m;                                                                                         \
    }                                                                                                                  \
                                                                                                                       \
    /* 1 / (1 + e^-x): where e^-x overflows the quotient is 0. */                                                      \
    TF_ELEMENTARY T sigmoid_##s(T x) { return 1 / (1 + exp_##s(-x)); }                                                 \
                                                                                                                       \
    /* tanh |x| = m / (m + 2) with m = e^(2|x|) - 1, which is accurate near 0; past the cut-off the result is 1. */    \
    TF_ELEMENTARY T tanh_##s(T x)                                                                                      \
    {                                                                                                                  \
        const T a = __builtin_fabs##f(x), m = expm1_##s(a > CUT ? 2 * CUT : 2 * a);                                    \
        return __builtin_copysign##f(m / (m + 2), x);                                                                  \
    }

TF_FUNCTIONS(float, uint32_t, f32, f, 23, 0x3f800000u, 0x1.8p23f, 0x1.715476p0f, 89.0f, -104.0f, -25.0f, 10.0f)
TF_FUNCTIONS(double, uint64_t, f64, , 52, 0x3ff0000000000000u, 0x1.8p52, 0x1.71547652b82fep0, 710.0, -746.0, -50.0, 20.0)

/* log x = e log 2 + log(1 + f), with x = 2^e (1 + f) and 1 + f from sqrt(1/2) to sqrt(2): adding the distance from
   sqrt(1/2) to 1 to the bit pattern puts the border between exponents there. Subnormal x is first multiplied by a
   power of 2. For float32, log(1 + f) = f - f^2/2 + f^3 p(f). For float64, log(1 + f) = 2 artanh s with
   s = f / (2 + f), which is f - s (f - z p(z)), z = s^2. Each adds the smallest terms first. */
TF_ELEMENTARY float log_f32(float x)
{
    const int tiny = x < 0x1p-126f;
    const uint32_t bits = tf_bits_f32(tiny ? x * 0x1p25f : x) + (0x3f800000u - 0x3f3504f3u);
    const float e = (float)(int32_t)(bits >> 23) - (tiny ? 152.0f : 127.0f);
    const float f = tf_from_f32((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f, f2 = f * f;
    float p = -7.63449669e-2f;
    p = p * f + 1.27615765e-1f;
    p = p * f + -1.31601825e-1f;
    p = p * f + 1.42017573e-1f;
    p = p * f + -1.66233569e-1f;
    p = p * f + 2.00012267e-1f;
    p = p * f + -2.50008196e-1f;
    p = p * f + 3.33333313e-1f;
    const float small = (p * f * f2 + e * TF_LN2_LOW_f32) - 0.5f * f2;
    const float y = e * TF_LN2_HIGH_f32 + (small + f);
    return x > 0.0f ? (x < __builtin_inff() ? y : x) : (x == 0.0f ? -__builtin_inff() : __builtin_nanf(""));
}

TF_ELEMENTARY double log_f64(double x)
{
    const int tiny = x < 0x1p-1022;
    const uint64_t bits = tf_bits_f64(tiny ? x * 0x1p54 : x) + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
    /* the exponent's bits as those of 2^52 + exponent: older processors cannot convert 64-bit integers in vectors */
    const double e = tf_from_f64((bits >> 52) | 0x4330000000000000u) - (tiny ? 0x1p52 + 1077.0 : 0x1p52 + 1023.0);
    const double f = tf_from_f64((bits & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
    const double s = f / (2.0 + f), z = s * s;
    double p = 0.1484073107973688;
    p = p * z + 0.15308460695582415;
    p = p * z + 0.18183835458728254;
    p = p * z + 0.22222192158863435;
    p = p * z + 0.2857142881779508;
    p = p * z + 0.39999999999024144;
    p = p * z + 0.6666666666666796;
    const double y = e * TF_LN2_HIGH_f64 + (f - (s * (f - z * p) - e * TF_LN2_LOW_f64));
    return x > 0.0 ? (x < __builtin_inf() ? y : x) : (x == 0.0 ? -__builtin_inf() : __builtin_nan(""));
}

#undef TF_FUNCTIONS
#undef TF_ELEMENTARY
#endif
