// q ← ρq + (1−ρ)g²,  Δ = η·g/(√q + ε);   centred: l ← ρl + (1−ρ)g,  Δ = η·g/(√(q − l²) + ε)
// rates: η, ρ, ε
template <bool centred>
struct RMSProp {
    static constexpr int ARRAYS = centred ? 2 : 1, RATES = 3, NUMBERS = 0;
    const T eta, rho, rest, epsilon;

    __device__ RMSProp(const double* r, const double*) : eta(r[0]), rho(r[1]), rest(1 - r[1]), epsilon(r[2]) {}

    __device__ T step(T, T g, T* s) const {
        T& q = s[0];
        q = rho * q + rest * (g * g);
        if constexpr (!centred) return eta * g / (sqrt(q) + epsilon);
        T& l = s[1];
        l = rho * l + rest * g;
        return eta * g / (sqrt(maximum(q - l * l, 0)) + epsilon);
    }
};
