// m and v as Adam's,  Δ = r·η·m̂/(√v̂ + ε) if ρ > 4, else η·m̂,  with  r = √[(ρ−4)(ρ−2)ρ∞/((ρ∞−4)(ρ∞−2)ρ)],
// ρ∞ = 2/(1−β₂) − 1,  ρ = ρ∞ − 2tβ₂ᵗ/(1−β₂ᵗ)
// rates: η, β₁, β₂, ε; numbers: β₁ᵗ, β₂ᵗ and t of the steps made
struct RAdam : Averages, Corrected {
    static constexpr int ARRAYS = 2, RATES = 4, NUMBERS = 3;
    const T r;  // 0 where ρ ≤ 4

    __device__ RAdam(const double* rates, const double* n)
        : Averages(rates[1], rates[2]), Corrected(rates[0], n[0] * rates[1], n[1] * rates[2], rates[3]),
          r(rectification(rates[2], n[1] * rates[2], n[2] + 1)) {}

    __device__ static double rectification(double beta2, double power2, double t) {
        const double limit = 2 / (1 - beta2) - 1, rho = limit - 2 * t * power2 / (1 - power2);
        return rho > 4 ? sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) : 0;
    }

    __device__ T step(T, T g, T* s) const {
        T &m = s[0], &v = s[1];
        average(g, m, v);
        return r > 0 ? r * delta(m, v) : rate * m;
    }

    __device__ static void advance(const double* rates, double* n) {
        Averages::advance(rates, n);
        n[2] += 1;
    }
};
