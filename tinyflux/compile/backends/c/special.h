/* Two functions of SciPy's that C has not, and what the processor does with subnormal numbers. */

/* B2, B4 ... B16: the Bernoulli numbers of two asymptotic series. */
static const double bernoulli[8] = {
    1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6, -3617.0 / 510};

/* psi(x), the derivative of log Gamma(x): from x >= 10 by log x - 1/2x - sum B2n / (2n x^2n), below by
   psi(x) = psi(x + 1) - 1/x, and by psi(x) = psi(1 - x) - pi / tan(pi x) for negative x. */
static double psi_f64(double x) {
    double y = 0;
    if (x <= 0) {
        if (x == floor(x)) return x == 0 ? (signbit(x) ? INFINITY : -INFINITY) : NAN;
        const double pi = 3.14159265358979323846;
        y = -pi / tan(pi * (x - rint(x)));
        x = 1 - x;
    }
    for (; x < 10; x++) y -= 1 / x;
    double power = 1;
    for (int n = 1; n <= 8; n++) y -= bernoulli[n - 1] / (2 * n * (power *= x * x));
    return y + log(x) - 0.5 / x;
}

/* zeta(s, q) = sum over k >= 0 of (q + k)^-s, for s > 1 and q > 0: ten terms, and Euler and Maclaurin's formula. */
static double zeta_positive(double s, double q) {
    if (q > 1e8) return (1 / (s - 1) + 0.5 / q) * pow(q, 1 - s);
    double y = 0;
    for (int k = 0; k < 10; k++, q++) y += pow(q, -s);
    double term = pow(q, -s);
    y += term * q / (s - 1) + 0.5 * term;
    term *= s / q / 2;
    for (int n = 1; n <= 8; n++) {
        y += bernoulli[n - 1] * term;
        term *= (s + 2 * n - 1) * (s + 2 * n) / ((2 * n + 1) * (2 * n + 2) * q * q);
    }
    return y;
}

/* For negative q and whole s the bases up to 0 are -(1 - f), -(2 - f) ... q, where f is what q is above a whole one. */
static double zeta_f64(double s, double q) {
    if (s == 1 || (s > 1 && q <= 0 && q == floor(q))) return INFINITY;
    if (!(s > 1) || q != q || (q < 0 && s != floor(s))) return NAN;
    if (q > 0) return q < INFINITY ? zeta_positive(s, q) : 0;
    const double f = q - floor(q), sign = fmod(s, 2) == 0 ? 1 : -1;
    return (zeta_positive(s, f) + sign * zeta_positive(s, 1 - f)) - sign * zeta_positive(s, 1 - q);
}
static inline float psi_f32(float x) { return (float)psi_f64(x); }
static inline float zeta_f32(float s, float q) { return (float)zeta_f64(s, q); }

/* Subnormal numbers count as zero from flush_subnormals() to restore_subnormals(what it returned): the averages of an
   optimiser fade into them, and processors are slow there. */
#if defined(__SSE2__)
static inline unsigned flush_subnormals(void) {
    const unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040);
    return mode;
}
static inline void restore_subnormals(unsigned mode) { __builtin_ia32_ldmxcsr(mode); }
#else
static inline unsigned flush_subnormals(void) { return 0; }
static inline void restore_subnormals(unsigned mode) { (void)mode; }
#endif
