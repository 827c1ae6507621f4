// Δ = ηₜ(g + λx),  a ← a + μₜ(x − Δ − a)  with  ηₜ₊₁ = η/(1 + ληt)^α,  μₜ₊₁ = 1/max(1, t − t₀)
// rates: η, λ, α, t₀; numbers: t of the steps made, and ηₜ and μₜ of the step to come
struct ASGD {
    static constexpr int ARRAYS = 1, RATES = 4, NUMBERS = 3;
    const T eta, decay, mu, rest_mu;

    __device__ ASGD(const double* r, const double* n) : eta(n[1]), decay(n[1] * r[1]), mu(n[2]), rest_mu(1 - n[2]) {}

    __device__ T step(T x, T g, T* s) const {
        T& average = s[0];
        const T delta = eta * g + decay * x;
        average = rest_mu * average + mu * (x - delta);
        return delta;
    }

    __device__ static void advance(const double* r, double* n) {
        n[0] += 1;
        n[1] = r[0] / pow(1 + r[1] * r[0] * n[0], r[2]);
        n[2] = n[0] - r[3] > 1 ? 1 / (n[0] - r[3]) : 1;
    }
};
