// τ = Adam's Δ,  Δ = 2τ − τ of the step before
// rates: η, β₁, β₂, ε; numbers: β₁ᵗ, β₂ᵗ of the steps made
struct OAdam : Averages, Corrected {
    static constexpr int ARRAYS = 3, RATES = 4, NUMBERS = 2;

    __device__ OAdam(const double* r, const double* powers)
        : Averages(r[1], r[2]), Corrected(r[0], powers[0] * r[1], powers[1] * r[2], r[3]) {}

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1], &tau = s[2];
        average(g, m, v);
        const T before = tau;
        tau = delta(m, v);
        return 2 * tau - before;
    }
};
