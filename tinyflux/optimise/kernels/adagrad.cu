// a ← a + g²,  Δ = η·g/(√a + ε)
// rates: η, ε, what a starts at
struct AdaGrad {
    static constexpr int ARRAYS = 1, RATES = 3, NUMBERS = 0;
    const T eta, epsilon;

    __device__ AdaGrad(const double* r, const double*) : eta(r[0]), epsilon(r[1]) {}

    __device__ T step(T, T g, T* s) const {
        T& a = s[0];
        a = a + g * g;
        return eta * g / (sqrt(a) + epsilon);
    }
};
