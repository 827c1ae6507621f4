// FLUX: v ← ρv + η·g, Δ = v;   TORCH: v ← ρv + g, Δ = η·v
// rates: η, ρ
template <Form form>
struct Momentum {
    static constexpr int ARRAYS = 1, RATES = 2, NUMBERS = 0;
    const T eta, rho;

    __device__ Momentum(const double* r, const double*) : eta(r[0]), rho(r[1]) {}

    __device__ T step(T, T g, T* s) const {
        T& v = s[0];
        v = rho * v + (form == FLUX ? eta * g : g);
        return form == FLUX ? v : eta * v;
    }
};
