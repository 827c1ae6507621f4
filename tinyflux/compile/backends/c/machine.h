/* What vectors this machine has, and what compilers call what is done with them; included by matmul.h. */

/* Bytes in a vector; and how many vectors a strip of columns has at most, as there are 32 or 16 vector registers. */
#if defined(__AVX512F__)
#define TF_BYTES 64
#define TF_WIDE 4
#elif defined(__AVX__)
#define TF_BYTES 32
#define TF_WIDE 3
#else
#define TF_BYTES 16
#if defined(__aarch64__)
#define TF_WIDE 4
#else
#define TF_WIDE 3
#endif
#endif

/* What takes long to compile, and isn't specialised, is in libraries that programs share: there is a pointer to it, which a
   program has set (library.py), and which is constant in those libraries. */
#ifdef TF_LINKED
#define TF_SHARED(pointer, value) static __typeof__(&*value) pointer
#else
#define TF_SHARED(pointer, value) static __typeof__(&*value) const pointer = value
#endif

#define TF_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define TF_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TF_UNROLL _Pragma("GCC unroll 16")
#endif
/* Have a vector that several rows multiply read once: GCC would read it for each. */
#if defined(__x86_64__)
#define TF_HOLD(v) __asm__("" : "+v"(v))
#else
#define TF_HOLD(v)
#endif
#define TF_MIN(x, y) ((x) < (y) ? (x) : (y))

/* mix(x, y, h) exchanges the off-diagonal blocks of h lanes of x and y: the step of a transposition.
   lo: lane l is x[l], or y[l-h] where l has bit h; hi: lane l is x[l+h], or y[l]. */
#define TF_LO(l, h, n) ((l) & (h) ? (n) + (l) - (h) : (l))
#define TF_HI(l, h, n) ((l) & (h) ? (n) + (l) : (l) + (h))
#define TF_MIX2(x, y, h, F) __builtin_shufflevector(x, y, F(0, h, 2), F(1, h, 2))
#define TF_MIX4(x, y, h, F) __builtin_shufflevector(x, y, F(0, h, 4), F(1, h, 4), F(2, h, 4), F(3, h, 4))
#define TF_MIX8(x, y, h, F)                                                                       \
    __builtin_shufflevector(x, y, F(0, h, 8), F(1, h, 8), F(2, h, 8), F(3, h, 8), F(4, h, 8), F(5, h, 8), \
                            F(6, h, 8), F(7, h, 8))
#define TF_MIX16(x, y, h, F)                                                                      \
    __builtin_shufflevector(x, y, F(0, h, 16), F(1, h, 16), F(2, h, 16), F(3, h, 16), F(4, h, 16), F(5, h, 16), \
                            F(6, h, 16), F(7, h, 16), F(8, h, 16), F(9, h, 16), F(10, h, 16), F(11, h, 16), \
                            F(12, h, 16), F(13, h, 16), F(14, h, 16), F(15, h, 16))

/* Loads and stores of some lanes, by what <immintrin.h> calls: it takes a tenth of a second to read. A compiler may not
   have it under this name; then they go one by one. */
#if defined(__has_builtin)
#if TF_BYTES == 64 && !__has_builtin(__builtin_ia32_loadups512_mask)
#define TF_ONE_BY_ONE
#elif TF_BYTES == 32 && !__has_builtin(__builtin_ia32_maskloadps256)
#define TF_ONE_BY_ONE
#endif
#endif
#if TF_BYTES == 64
#define TF_MIX_F32 TF_MIX16
#define TF_MIX_F64 TF_MIX8
#define TF_MASKED_F32(verb) __builtin_ia32_##verb##ups512_mask
#define TF_MASKED_F64(verb) __builtin_ia32_##verb##upd512_mask
#elif TF_BYTES == 32
#define TF_MIX_F32 TF_MIX8
#define TF_MIX_F64 TF_MIX4
#define TF_MASKED_F32(verb) __builtin_ia32_mask##verb##ps256
#define TF_MASKED_F64(verb) __builtin_ia32_mask##verb##pd256
typedef int tf_int32 __attribute__((vector_size(32)));
typedef long long tf_int64 __attribute__((vector_size(32)));
#else
#define TF_MIX_F32 TF_MIX4
#define TF_MIX_F64 TF_MIX2
#endif
