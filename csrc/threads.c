/* threads.c: the thread pool behind gd_parallel.
 *
 * One job at a time. The caller writes the job down, opens slots for workers in one atomic word,
 * `state`, and takes tasks from an atomic counter like everybody else; a worker that enters is
 * counted in that word and counted out when no task is left, so a worker that wakes too late
 * finds the slots closed and never delays the caller. Idle workers and waiting callers spin
 * briefly, then sleep. No worker lives through a fork: they end before it, so parent and child
 * both start new ones at need and no lock is ever inherited in doubt. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE /* _SC_NPROCESSORS_ONLN */
#endif
#define _POSIX_C_SOURCE 200809L

#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    STACK_BYTES = 1 << 20,
    PAUSES = 64,           /* looks at `state` between two looks at the clock: 0.8 us measured */
    ROUNDS_BEFORE_YIELD = 3,
    MAX_SPIN_US = 1000000,
};

/* Fields of `state`. A worker enters by turning a slot into a thread at work. */
enum {
    AT_WORK = 0x00000fff,  /* workers inside the job */
    SLOT = 0x00001000,     /* one more worker may enter */
    SLOTS = 0x00fff000,
    CALLER_SLEEPS = 0x01000000, /* the last worker out wakes the caller */
    STOP = 0x02000000,     /* workers end */
};

/* Apart from `next`, which every task changes: idle workers watch this line. */
static _Alignas(64) atomic_uint state;

/* The job: written by the owner of `busy` while nobody is in it. */
static struct {
    _Alignas(64) atomic_size_t next; /* first task not yet taken */
    size_t tasks;
    void (*task)(void *context, size_t index);
    void *context;
} job;

static _Alignas(64) atomic_bool busy; /* owned by one caller, or by a fork or shutdown */
static atomic_uint quiescing;         /* forks and shutdowns that wait for `busy` or hold it */
static pthread_t workers[GD_MAX_THREADS - 1]; /* these two belong to the owner of `busy` */
static size_t worker_count;

static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_offered = PTHREAD_COND_INITIALIZER;
static pthread_cond_t job_done = PTHREAD_COND_INITIALIZER;
static atomic_uint sleepers; /* workers that wait for work_offered */

static atomic_size_t threads_in_force = 1;
static uint64_t spin_ns; /* written once, by gd_threads_init */

/* ---- Waiting ------------------------------------------------------------------------------ */

static inline void relax_processor(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Watch `state` until one of `bits` is set (or none, for wanted = false); false where the time to
 * spin ran out before. Yields after the first microseconds, since the thread that is waited for may
 * need this processor: on two that were busy with other programs, a job of 0.2 ms took 256 us with
 * sleeping workers without the yield and 201 with it, as many as the caller alone. */
static bool spin_until(unsigned bits, bool wanted)
{
    const uint64_t start = spin_ns ? clock_ns() : 0;
    for (unsigned round = 0; spin_ns; round++) {
        for (int i = 0; i < PAUSES; i++) {
            if (((atomic_load(&state) & bits) != 0) == wanted)
                return true;
            relax_processor();
        }
        if (clock_ns() - start >= spin_ns)
            return false;
        if (round >= ROUNDS_BEFORE_YIELD)
            sched_yield();
    }
    return ((atomic_load(&state) & bits) != 0) == wanted;
}

/* ---- Workers ------------------------------------------------------------------------------ */

static void run_tasks(void)
{
    const size_t tasks = job.tasks;
    void (*const task)(void *, size_t) = job.task;
    void *const context = job.context;
    for (;;) {
        const size_t i = atomic_fetch_add_explicit(&job.next, 1, memory_order_relaxed);
        if (i >= tasks)
            return;
        task(context, i);
    }
}

/* Turn a slot into a thread at work; false where there is none. */
static bool enter_job(void)
{
    unsigned seen = atomic_load(&state);
    while (seen & SLOTS)
        if (atomic_compare_exchange_weak(&state, &seen, seen - SLOT + 1))
            return true;
    return false;
}

/* Called when no task is left: close the door, then leave. The job may be gone after the last
 * line's subtraction, so nothing of it is read there. */
static void leave_job(void)
{
    atomic_fetch_and(&state, ~(unsigned)SLOTS);
    const unsigned before = atomic_fetch_sub(&state, 1);
    if ((before & AT_WORK) == 1 && (before & CALLER_SLEEPS)) {
        pthread_mutex_lock(&sleep_lock);
        pthread_cond_signal(&job_done);
        pthread_mutex_unlock(&sleep_lock);
    }
}

/* The order (count myself, then look) mirrors wake_workers (offer, then count), all sequentially
 * consistent: one of the two sees the other. Waking for nothing is harmless. */
static void sleep_until_offer(void)
{
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_add(&sleepers, 1);
    if (!(atomic_load(&state) & (SLOTS | STOP)))
        pthread_cond_wait(&work_offered, &sleep_lock);
    atomic_fetch_sub(&sleepers, 1);
    pthread_mutex_unlock(&sleep_lock);
}

static void *worker_main(void *unused)
{
    while (!(atomic_load(&state) & STOP)) {
        if (enter_job()) {
            run_tasks();
            leave_job();
        } else if (!spin_until(SLOTS | STOP, true)) {
            sleep_until_offer();
        }
    }
    return unused;
}

/* Signals are the interpreter's, so workers block them; not those of a thread's own fault, which
 * would end the process without faulthandler's report. */
static bool create_worker(void)
{
    sigset_t blocked, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return false;
    pthread_attr_setstacksize(&attributes, STACK_BYTES); /* else the system's default serves */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int failed = pthread_create(&workers[worker_count], &attributes, worker_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!failed)
        worker_count++;
    return !failed;
}

/* End all workers. The caller owns `busy`. */
static void join_workers(void)
{
    atomic_store(&state, STOP);
    pthread_mutex_lock(&sleep_lock);
    pthread_cond_broadcast(&work_offered);
    pthread_mutex_unlock(&sleep_lock);
    while (worker_count)
        pthread_join(workers[--worker_count], NULL);
    atomic_store(&state, 0);
}

/* ---- Jobs --------------------------------------------------------------------------------- */

/* Wake as many sleepers as `offered` slots need beyond the workers that are awake. */
static void wake_workers(unsigned offered)
{
    const unsigned asleep = atomic_load(&sleepers);
    const unsigned awake = (unsigned)worker_count - asleep;
    if (!asleep || offered <= awake)
        return;
    pthread_mutex_lock(&sleep_lock);
    for (unsigned i = awake; i < offered; i++)
        pthread_cond_signal(&work_offered);
    pthread_mutex_unlock(&sleep_lock);
}

/* Let nobody in any more and wait for those inside. */
static void close_job(void)
{
    atomic_fetch_and(&state, ~(unsigned)SLOTS);
    if (spin_until(AT_WORK, false))
        return;
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_or(&state, CALLER_SLEEPS);
    while (atomic_load(&state) & AT_WORK)
        pthread_cond_wait(&job_done, &sleep_lock);
    pthread_mutex_unlock(&sleep_lock);
}

void gd_parallel(size_t tasks, size_t threads, void (*task)(void *context, size_t index),
                 void *context)
{
    size_t wanted = threads < tasks ? threads : tasks;
    if (wanted > GD_MAX_THREADS)
        wanted = GD_MAX_THREADS;
    if (wanted < 2 || atomic_load(&quiescing) || atomic_exchange(&busy, true)) {
        for (size_t i = 0; i < tasks; i++)
            task(context, i);
        return;
    }
    while (worker_count + 1 < wanted && create_worker()) {
    }
    const unsigned offered = (unsigned)wanted - 1; /* a slot without a worker stays empty */
    job.tasks = tasks;
    job.task = task;
    job.context = context;
    atomic_store(&job.next, 0);
    atomic_store(&state, offered * SLOT);
    wake_workers(offered);
    run_tasks();
    close_job();
    atomic_store(&busy, false);
}

/* ---- Fork and exit ------------------------------------------------------------------------ */

/* Wait for the job in progress, keep others from starting (they run alone), end the workers.
 * `quiescing` goes first: beside a thread with one job of 1 ms after the other, 50 forks took more
 * than a minute without it, and 0.6 ms each with it. */
static void quiesce(void)
{
    const struct timespec pause = {.tv_nsec = 20000};
    atomic_fetch_add(&quiescing, 1);
    while (atomic_exchange(&busy, true))
        nanosleep(&pause, NULL);
    join_workers();
}

static void resume(void)
{
    atomic_store(&busy, false);
    atomic_fetch_sub(&quiescing, 1);
}

/* In the child only the thread that forked is left, so other threads' intents are void. */
static void resume_in_child(void)
{
    atomic_store(&quiescing, 0);
    atomic_store(&busy, false);
}

void gd_threads_shutdown(void)
{
    quiesce();
    resume();
}

/* ---- How many ----------------------------------------------------------------------------- */

/* The whole number of at most `limit` (larger ones are cut to it) that `text` begins with, blanks
 * around it allowed and `end` or the end of the text behind it; `otherwise` where there is none. */
static size_t parse_number(const char *text, char end, size_t limit, size_t otherwise)
{
    size_t n = 0;
    if (!text)
        return otherwise;
    text += strspn(text, " \t\n");
    if (*text < '0' || *text > '9')
        return otherwise;
    for (; *text >= '0' && *text <= '9'; text++) {
        n = 10 * n + (size_t)(*text - '0');
        if (n > limit)
            n = limit;
    }
    text += strspn(text, " \t\n");
    return *text == '\0' || *text == end ? n : otherwise;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Processors that the container's quota amounts to, rounded up; GD_MAX_THREADS where there is none.
 * A container finds its own control group at the root of the mounted hierarchy: version 2 has
 * "quota period" or "max period" in one file, version 1 two files, with -1 for no quota. */
static size_t container_quota(void)
{
    static const char *const files[][2] = {
        {"/sys/fs/cgroup/cpu.max", NULL},
        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"},
    };
    size_t least = GD_MAX_THREADS;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        long long number[2] = {-1, -1}; /* quota and period, microseconds */
        int found = 0;
        for (int k = 0; k < 2 && files[i][k]; k++) {
            FILE *const f = fopen(files[i][k], "r");
            while (f && found < 2 && fscanf(f, "%lld", &number[found]) == 1)
                found++;
            if (f)
                fclose(f);
        }
        if (number[0] > 0 && number[1] > 0)
            least = smaller(least, (size_t)((number[0] - 1) / number[1] + 1));
    }
    return least;
}

/* Processors that this process may run on, at least 1. */
static size_t processors(void)
{
#if defined(__linux__)
    cpu_set_t allowed; /* too small a set for more than 1,024 processors: then those online */
    if (!sched_getaffinity(0, sizeof allowed, &allowed))
        return (size_t)CPU_COUNT(&allowed);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}

size_t gd_threads_default(void)
{
    const size_t own = parse_number(getenv("GDCORE_NUM_THREADS"), '\0', GD_MAX_THREADS, 0);
    const size_t openmp = parse_number(getenv("OMP_NUM_THREADS"), ',', GD_MAX_THREADS, 0);
    if (own)
        return own;
    const size_t allowed = smaller(processors(), container_quota());
    return openmp ? smaller(allowed, openmp) : allowed;
}

size_t gd_threads_get(void)
{
    return atomic_load(&threads_in_force);
}

void gd_threads_set(size_t n)
{
    atomic_store(&threads_in_force, n < 1 ? 1 : smaller(n, GD_MAX_THREADS));
}

static void init_once(void)
{
    spin_ns = 1000u * (uint64_t)parse_number(getenv("GDCORE_SPIN_US"), '\0', MAX_SPIN_US, 50);
    gd_threads_set(gd_threads_default());
    pthread_atfork(quiesce, resume, resume_in_child);
}

void gd_threads_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
}
