// m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  Δ = η·m̂/(√v̂ + ε)  with  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)
// rates: η, β₁, β₂, ε; numbers: β₁ᵗ, β₂ᵗ of the steps made
struct Adam : Averages, Corrected {
    static constexpr int ARRAYS = 2, RATES = 4, NUMBERS = 2;

    __device__ Adam(const double* r, const double* powers)
        : Averages(r[1], r[2]), Corrected(r[0], powers[0] * r[1], powers[1] * r[2], r[3]) {}

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1];
        average(g, m, v);
        return delta(m, v);
    }
};
