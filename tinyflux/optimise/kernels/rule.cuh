// What the kernels of all rules share. `T` is float or double: the loader begins with `using T = float;`, say, goes on
// with this file, those of the rules in use and step.cuh, and ends with the kernel for one chain of rules.
//
// A rule is a struct of
//     ARRAYS, RATES, NUMBERS    how many state arrays, hyperparameters and numbers of the state it has;
//     Rule(rates, numbers)      which computes in double, as Python does, what is the same for all elements;
//     step(x, g, s)             which gives the step Δ of one element and renews its state s[0] … s[ARRAYS - 1];
//     advance(rates, numbers)   which moves the state's numbers on, once a step (where there are any).

enum Form { FLUX, TORCH, OPTAX, PAPER, CODE };

// NaN comes through, as in NumPy; CUDA's fmax and fmin drop it.
__device__ T maximum(T a, T b) { return a >= b || a != a ? a : b; }
__device__ T minimum(T a, T b) { return a <= b || a != a ? a : b; }
__device__ T sign(T a) { return a > 0 ? T(1) : a < 0 ? T(-1) : a; }

// Rules one after another: each takes for its gradient what the one before gave as Δ.
template <class First, class... Rest>
struct Chain {
    static constexpr int ARRAYS = First::ARRAYS + Chain<Rest...>::ARRAYS;
    static constexpr int RATES = First::RATES + Chain<Rest...>::RATES;
    static constexpr int NUMBERS = First::NUMBERS + Chain<Rest...>::NUMBERS;
    const First first;
    const Chain<Rest...> rest;

    __device__ Chain(const double* rates, const double* numbers)
        : first(rates, numbers), rest(rates + First::RATES, numbers + First::NUMBERS) {}

    __device__ T step(T x, T g, T* s) const { return rest.step(x, first.step(x, g, s), s + First::ARRAYS); }

    __device__ static void advance(const double* rates, double* numbers) {
        Chain<First>::advance(rates, numbers);
        Chain<Rest...>::advance(rates + First::RATES, numbers + First::NUMBERS);
    }
};

template <class Only>
struct Chain<Only> : Only {
    __device__ Chain(const double* rates, const double* numbers) : Only(rates, numbers) {}

    __device__ static void advance(const double* rates, double* numbers) {
        if constexpr (Only::NUMBERS > 0) Only::advance(rates, numbers);
    }
};

// Counts the steps that were made, where a schedule asks for them; a gradient goes through as it is.
struct Steps {
    static constexpr int ARRAYS = 0, RATES = 0, NUMBERS = 1;

    __device__ Steps(const double*, const double*) {}

    __device__ T step(T, T g, T*) const { return g; }

    __device__ static void advance(const double*, double* n) { n[0] += 1; }
};

// m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²
struct Averages {
    const T beta1, rest1, beta2, rest2;

    __device__ Averages(double beta1, double beta2) : beta1(beta1), rest1(1 - beta1), beta2(beta2), rest2(1 - beta2) {}

    __device__ void average(T g, T& m, T& v) const {
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * (g * g);
    }

    // β₁ᵗ and β₂ᵗ of a rule whose rates begin with η, β₁, β₂
    __device__ static void advance(const double* rates, double* powers) {
        powers[0] *= rates[1];
        powers[1] *= rates[2];
    }
};

// Adam's step η·m̂/(√v̂ + ε) with  m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ); power1 and power2 are β₁ᵗ and β₂ᵗ.
struct Corrected {
    const T rate, scale, epsilon;

    __device__ Corrected(double eta, double power1, double power2, double epsilon)
        : rate(eta / (1 - power1)), scale(1 / (1 - power2)), epsilon(epsilon) {}

    __device__ T delta(T m, T v) const { return rate * m / (sqrt(v * scale) + epsilon); }
};
