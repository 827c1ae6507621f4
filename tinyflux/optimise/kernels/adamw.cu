// Δ = η·m̂/(√v̂ + ε) + ηλx, m and v as Adam's;   not coupled: + λx
// rates: η, β₁, β₂, λ, ε; numbers: β₁ᵗ, β₂ᵗ of the steps made
template <bool couple>
struct AdamW : Averages, Corrected {
    static constexpr int ARRAYS = 2, RATES = 5, NUMBERS = 2;
    const T decay;

    __device__ AdamW(const double* r, const double* powers)
        : Averages(r[1], r[2]), Corrected(r[0], powers[0] * r[1], powers[1] * r[2], r[4]),
          decay(couple ? r[0] * r[3] : r[3]) {}

    __device__ T step(T x, T g, T* s) const {
        T &m = s[0], &v = s[1];
        average(g, m, v);
        return delta(m, v) + decay * x;
    }
};
