// m and v as Adam's,  Δ = η·[(1−ν₁)g + ν₁m̂] / (√((1−ν₂)g² + ν₂v̂) + ε)
// rates: η, ν₁, ν₂, β₁, β₂, ε; numbers: β₁ᵗ, β₂ᵗ of the steps made
struct QHAdam : Averages {
    static constexpr int ARRAYS = 2, RATES = 6, NUMBERS = 2;
    const T eta, rest_nu1, of_m, rest_nu2, of_v, epsilon;

    __device__ QHAdam(const double* r, const double* powers)
        : Averages(r[3], r[4]), eta(r[0]), rest_nu1(1 - r[1]), of_m(r[1] / (1 - powers[0] * r[3])), rest_nu2(1 - r[2]),
          of_v(r[2] / (1 - powers[1] * r[4])), epsilon(r[5]) {}

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1];
        average(g, m, v);
        return eta * (rest_nu1 * g + of_m * m) / (sqrt(rest_nu2 * (g * g) + of_v * v) + epsilon);
    }

    __device__ static void advance(const double* r, double* powers) { Averages::advance(r + 2, powers); }
};
