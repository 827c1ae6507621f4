// Δ = η·sign(β₁m + (1−β₁)g),  m ← β₂m + (1−β₂)g
// rates: η, β₁, β₂
struct Lion {
    static constexpr int ARRAYS = 1, RATES = 3, NUMBERS = 0;
    const T eta, beta1, rest1, beta2, rest2;

    __device__ Lion(const double* r, const double*)
        : eta(r[0]), beta1(r[1]), rest1(1 - r[1]), beta2(r[2]), rest2(1 - r[2]) {}

    __device__ T step(T, T g, T* s) const {
        T& m = s[0];
        const T delta = eta * sign(beta1 * m + rest1 * g);
        m = beta2 * m + rest2 * g;
        return delta;
    }
};
