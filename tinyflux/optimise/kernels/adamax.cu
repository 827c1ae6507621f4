// m ← β₁m + (1−β₁)g,  u ← max(β₂u, |g|),  Δ = η/(1−β₁ᵗ)·m/(u + ε)
// rates: η, β₁, β₂, ε; numbers: β₁ᵗ of the steps made
struct AdaMax {
    static constexpr int ARRAYS = 2, RATES = 4, NUMBERS = 1;
    const T rate, beta1, rest1, beta2, epsilon;

    __device__ AdaMax(const double* r, const double* power)
        : rate(r[0] / (1 - power[0] * r[1])), beta1(r[1]), rest1(1 - r[1]), beta2(r[2]), epsilon(r[3]) {}

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &u = s[1];
        m = beta1 * m + rest1 * g;
        u = maximum(beta2 * u, g < 0 ? -g : g);
        return rate * m / (u + epsilon);
    }

    __device__ static void advance(const double* r, double* power) { power[0] *= r[1]; }
};
