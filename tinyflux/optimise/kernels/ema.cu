// Δ = g;  a ← δa + (1−δ)(x − g)
// rates: δ
struct EMA {
    static constexpr int ARRAYS = 1, RATES = 1, NUMBERS = 0;
    const T decay, rest;

    __device__ EMA(const double* r, const double*) : decay(r[0]), rest(1 - r[0]) {}

    __device__ T step(T x, T g, T* s) const {
        s[0] = decay * s[0] + rest * (x - g);
        return g;
    }
};
