/* Threads that share the work of one loop at a time; loaded once for all programs.

   A loop is cut into pieces. Each thread first takes those of its own stretch, which is the same part of every loop, so
   that it finds in its caches what it wrote in the loop before; cores that share no cache take ten times as long to get
   at a line of each other's. Then it takes what others have left: a core that is busy with something else holds nobody up.
   A thread that finds nothing to do spins for some microseconds, for the next loop comes soon, and then sleeps. A loop
   that is asked for while another one is shared out is done by the thread that asks. After a fork the child has threads
   of its own. A thread flushes subnormal numbers where the one that asks does. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define MOST 64
#define SPINS 20000

typedef int work_t(char *const *p, char *arena, int64_t from, int64_t to);

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER, sleeping = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t awake = PTHREAD_COND_INITIALIZER;
static int threads = 1, started; /* the one that asks is one of them, and never started */
static atomic_uint turn;         /* counts loops */
static atomic_int open;          /* whether there is a loop to take pieces of */
static atomic_int helping;       /* how many threads may be at it; `job` changes only while there are none */
static atomic_int asleep, failed;
static struct {
    _Alignas(64) atomic_int next; /* in a cache line of its own */
    int end;
} stretches[MOST];                /* of pieces, one for each thread */
static struct {
    work_t *work;
    char *const *p;
    char *arena;
    int64_t count;
    int pieces;
    unsigned mode;
} job;

#if defined(__SSE2__)
static unsigned get_mode(void) { return __builtin_ia32_stmxcsr(); }
static void set_mode(unsigned mode) { __builtin_ia32_ldmxcsr(mode); }
static void pause_a_moment(void) { __builtin_ia32_pause(); }
#else
static unsigned get_mode(void) { return 0; }
static void set_mode(unsigned mode) { (void)mode; }
static void pause_a_moment(void) {}
#endif

static void take_pieces(int thread)
{
    for (int k = 0; k < threads; k++) {
        const int of = (thread + k) % threads;
        for (int64_t i; (i = atomic_fetch_add(&stretches[of].next, 1)) < stretches[of].end;) {
            const int code = job.work(job.p, job.arena, job.count * i / job.pieces, job.count * (i + 1) / job.pieces);
            if (code)
                atomic_store(&failed, code);
        }
    }
}

static void *serve(void *thread)
{
    for (unsigned seen = 0;; seen = atomic_load(&turn)) {
        for (int i = 0; i < SPINS && atomic_load(&turn) == seen; i++)
            pause_a_moment();
        if (atomic_load(&turn) == seen) {
            pthread_mutex_lock(&sleeping);
            atomic_fetch_add(&asleep, 1);
            while (atomic_load(&turn) == seen)
                pthread_cond_wait(&awake, &sleeping);
            atomic_fetch_sub(&asleep, 1);
            pthread_mutex_unlock(&sleeping);
        }
        atomic_fetch_add(&helping, 1);
        if (atomic_load(&open)) {
            set_mode(job.mode);
            take_pieces((int)(intptr_t)thread);
        }
        atomic_fetch_sub(&helping, 1);
    }
    return NULL;
}

static void start_anew(void) /* in the child of a fork */
{
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&sleeping, NULL);
    pthread_cond_init(&awake, NULL);
    started = 0;
    atomic_store(&turn, 0);
    atomic_store(&asleep, 0);
    atomic_store(&helping, 0);
    atomic_store(&open, 0);
}

int64_t set_threads(int64_t count)
{
    threads = count < MOST ? (int)count : MOST;
    return pthread_atfork(NULL, NULL, start_anew);
}

static void start(void)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all); /* signals are for Python's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (started = 1; started < threads; started++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, serve, (void *)(intptr_t)started))
            break;
    }
    threads = started;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Have all of [0, count) worked through, in `each` pieces for every thread; returns what a piece of the work that failed
   returned, or 0. */
int parallel(work_t *work, char *const *p, char *arena, int64_t count, int each)
{
    if (threads < 2 || pthread_mutex_trylock(&busy))
        return work(p, arena, 0, count);
    if (!started)
        start();
    job.work = work, job.p = p, job.arena = arena, job.count = count, job.mode = get_mode();
    job.pieces = count < each * threads ? (int)count : each * threads;
    for (int k = 0; k < threads; k++) {
        stretches[k].end = job.pieces * (k + 1) / threads;
        atomic_store(&stretches[k].next, job.pieces * k / threads);
    }
    atomic_store(&failed, 0);
    atomic_store(&open, 1);
    atomic_fetch_add(&turn, 1);
    if (atomic_load(&asleep)) {
        pthread_mutex_lock(&sleeping);
        pthread_cond_broadcast(&awake);
        pthread_mutex_unlock(&sleeping);
    }
    take_pieces(0);
    atomic_store(&open, 0);
    for (int i = 0; atomic_load(&helping); i++)
        if (i < SPINS)
            pause_a_moment();
        else
            sched_yield();
    const int code = atomic_load(&failed);
    pthread_mutex_unlock(&busy);
    return code;
}

static pthread_key_t spaces;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void make_key(void) { pthread_key_create(&spaces, free); }

/* Memory of so many bytes that a thread calculates in, its own until the next call; NULL where there is none. It begins
   with a cache line; one before that holds its size. */
void *workspace(int64_t bytes)
{
    pthread_once(&once, make_key);
    int64_t *own = pthread_getspecific(spaces);
    if (!own || *own < bytes) {
        free(own);
        own = aligned_alloc(64, 64 + (bytes + 63) / 64 * 64);
        pthread_setspecific(spaces, own);
        if (own)
            *own = bytes;
    }
    return own ? own + 8 : NULL;
}
