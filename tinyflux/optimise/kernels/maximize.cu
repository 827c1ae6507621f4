// Δ = −g
struct Maximize {
    static constexpr int ARRAYS = 0, RATES = 0, NUMBERS = 0;

    __device__ Maximize(const double*, const double*) {}

    __device__ T step(T, T g, T*) const { return -g; }
};
