// b ← βb + (1−β)g,  Δ = η[(1−ν)g + νb]
// rates: η, ν, β
struct QHM {
    static constexpr int ARRAYS = 1, RATES = 3, NUMBERS = 0;
    const T eta, nu, rest_nu, beta, rest_beta;

    __device__ QHM(const double* r, const double*)
        : eta(r[0]), nu(r[1]), rest_nu(1 - r[1]), beta(r[2]), rest_beta(1 - r[2]) {}

    __device__ T step(T, T g, T* s) const {
        T& b = s[0];
        b = beta * b + rest_beta * g;
        return eta * (rest_nu * g + nu * b);
    }
};
