/* limits.c: what the machine itself can do, measured beside the library. machine.py compiles it
 * for this processor into build/ and calls it through ctypes; it is no part of the package.
 * Refuses nothing: its one caller passes whole arrays and at most 64 threads. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stddef.h>

enum { MAX_THREADS = 64, LINE = 16 /* floats of a cache line */, CHAINS = 12 };

typedef struct {
    size_t n, passes;
    float *p, *m, *v;
    const float *g;
} share;

#if defined(__AVX512F__)
typedef float vector __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef float vector __attribute__((vector_size(32)));
#else
typedef float vector __attribute__((vector_size(16)));
#endif

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t allowed(size_t threads)
{
    return threads < 1 ? 1 : smaller(threads, MAX_THREADS);
}

/* The memory traffic of an Adam step with the least arithmetic: four arrays read, three of them
 * written. Not inlined, or the compiler makes one pass of several. */
static __attribute__((noinline)) void pass(size_t n, float *restrict p, float *restrict m,
                                           float *restrict v, const float *restrict g)
{
    for (size_t i = 0; i < n; i++) {
        m[i] += g[i];
        v[i] += g[i];
        p[i] += g[i];
    }
}

static void *stream(void *context)
{
    const share *s = context;
    for (size_t k = 0; k < s->passes; k++)
        pass(s->n, s->p, s->m, s->v, s->g);
    return NULL;
}

/* A rule's square roots and divisions alone, from cache to cache. Roots and divisions go through one
 * unit, so neither hides behind the other. */
static inline __attribute__((always_inline)) void bare_pass(size_t n, const float *restrict x,
                                                            float *restrict y, size_t roots,
                                                            size_t divisions)
{
    for (size_t i = 0; i < n; i++) {
        float value = x[i];
        for (size_t k = 0; k < roots; k++)
            value = __builtin_sqrtf(value);
        for (size_t k = 0; k < divisions; k++)
            value = 1.5f / value;
        y[i] = value;
    }
}

/* Independent chains of fused multiply-adds, enough to hide their latency. */
static void *multiply(void *context)
{
    share *s = context;
    vector sum[CHAINS];
    const vector a = {0}, b = {0};
    for (size_t k = 0; k < CHAINS; k++)
        sum[k] = a + s->p[0];
    for (size_t r = 0; r < s->passes; r++)
        for (size_t k = 0; k < CHAINS; k++)
            sum[k] = sum[k] * (a + s->p[1]) + (b + s->p[2]);
    for (size_t k = 1; k < CHAINS; k++)
        sum[0] += sum[k];
    s->p[0] = sum[0][0];
    return NULL;
}

/* One share a thread; the caller's thread takes the first. 0, or the error of pthread_create. */
static int run(size_t threads, void *(*work)(void *), share *shares)
{
    pthread_t thread[MAX_THREADS];
    size_t started = 1;
    int error = 0;
    for (; started < threads && !error; started += !error)
        error = pthread_create(&thread[started], NULL, work, &shares[started]);
    work(&shares[0]);
    for (size_t i = 1; i < started; i++)
        pthread_join(thread[i], NULL);
    return error;
}

/* `passes` passes over n elements by `threads` threads, each over its own whole cache lines. */
int triad(size_t n, float *p, float *m, float *v, const float *g, size_t threads, size_t passes)
{
    share shares[MAX_THREADS];
    threads = allowed(threads);
    const size_t length = ((n + threads - 1) / threads + LINE - 1) / LINE * LINE;
    for (size_t i = 0; i < threads; i++) {
        const size_t from = smaller(i * length, n);
        shares[i] = (share){smaller(length, n - from), passes, p + from, m + from, v + from, g + from};
    }
    return run(threads, stream, shares);
}

/* `passes` times n elements with so many roots and divisions each; -1 where there is no such loop.
 * The numbers are constants in each call: only so are the loops over them unrolled. */
int bare(size_t n, const float *x, float *y, size_t roots, size_t divisions, size_t passes)
{
    const size_t kind = 10 * roots + divisions;
    for (size_t k = 0; k < passes; k++) {
        if (kind == 1)
            bare_pass(n, x, y, 0, 1);
        else if (kind == 11)
            bare_pass(n, x, y, 1, 1);
        else if (kind == 21)
            bare_pass(n, x, y, 2, 1);
        else if (kind == 22)
            bare_pass(n, x, y, 2, 2);
        else
            return -1;
        __asm__ volatile("" ::: "memory"); /* the passes stay apart */
    }
    return 0;
}

/* `passes` rounds of fused multiply-adds in each thread. */
int multiply_add(size_t threads, size_t passes)
{
    float numbers[MAX_THREADS][LINE];
    share shares[MAX_THREADS];
    threads = allowed(threads);
    for (size_t i = 0; i < threads; i++) {
        numbers[i][0] = 1.0f, numbers[i][1] = 0.5f, numbers[i][2] = 0.5f;
        shares[i] = (share){.passes = passes, .p = numbers[i]};
    }
    return run(threads, multiply, shares);
}

/* Floating-point operations of one round of one thread. */
size_t operations(void)
{
    return 2 * CHAINS * sizeof(vector) / sizeof(float);
}
