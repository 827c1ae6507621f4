// m as Adam's,  s ← β₂s + (1−β₂)(g − m)² + ε,  Δ = η·m̂/(√(s/(1−β₂ᵗ)) + ε)
// rates: η, β₁, β₂, ε; numbers: β₁ᵗ, β₂ᵗ of the steps made
struct AdaBelief : Averages, Corrected {
    static constexpr int ARRAYS = 2, RATES = 4, NUMBERS = 2;

    __device__ AdaBelief(const double* r, const double* powers)
        : Averages(r[1], r[2]), Corrected(r[0], powers[0] * r[1], powers[1] * r[2], r[3]) {}

    __device__ T step(T, T g, T* state) const {
        T &m = state[0], &s = state[1];
        m = beta1 * m + rest1 * g;
        s = beta2 * s + rest2 * ((g - m) * (g - m)) + epsilon;
        return delta(m, s);
    }
};
