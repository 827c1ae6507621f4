// a ← ρa + (1−ρ)g²,  Δ = g·√(d + ε)/√(a + ε),  d ← ρd + (1−ρ)Δ²
// rates: ρ, ε
struct AdaDelta {
    static constexpr int ARRAYS = 2, RATES = 2, NUMBERS = 0;
    const T rho, rest, epsilon;

    __device__ AdaDelta(const double* r, const double*) : rho(r[0]), rest(1 - r[0]), epsilon(r[1]) {}

    __device__ T step(T, T g, T* s) const {
        T &a = s[0], &d = s[1];
        a = rho * a + rest * (g * g);
        const T delta = g * sqrt(d + epsilon) / sqrt(a + epsilon);
        d = rho * d + rest * (delta * delta);
        return delta;
    }
};
