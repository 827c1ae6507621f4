// v ← ρv − η·g,  Δ = η·g − ρv = (1 + ρ)η·g − ρ²·(v before)
// rates: η, ρ
struct Nesterov {
    static constexpr int ARRAYS = 1, RATES = 2, NUMBERS = 0;
    const T eta, rho;

    __device__ Nesterov(const double* r, const double*) : eta(r[0]), rho(r[1]) {}

    __device__ T step(T, T g, T* s) const {
        T& v = s[0];
        v = rho * v - eta * g;
        return eta * g - rho * v;
    }
};
