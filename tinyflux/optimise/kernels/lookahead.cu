// Δ = g, but every k steps  s ← s + α(x − g − s),  Δ = x − s
// rates: k, α; numbers: the steps since s moved
struct Lookahead {
    static constexpr int ARRAYS = 1, RATES = 2, NUMBERS = 1;
    const T alpha;
    const bool due;

    __device__ Lookahead(const double* r, const double* n) : alpha(r[1]), due(n[0] + 1 >= r[0]) {}

    __device__ T step(T x, T g, T* s) const {
        if (!due) return g;
        s[0] = s[0] + alpha * (x - g - s[0]);
        return x - s[0];
    }

    __device__ static void advance(const double* r, double* n) { n[0] = n[0] + 1 >= r[0] ? 0 : n[0] + 1; }
};
