// Δ = η·g
// rates: η
struct Descent {
    static constexpr int ARRAYS = 0, RATES = 1, NUMBERS = 0;
    const T eta;

    __device__ Descent(const double* r, const double*) : eta(r[0]) {}

    __device__ T step(T, T g, T*) const { return eta * g; }
};
