// vᵢ ← βᵢvᵢ + g,  Δ = η·mean(vᵢ)
// rates: η, β₀ … of the COUNT velocities
template <int COUNT>
struct AggMo {
    static constexpr int ARRAYS = COUNT, RATES = 1 + COUNT, NUMBERS = 0;
    const T rate;
    T beta[COUNT];

    __device__ AggMo(const double* r, const double*) : rate(r[0] / COUNT) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) beta[i] = r[1 + i];
    }

    __device__ T step(T, T g, T* v) const {
        T sum = 0;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            v[i] = beta[i] * v[i] + g;
            sum += v[i];
        }
        return rate * sum;
    }
};
