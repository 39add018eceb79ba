/* optimizer.c: one step over a list of arrays, in this order: maximize, clipping, weight decay in
 * the gradient, weight decay beside it, the rule's sums where it needs some, the rule's kernel, the
 * proximal step of l1, the constraint.
 * Threads change no bit: kernels work element by element, sums are added by task in order. */
#include "optimizer.h"

#include <math.h>

#include "reduce.h"
#include "threads.h"

/* Measured on two cores of a Sapphire Rapids Xeon, float32. A second thread takes Adam (two state
 * arrays) from 7.7 to 5.1 us at 16,384 elements and SGD (none) from 4.0 to 2.8 at 32,768, but SGD
 * from 1.8 to 2.2 at 16,384. Small tasks make the cores pull lines from one another: Adam at
 * 100,000 takes 48 us in tasks of 1,024, 28.5 of 8,192, 24.3 of 16,384, 23.8 in halves. */
enum {
    STEP_BLOCK = 256,          /* elements prepared at once: AdamW 0.46 ns each, 0.55 with 1,024 */
    STEP_TASK = 16 * 1024,     /* elements of one task */
    STEP_THREADED = 48 * 1024, /* elements times (1 + state arrays) from which threads pay */
    STEP_ALIGNED = 4 * 1024,   /* elements from which aligned vectors repay one more call */
    CACHE_LINE = 64,
};

/* ---- Norms and clipping ---------------------------------------------------------------------- */

static bool needs_norms(const gd_step *step)
{
    bool needed = step->refuse_nonfinite || isfinite(step->global_clip_norm) ||
                  gd_rules[step->rule].needs == GD_LOSS;
    for (size_t i = 0; i < step->group_count; i++)
        needed = needed || isfinite(step->groups[i].clip_norm) || step->groups[i].norm_scale > 0;
    return needed;
}

/* Fill norms and grad_norm, the norms of the arrays added in order; false where a non-finite
 * gradient is refused, and grad_norm is then NaN or infinite. */
static bool measure(gd_step *step)
{
    double total = 0;
    for (size_t i = 0; i < step->array_count; i++) {
        gd_array *a = &step->arrays[i];
        if (step->groups[a->group].frozen)
            continue;
        a->norm = gd_norm(a->real_size, a->size, a->g);
        /* a norm beyond the largest double is not a non-finite gradient */
        if (step->refuse_nonfinite && !isfinite(a->norm) &&
            !isfinite(gd_largest(a->real_size, a->size, a->g))) {
            step->nonfinite = i;
            step->grad_norm = a->norm;
            return false;
        }
        total = gd_add_norm(total, a->norm);
    }
    step->grad_norm = total;
    return true;
}

/* limit / norm where the norm is above the limit, else 1; a NaN norm clips nothing */
static double clip_factor(double norm, double limit)
{
    return norm > limit ? limit / norm : 1.0;
}

static void scale_gradients(gd_step *step)
{
    const double sign = step->maximize ? -1.0 : 1.0;
    for (size_t i = 0; i < step->array_count; i++) {
        gd_array *a = &step->arrays[i];
        a->scale = sign;
        if (step->measured)
            a->scale *= clip_factor(a->norm, step->groups[a->group].clip_norm) *
                        clip_factor(step->grad_norm, step->global_clip_norm);
    }
}

/* The rates that depend on the norm; compared so that NaN goes through. */
static void set_rates_by_norm(gd_step *step)
{
    for (size_t i = 0; i < step->group_count; i++) {
        gd_group *group = &step->groups[i];
        const double rate = group->norm_scale * step->grad_norm;
        if (group->norm_scale > 0)
            group->hyper[0] = rate > group->norm_max ? group->norm_max : rate;
    }
}

bool gd_group_needs_factors(const gd_group *group)
{
    return isfinite(group->clip_adaptive) || gd_projects_by_factors(&group->constraint);
}

/* The factors of the units of arrays that are clipped adaptively. */
static void clip_units(gd_step *step, size_t threads)
{
    for (size_t i = 0; i < step->array_count; i++) {
        const gd_array *a = &step->arrays[i];
        const gd_group *group = &step->groups[a->group];
        if (!group->frozen && isfinite(group->clip_adaptive))
            gd_adaptive_factors(a->real_size, &a->units, a->p, a->g, group->clip_adaptive,
                                a->factor, threads);
    }
}

/* ---- One array ------------------------------------------------------------------------------- */

static void *at(const void *base, size_t index, size_t real_size)
{
    return base != NULL ? (char *)base + index * real_size : NULL;
}

/* The state arrays from an element on. */
static void states_at(const gd_array *a, size_t index, void *state[GD_MAX_STATES])
{
    for (size_t k = 0; k < GD_MAX_STATES; k++)
        state[k] = at(a->state[k], index, a->real_size);
}

/* The gradient of elements [from, from + n) as the rule sees it, in buffer. */
static const void *prepare(const gd_step *step, const gd_array *a, size_t from, size_t n,
                           void *buffer)
{
    const gd_group *group = &step->groups[a->group];
    const gd_kernels *kernels = gd_kernels_for(a->real_size);
    const void *g = at(a->g, from, a->real_size);
    const bool adaptive = isfinite(group->clip_adaptive);
    const bool coupled = gd_rules[step->rule].decay == GD_COUPLED && step->dialect != GD_KERAS;
    const double in_gradient = coupled ? group->weight_decay : 0;
    if (a->scale == 1 && !isfinite(group->clip_value) && !adaptive && in_gradient == 0)
        return g;
    kernels->prepare.clip(n, g, buffer, a->scale, group->clip_value);
    if (adaptive)
        kernels->units.scale(n, buffer, a->factor, &a->units, from);
    if (in_gradient != 0)
        kernels->prepare.decay_gradient(n, at(a->p, from, a->real_size), buffer, in_gradient);
    return buffer;
}

/* The factor of weight decay beside the gradient; 1 where it is applied in another pass. */
static double kept(const gd_step *step, const gd_group *group, bool in_this_pass)
{
    const bool beside = gd_rules[step->rule].decay == GD_DECOUPLED || step->dialect == GD_KERAS;
    return beside && in_this_pass ? 1 - group->hyper[0] * group->weight_decay : 1;
}

/* What follows the rule element by element: the proximal step of l1, then bounds. */
static void finish(const gd_group *group, size_t real_size, size_t n, void *p)
{
    const gd_prepare_kernels *kernels = &gd_kernels_for(real_size)->prepare;
    const gd_constraint *constraint = &group->constraint;
    if (group->hyper[0] * group->l1 > 0)
        kernels->shrink(n, p, group->hyper[0] * group->l1);
    if (constraint->kind == GD_BOX)
        kernels->bound(n, p, constraint->low, constraint->high);
}

/* Elements up to p's next cache line. Large NumPy arrays begin 16 bytes into one, all of them, so
 * what aligns p mostly aligns gradient and state (100,000 float32: SignSGD 0.17 ns an element,
 * aligned 0.10; Rprop 0.45 and 0.31; AdamW 0.56 and 0.49). */
static size_t before_line(const void *p, size_t real_size)
{
    return (CACHE_LINE - (uintptr_t)p % CACHE_LINE) % CACHE_LINE / real_size;
}

/* Elements [from, to) of one array, prepared block by block on the stack. Where the rule alone is
 * at work the range is one block, and the caller's gradient goes straight into the kernel. */
static void step_range(const gd_step *step, const gd_array *a, size_t from, size_t to)
{
    const gd_group *group = &step->groups[a->group];
    const gd_kernels *kernels = gd_kernels_for(a->real_size);
    gd_step_fn *kernel = kernels->optimizer[step->rule].step[group->variant];
    const double keep = kept(step, group, kernels->optimizer[step->rule].terms == NULL);
    double buffer[STEP_BLOCK];
    const bool finished = group->l1 == 0 && group->constraint.kind != GD_BOX;
    const bool whole = keep == 1 && finished && prepare(step, a, 0, 0, buffer) == a->g;
    const size_t block = whole ? to - from : STEP_BLOCK;
    const void *start = at(a->p, from, a->real_size);
    const size_t short_one = to - from < STEP_ALIGNED ? 0 : before_line(start, a->real_size);

    for (size_t i = from, n; i < to; i += n) {
        const size_t most = i == from && short_one > 0 ? short_one : block;
        n = to - i < most ? to - i : most;
        void *p = at(a->p, i, a->real_size), *state[GD_MAX_STATES];
        states_at(a, i, state);
        const void *g = prepare(step, a, i, n, buffer);
        if (keep != 1)
            kernels->prepare.decay_parameter(n, p, keep);
        kernel(n, p, g, state, a->constants);
        finish(group, a->real_size, n, p);
    }
}

/* The sums over elements [from, to) of one array, block by block; of decayed parameters. */
static void sum_range(const gd_step *step, const gd_array *a, size_t from, size_t to, double *sums)
{
    const gd_kernels *kernels = gd_kernels_for(a->real_size);
    const gd_reduce_kernels *reduce = &gd_kernels_for(sizeof(double))->reduce;
    gd_terms_fn *terms = kernels->optimizer[step->rule].terms;
    const double keep = kept(step, &step->groups[a->group], true);
    double buffer[STEP_BLOCK], first[STEP_BLOCK], second[STEP_BLOCK];
    sums[0] = sums[1] = 0;
    for (size_t i = from; i < to; i += STEP_BLOCK) {
        const size_t n = to - i < STEP_BLOCK ? to - i : STEP_BLOCK;
        void *p = at(a->p, i, a->real_size), *state[GD_MAX_STATES];
        states_at(a, i, state);
        const void *g = prepare(step, a, i, n, buffer);
        if (keep != 1)
            kernels->prepare.decay_parameter(n, p, keep);
        terms(n, p, g, state, a->constants, first, second);
        sums[0] += reduce->sum(n, first);
        sums[1] += reduce->sum(n, second);
    }
}

/* ---- All arrays ------------------------------------------------------------------------------ */

static size_t task_count(const gd_array *a)
{
    return (a->size + STEP_TASK - 1) / STEP_TASK;
}

/* The last array whose first task is at or before the number; empty arrays have no task. */
static const gd_array *array_of_task(const gd_step *step, size_t task)
{
    size_t low = 0, high = step->array_count;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (step->arrays[middle].first_task <= task)
            low = middle;
        else
            high = middle;
    }
    return &step->arrays[low];
}

/* The array of a task that has something to do, and its range; NULL where it is frozen. */
static const gd_array *range_of_task(const gd_step *step, size_t task, size_t *from, size_t *to)
{
    const gd_array *a = array_of_task(step, task);
    *from = (task - a->first_task) * STEP_TASK;
    *to = a->size - *from < STEP_TASK ? a->size : *from + STEP_TASK;
    return step->groups[a->group].frozen ? NULL : a;
}

static void step_task(void *context, size_t task)
{
    size_t from, to;
    const gd_array *a = range_of_task(context, task, &from, &to);
    if (a != NULL)
        step_range(context, a, from, to);
}

static void sum_task(void *context, size_t task)
{
    const gd_step *step = context;
    size_t from, to;
    const gd_array *a = range_of_task(step, task, &from, &to);
    if (a != NULL)
        sum_range(step, a, from, to, &step->task_sums[task * GD_SUMS]);
}

size_t gd_optimizer_tasks(const gd_array *arrays, size_t count)
{
    size_t tasks = 0;
    for (size_t i = 0; i < count; i++)
        tasks += task_count(&arrays[i]);
    return tasks;
}

/* Number the tasks; whether the work is worth more than one thread. */
static bool plan_tasks(gd_step *step)
{
    size_t work = 0, tasks = 0;
    for (size_t i = 0; i < step->array_count; i++) {
        gd_array *a = &step->arrays[i];
        a->first_task = tasks;
        tasks += task_count(a);
        work += a->size;
        for (size_t k = 0; k < GD_MAX_STATES && a->state[k] != NULL; k++)
            work += a->size;
    }
    return work >= STEP_THREADED && gd_threads_get() > 1;
}

static void step_arrays(gd_step *step, bool threaded)
{
    if (threaded) {
        gd_parallel(gd_optimizer_tasks(step->arrays, step->array_count), gd_threads_get(),
                    step_task, step);
        return;
    }
    for (size_t i = 0; i < step->array_count; i++) {
        const gd_array *a = &step->arrays[i];
        if (!step->groups[a->group].frozen && a->size > 0)
            step_range(step, a, 0, a->size);
    }
}

/* The constraints that concern units as a whole. */
static void constrain_units(gd_step *step, size_t threads)
{
    for (size_t i = 0; i < step->array_count; i++) {
        const gd_array *a = &step->arrays[i];
        const gd_group *group = &step->groups[a->group];
        if (!group->frozen && group->constraint.kind > GD_BOX)
            gd_project(&group->constraint, a->real_size, &a->units, a->p, a->factor, threads);
    }
}

/* The sums of each array, or of all arrays in each. */
static void sum_arrays(gd_step *step, bool threaded)
{
    const size_t tasks = gd_optimizer_tasks(step->arrays, step->array_count);
    double all[GD_SUMS] = {0};
    gd_parallel(tasks, threaded ? gd_threads_get() : 1, sum_task, step);
    for (size_t i = 0; i < step->array_count; i++) {
        gd_array *a = &step->arrays[i];
        const bool frozen = step->groups[a->group].frozen;
        for (size_t k = 0; k < GD_SUMS; k++) {
            a->sums[k] = 0;
            for (size_t task = 0; !frozen && task < task_count(a); task++)
                a->sums[k] += step->task_sums[(a->first_task + task) * GD_SUMS + k];
            all[k] += a->sums[k];
        }
    }
    if (gd_rules[step->rule].needs != GD_ALL_SUMS)
        return;
    for (size_t i = 0; i < step->array_count; i++)
        for (size_t k = 0; k < GD_SUMS; k++)
            step->arrays[i].sums[k] = all[k];
}

/* ---- Constants ------------------------------------------------------------------------------- */

/* Of each group, for the arrays that share them. */
static void set_group_constants(gd_step *step, const gd_now *now)
{
    const gd_level *level = gd_level_get();
    for (size_t i = 0; i < step->group_count; i++) {
        gd_group *group = &step->groups[i];
        level->f32->optimizer[step->rule].scalars(group->hyper, now, &group->f32);
        level->f64->optimizer[step->rule].scalars(group->hyper, now, &group->f64);
    }
    for (size_t i = 0; i < step->array_count; i++) {
        gd_array *a = &step->arrays[i];
        const gd_group *group = &step->groups[a->group];
        a->constants = a->real_size == sizeof(float) ? &group->f32 : &group->f64;
    }
}

/* Of each array, where it keeps numbers or has sums. A frozen array takes part where all arrays
 * estimate one number together, and then alone. */
static void set_array_constants(gd_step *step, gd_now *now, bool with_sums)
{
    const gd_needs needs = gd_rules[step->rule].needs;
    for (size_t i = 0; i < step->array_count; i++) {
        gd_array *a = &step->arrays[i];
        const gd_group *group = &step->groups[a->group];
        if (group->frozen && needs != GD_ALL_SUMS)
            continue;
        now->sums = with_sums ? a->sums : NULL;
        for (size_t k = 0; k < GD_MAX_NUMBERS; k++)
            now->number[k] = a->number[k];
        gd_kernels_for(a->real_size)->optimizer[step->rule].scalars(group->hyper, now, &a->own);
        a->constants = &a->own;
    }
}

void gd_optimizer_set_rates(gd_step *step, const double *rates, size_t k, size_t momentum_at)
{
    for (size_t i = 0; rates != NULL && i < step->group_count; i++) {
        const double *rate = rates + 2 * (k * step->group_count + i);
        step->groups[i].hyper[0] = rate[0];
        if (!isnan(rate[1]))
            step->groups[i].hyper[momentum_at] = rate[1];
    }
}

bool gd_optimizer_step(gd_step *step)
{
    const gd_needs needs = gd_rules[step->rule].needs;
    const bool sums = needs == GD_ARRAY_SUMS || needs == GD_ALL_SUMS;
    step->measured = needs_norms(step);
    step->nonfinite = step->array_count;
    if (step->measured && !measure(step))
        return false;
    scale_gradients(step);
    set_rates_by_norm(step);
    gd_now now = {.t = step->t,
                  .dialect = step->dialect,
                  .maximize = step->maximize,
                  .loss = step->loss,
                  .grad_norm = step->grad_norm};
    const bool threaded = plan_tasks(step);
    const size_t threads = threaded ? gd_threads_get() : 1;
    clip_units(step, threads);
    const bool numbers = step->array_count > 0 && step->arrays[0].number[0] != NULL;
    if (!sums && !numbers)
        set_group_constants(step, &now);
    else
        set_array_constants(step, &now, false);
    if (sums) {
        sum_arrays(step, threaded);
        set_array_constants(step, &now, true);
    }
    step_arrays(step, threaded);
    constrain_units(step, threads);
    return true;
}

/* ---- The average beside the parameters ------------------------------------------------------- */

typedef struct {
    size_t real_size, n;
    const void *p;
    void *average;
    double share;
} averaging;

static void average_range(const averaging *a, size_t from, size_t to)
{
    gd_kernels_for(a->real_size)->prepare.average(to - from, at(a->p, from, a->real_size),
                                                  at(a->average, from, a->real_size), a->share);
}

static void average_task(void *context, size_t task)
{
    const averaging *a = context;
    const size_t from = task * STEP_TASK;
    average_range(a, from, a->n - from < STEP_TASK ? a->n : from + STEP_TASK);
}

void gd_average(size_t real_size, size_t n, const void *p, void *average, double share)
{
    averaging a = {real_size, n, p, average, share};
    const size_t threads = n < STEP_THREADED / 2 ? 1 : gd_threads_get();
    if (threads > 1)
        gd_parallel((n + STEP_TASK - 1) / STEP_TASK, threads, average_task, &a);
    else
        average_range(&a, 0, n);
}
