// The state of layers becomes what a step has made of it, word by word, unless a loss was not finite: see `admitted`.
extern "C" __global__ void commit_state(unsigned* state, const unsigned* made, long long count, const unsigned* stopped) {
    if (stopped != nullptr && *stopped) return;
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride)
        state[i] = made[i];
}
