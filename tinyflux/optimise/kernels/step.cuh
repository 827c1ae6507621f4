// One launch steps all parameters of a group, x ← x − Δ, where Δ comes from `Rule`.
//
// The parameters are the elements starts[0] … starts[count] − 1 of a flat buffer, those of leaf k beginning at starts[k];
// the state's arrays have the same layout. The gradient of leaf k is an array of its own, at gradients[k].

constexpr int THREADS = 256;           // of a block
constexpr int LANES = 16 / sizeof(T);  // elements that one 128-bit access moves

// So many blocks at least share a multiprocessor: 80 registers are left to a thread, 128 for a state of many arrays.
template <class Rule>
constexpr int BLOCKS = Rule::ARRAYS > 4 ? 2 : 3;

struct alignas(16) Vector {
    T lane[LANES];
};

// The lanes from … to − 1 of a vector at p, which is aligned; the others are zero.
__device__ Vector load(const T* p, int from, int to) {
    if (to - from == LANES) return *reinterpret_cast<const Vector*>(p);
    Vector v = {};
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane)
        if (from <= lane && lane < to) v.lane[lane] = p[lane];
    return v;
}

__device__ void store(T* p, int from, int to, const Vector& v) {
    if (to - from == LANES) {
        *reinterpret_cast<Vector*>(p) = v;
        return;
    }
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane)
        if (from <= lane && lane < to) p[lane] = v.lane[lane];
}

// The last leaf that begins at or before element i; none before `low` comes into question.
__device__ int leaf_of(long long i, const long long* starts, int low, int count) {
    if (i < starts[low + 1]) return low;
    int high = count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (starts[middle] <= i) low = middle;
        else high = middle;
    }
    return low;
}

// The gradients of the elements i + from … i + to − 1, of which the first belongs to `leaf`: by one 128-bit access, if all
// of a vector do and it is aligned.
__device__ Vector gather(const T* const* gradients, const long long* starts, int leaf, long long i, int from, int to) {
    const T* p = gradients[leaf] + (i - starts[leaf]);
    const bool aligned = reinterpret_cast<unsigned long long>(p) % sizeof(Vector) == 0;
    if (to - from == LANES && i + LANES <= starts[leaf + 1] && aligned) return *reinterpret_cast<const Vector*>(p);
    Vector v = {};
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) {
        if (from <= lane && lane < to) {
            while (starts[leaf + 1] <= i + lane) ++leaf;
            v.lane[lane] = gradients[leaf][i + lane - starts[leaf]];
        }
    }
    return v;
}

// The last block to finish moves the state's numbers on: by then every thread has read them. `ticket` counts the blocks
// that have finished, and is 0 again after the last.
template <class Rule>
__device__ void advance_once(const double* rates, double* numbers, unsigned* ticket) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        if (atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1) Rule::advance(rates, numbers);
    }
}

// Whether a step is to be made: not if the loss that led to it is NaN or infinite, nor ever after such a loss. The losses
// are written down in their order, to be read together later. Without a loss to look at, every step is made.
__device__ bool admitted(const T* loss, T* losses, int place, unsigned* stopped) {
    if (loss == nullptr) return true;
    const bool first = blockIdx.x == 0 && threadIdx.x == 0;
    if (first) losses[place] = *loss;
    if (*stopped) return false;
    if (*loss - *loss == 0) return true;
    if (first) *stopped = 1;
    return false;
}

template <class Rule>
__device__ void step_all(T* x, T* const* state, const T* const* gradients, const long long* starts, int count,
                         const double* rates, double* numbers, unsigned* ticket) {
    const Rule rule(rates, numbers);
    const long long start = starts[0], stop = starts[count];
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x * LANES;
    long long i = start - start % LANES + (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * LANES;
    int leaf = 0;
    for (; i < stop; i += stride) {
        const int from = i < start ? start - i : 0;  // all lanes, but in the first vector and in the last
        const int to = stop - i < LANES ? stop - i : LANES;
        leaf = leaf_of(i + from, starts, leaf, count);
        const Vector g = gather(gradients, starts, leaf, i, from, to);
        Vector value = load(x + i, from, to), s[Rule::ARRAYS + 1];  // one more, as an array must not be empty
#pragma unroll
        for (int k = 0; k < Rule::ARRAYS; ++k) s[k] = load(state[k] + i, from, to);
#pragma unroll
        for (int lane = 0; lane < LANES; ++lane) {
            T own[Rule::ARRAYS + 1];
#pragma unroll
            for (int k = 0; k < Rule::ARRAYS; ++k) own[k] = s[k].lane[lane];
            value.lane[lane] -= rule.step(value.lane[lane], g.lane[lane], own);
#pragma unroll
            for (int k = 0; k < Rule::ARRAYS; ++k) s[k].lane[lane] = own[k];
        }
        store(x + i, from, to, value);
#pragma unroll
        for (int k = 0; k < Rule::ARRAYS; ++k) store(state[k] + i, from, to, s[k]);
    }
    if constexpr (Rule::NUMBERS > 0) advance_once<Rule>(rates, numbers, ticket);
}
