// m and v as Adam's
// FLUX:  w ← max(w, v),  Δ = η·m/(√w + ε)
// TORCH: w ← max(w, v),  Δ = η·m̂/(√ŵ + ε)
// OPTAX: w ← max(w, v̂),  Δ = η·m̂/(√w + ε)
// rates: η, β₁, β₂, ε; numbers, but in FLUX: β₁ᵗ, β₂ᵗ of the steps made
template <Form form>
struct AMSGrad : Averages {
    static constexpr int ARRAYS = 3, RATES = 4, NUMBERS = form == FLUX ? 0 : 2;
    const Corrected corrected;

    __device__ AMSGrad(const double* r, const double* powers)
        : Averages(r[1], r[2]), corrected(r[0], form == FLUX ? 0 : powers[0] * r[1],
                                          form == FLUX ? 0 : powers[1] * r[2], r[3]) {}

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1], &w = s[2];
        average(g, m, v);
        w = maximum(w, form == OPTAX ? v * corrected.scale : v);
        return corrected.rate * m / (sqrt(form == TORCH ? w * corrected.scale : w) + corrected.epsilon);
    }
};
