// m and v as Adam's,  w ← max(w, v)
// PAPER: Δ = η·m/wᵖ, where 0/0 counts as 0
// CODE:  Δ = η·√(1−β₂ᵗ)/(1−β₁ᵗ)·m/(√w + ε)²ᵖ
// rates: η, β₁, β₂, ε, p; numbers, in CODE: β₁ᵗ, β₂ᵗ of the steps made
template <Form form>
struct Padam : Averages {
    static constexpr int ARRAYS = 3, RATES = 5, NUMBERS = form == CODE ? 2 : 0;
    const T rate, epsilon, p;

    __device__ Padam(const double* r, const double* powers)
        : Averages(r[1], r[2]), rate(form == PAPER ? r[0] : r[0] * sqrt(1 - powers[1] * r[2]) / (1 - powers[0] * r[1])),
          epsilon(r[3]), p(r[4]) {}

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1], &w = s[2];
        average(g, m, v);
        w = maximum(w, v);
        return rate * m / (form == PAPER ? pow(w == 0 ? T(1) : w, p) : pow(sqrt(w) + epsilon, 2 * p));
    }
};
