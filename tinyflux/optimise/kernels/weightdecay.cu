// Δ = g + λx
// rates: λ
struct WeightDecay {
    static constexpr int ARRAYS = 0, RATES = 1, NUMBERS = 0;
    const T lambda;

    __device__ WeightDecay(const double* r, const double*) : lambda(r[0]) {}

    __device__ T step(T x, T g, T*) const { return g + lambda * x; }
};
