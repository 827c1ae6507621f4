// Δ = g, but at least −δ and at most δ
// rates: δ
struct ClipGrad {
    static constexpr int ARRAYS = 0, RATES = 1, NUMBERS = 0;
    const T delta;

    __device__ ClipGrad(const double* r, const double*) : delta(r[0]) {}

    __device__ T step(T, T g, T*) const { return minimum(maximum(g, -delta), delta); }
};
