// m and v as Adam's,  Δ = η·[β₁m/(1−β₁ᵗ⁺¹) + (1−β₁)g/(1−β₁ᵗ)] / (√(β₂v/(1−β₂ᵗ)) + ε)
// scheduled: Δ = η·[μₜ₊₁m/(1−μ₁…μₜ₊₁) + (1−μₜ)g/(1−μ₁…μₜ)] / (√v̂ + ε)  with  μₜ = β₁(1 − 0.96^(tψ)/2)
// rates: η, β₁, β₂, ε, ψ; numbers: β₁ᵗ (scheduled: μ₁…μₜ) and β₂ᵗ of the steps made; scheduled: t as well
template <bool scheduled>
struct NAdam : Averages {
    static constexpr int ARRAYS = 2, RATES = 5, NUMBERS = scheduled ? 3 : 2;
    const T eta, of_average, of_gradient, scale, epsilon;

    __device__ NAdam(const double* r, const double* n)
        : Averages(r[1], r[2]), eta(r[0]), of_average(mu(r, n, 2) / (1 - n[0] * mu(r, n, 1) * mu(r, n, 2))),
          of_gradient((1 - mu(r, n, 1)) / (1 - n[0] * mu(r, n, 1))),
          scale((scheduled ? 1 : r[2]) / (1 - n[1] * r[2])), epsilon(r[3]) {}

    // μ of the step to come (ahead = 1) and of the one after it (2)
    __device__ static double mu(const double* r, const double* n, int ahead) {
        return scheduled ? r[1] * (1 - 0.5 * pow(0.96, (n[2] + ahead) * r[4])) : r[1];
    }

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1];
        average(g, m, v);
        return eta * (m * of_average + g * of_gradient) / (sqrt(v * scale) + epsilon);
    }

    __device__ static void advance(const double* r, double* n) {
        n[0] *= mu(r, n, 1);
        n[1] *= r[2];
        if (scheduled) n[2] += 1;
    }
};
