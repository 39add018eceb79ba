/* threads.h: one small pool of POSIX threads for the whole process.
 *
 * It runs loops of independent tasks and counts the threads that may be used. It knows nothing of
 * arrays or Python, owns no memory but its static state, and refuses nothing: where no worker can
 * be had, the caller does all the work. */
#ifndef GD_THREADS_H
#define GD_THREADS_H

#include <stddef.h>

enum { GD_MAX_THREADS = 256 };

/* Make the pool fork-safe, read GDCORE_SPIN_US (how long an idle thread looks for work before it
 * sleeps: microseconds, at most a second, 0 = never, 50 where absent or malformed) and put
 * gd_threads_default() in force. At import; from the second call on it does nothing. */
void gd_threads_init(void);

/* End the workers, after the job in progress if there is one. At exit; may be called again, and a
 * later gd_parallel starts new workers. Not from a task. */
void gd_threads_shutdown(void);

/* Run task(context, i) for every i in [0, tasks), on up to `threads` threads including the caller;
 * returns when all are done, and what they wrote is then seen by the caller. Which thread takes
 * which i is not fixed: results must not depend on it. Cannot fail: where no worker can be had
 * (pool busy with another caller's job or with the one that this call is made from, a fork under
 * way, no memory for a thread) the caller runs everything alone.
 * A task neither forks, exits nor jumps out, and waits for nothing that the caller or a thread
 * about to fork may hold, the GIL above all: a fork waits for the job in progress. */
void gd_parallel(size_t tasks, size_t threads, void (*task)(void *context, size_t index),
                 void *context);

/* The number of threads in force, and how to change it; n is brought into [1, GD_MAX_THREADS].
 * Workers above a smaller number stay asleep. */
size_t gd_threads_get(void);
void gd_threads_set(size_t n);

/* GDCORE_NUM_THREADS where it is set; else the smallest of the processors that this process may
 * run on, its container's quota (cgroup v2 and v1, rounded up) and the first number of
 * OMP_NUM_THREADS; within [1, GD_MAX_THREADS]. A value that is not a whole number of 1 or more
 * (in OMP_NUM_THREADS: a list that does not begin with one) is ignored. */
size_t gd_threads_default(void);

#endif
