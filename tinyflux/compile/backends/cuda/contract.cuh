// Sums of products, out[i, j] = sum over k of a[i, k] b[k, j], whose rows i, columns j and terms k lie anywhere in memory:
// `Places` says where, and how many there are. A block calculates a tile of ROWS x COLUMNS results, each thread some of
// them in registers, from TERMS terms at a time that lie in shared memory. Where there are few tiles, blocks share out the
// terms, too. `finish` takes the number of the part, where the result lies, and the total.

constexpr int SIDE = 16;   // threads along each side of a tile
constexpr int TERMS = 16;  // terms that lie in shared memory at a time

// What lies in shared memory: factors, with one more in each line so that columns are not all in one bank; and where the
// tile's rows, columns and terms lie, these and the next ones.
template <class T, int ROWS, int COLUMNS, class Index>
struct Tile {
    T left[TERMS][ROWS + 1], right[TERMS][COLUMNS + 1];
    Index a_row[ROWS], b_column[COLUMNS], a_term[2][TERMS], b_term[2][TERMS];
};

template <class T, int ROWS, int COLUMNS, class Places, class Finish>
__device__ void contract(unsigned block, char* shared, const T* a, const T* b, Finish finish) {
    using Index = typename Places::Index;
    constexpr int THREADS = SIDE * SIDE, ACROSS = (Places::COLUMNS + COLUMNS - 1) / COLUMNS;
    constexpr int DOWN = (Places::ROWS + ROWS - 1) / ROWS;
    auto& [left, right, a_row, b_column, a_term, b_term] = *reinterpret_cast<Tile<T, ROWS, COLUMNS, Index>*>(shared);
    const int thread = threadIdx.x, x = thread % SIDE, y = thread / SIDE;
    const int column = block % ACROSS * COLUMNS;
    block /= ACROSS;
    const int row = block % DOWN * ROWS;
    block /= DOWN;
    const int outer = block % Places::OUTER, part = block / Places::OUTER;
    const int start = part * Places::CHUNK;
    const int stop = start + Places::CHUNK < Places::TERMS ? start + Places::CHUNK : Places::TERMS;
    a += Places::a_outer(outer);
    b += Places::b_outer(outer);
    const Index out = Places::out_outer(outer);

    for (int i = thread; i < ROWS; i += THREADS)  // behind the last row lies the last row again, which nobody asks for
        a_row[i] = Places::a_row(row + i < Places::ROWS ? row + i : Places::ROWS - 1);
    for (int j = thread; j < COLUMNS; j += THREADS)
        b_column[j] = Places::b_column(column + j < Places::COLUMNS ? column + j : Places::COLUMNS - 1);
    if (thread < TERMS && start + thread < stop) {
        a_term[0][thread] = Places::a_term(start + thread);
        b_term[0][thread] = Places::b_term(start + thread);
    }
    __syncthreads();

    T total[ROWS / SIDE][COLUMNS / SIDE] = {};
    int turn = 0;
    for (int first = start; first < stop; first += TERMS, turn ^= 1) {
#pragma unroll
        for (int e = thread; e < TERMS * ROWS; e += THREADS) {  // neighbouring threads read neighbours in memory
            const int k = Places::A_BY_TERMS ? e % TERMS : e / ROWS, i = Places::A_BY_TERMS ? e / TERMS : e % ROWS;
            left[k][i] = first + k < stop ? a[a_row[i] + a_term[turn][k]] : T(0);
        }
#pragma unroll
        for (int e = thread; e < TERMS * COLUMNS; e += THREADS) {
            const int k = Places::B_BY_TERMS ? e % TERMS : e / COLUMNS, j = Places::B_BY_TERMS ? e / TERMS : e % COLUMNS;
            right[k][j] = first + k < stop ? b[b_column[j] + b_term[turn][k]] : T(0);
        }
        const int next = first + TERMS + thread;
        if (thread < TERMS && next < stop) {
            a_term[turn ^ 1][thread] = Places::a_term(next);
            b_term[turn ^ 1][thread] = Places::b_term(next);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TERMS; ++k) {
            T own[COLUMNS / SIDE];
#pragma unroll
            for (int j = 0; j < COLUMNS / SIDE; ++j) own[j] = right[k][x + j * SIDE];
#pragma unroll
            for (int i = 0; i < ROWS / SIDE; ++i) {
                const T value = left[k][y + i * SIDE];
#pragma unroll
                for (int j = 0; j < COLUMNS / SIDE; ++j) total[i][j] += value * own[j];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < ROWS / SIDE; ++i) {
        const int r = row + y + i * SIDE;
#pragma unroll
        for (int j = 0; j < COLUMNS / SIDE; ++j) {
            const int c = column + x + j * SIDE;
            if (r < Places::ROWS && c < Places::COLUMNS)
                finish(part, out + Places::out_row(r) + Places::out_column(c), total[i][j]);
        }
    }
}
