/* sweep.c: blocks of runs go through the steps together, side by side in every array; each thread
 * takes whole blocks. Runs of the same settings stand together and are stepped by one call. A run
 * that has ended goes on with its block, but what it was at its end has been written down. */
#include "sweep.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "gradient.h"
#include "reduce.h"
#include "threads.h"

/* What a thread works in. Arrays of `lanes` elements, or of size x lanes. */
typedef struct {
    gd_run *run;
    const void **inputs;
    void **p, **g, **outputs;  /* of each array */
    void *(*state)[GD_MAX_STATES];
    char *loss, *before, *best, *third, *fourth; /* in f's type */
    double *norm, *norm_before, *third_norm, *fourth_norm, *rises, *limit, *squares;
    double *first_loss, *first_norm, *numbers;
    bool *done, *moved;
    size_t *segment;          /* first lane of each, and the end */
    gd_group *groups;
    gd_array *arrays;
    gd_step step;
} worker;

typedef struct {
    const gd_sweep *sweep;
    worker *workers;
    size_t blocks;
    atomic_size_t next;
    atomic_int status; /* the last that is not GD_RUN_DONE */
} sweep_run;

bool gd_sweep_may(const gd_step *settings)
{
    const gd_group *group = &settings->groups[0];
    return gd_rules[settings->rule].needs == GD_NOTHING && settings->group_count == 1 &&
           isinf(settings->global_clip_norm) && isinf(group->clip_norm) &&
           isinf(group->clip_adaptive) && !(group->norm_scale > 0) &&
           group->constraint.kind <= GD_BOX;
}

static double real_at(const void *x, size_t i, size_t real_size)
{
    return real_size == sizeof(float) ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

static void set_real(void *x, size_t i, size_t real_size, double value)
{
    if (real_size == sizeof(float))
        ((float *)x)[i] = (float)value;
    else
        ((double *)x)[i] = value;
}

static double *fact(const gd_sweep *s, int name, size_t run)
{
    return &s->facts[run * GD_RUN_FACTS + (size_t)name];
}

/* ---- The beginning of a block ---------------------------------------------------------------- */

/* The start of lane i; lanes beyond the runs repeat the last one. */
static const void *start_of(const gd_sweep *s, const gd_sweep_array *a, size_t first, size_t count,
                            size_t lane)
{
    const size_t run = first + (lane < count ? lane : count - 1);
    return gd_at(a->starts, (size_t)s->start[run] * a->size, a->real_size);
}

static bool same_settings(const gd_sweep *s, size_t a, size_t b)
{
    return memcmp(&s->lr[a], &s->lr[b], sizeof *s->lr) == 0 &&
           memcmp(&s->momentum[a], &s->momentum[b], sizeof *s->momentum) == 0 &&
           s->steps[a] == s->steps[b];
}

/* Lanes of equal settings, and their group; the lanes beyond the runs belong to the last. */
static size_t find_segments(const gd_sweep *s, worker *w, size_t first, size_t count)
{
    size_t segments = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && same_settings(s, first + i - 1, first + i))
            continue;
        gd_group *group = &w->groups[segments];
        *group = s->settings->groups[0];
        if (!isnan(s->lr[first + i]))
            group->hyper[0] = s->lr[first + i];
        if (!isnan(s->momentum[first + i]))
            group->hyper[s->momentum_at] = s->momentum[first + i];
        w->segment[segments++] = i;
    }
    w->segment[segments] = s->lanes;
    return segments;
}

/* An array of the optimizer: element j of array k in the lanes of a segment. */
static void set_array(const gd_sweep *s, worker *w, gd_array *a, size_t k, size_t j, size_t segment,
                      double *numbers)
{
    const size_t size = s->array[k].real_size, from = w->segment[segment];
    const size_t at = j * s->lanes + from;
    gd_variant variant;
    *a = (gd_array){
        .p = gd_at_out(w->p[k], at, size), .g = gd_at(w->g[k], at, size), .group = segment,
        .size = w->segment[segment + 1] - from, .real_size = size,
        .units = {1, w->segment[segment + 1] - from, false}};
    gd_rules[s->settings->rule].variant(w->groups[segment].hyper, &variant);
    w->groups[segment].variant = variant.index;
    size_t states = 0, kept = 0;
    for (size_t v = 0; v < variant.state_count; v++) {
        if (variant.state[v].kind == GD_NUMBER) {
            numbers[kept] = variant.state[v].initial;
            a->number[kept] = &numbers[kept];
            kept++;
            continue;
        }
        void *state = a->state[states] = gd_at_out(w->state[k][states], at, size);
        states++;
        for (size_t i = 0; i < a->size; i++)
            set_real(state, i, size, variant.state[v].kind == GD_COPIED
                                         ? real_at(a->p, i, size)
                                         : variant.state[v].initial);
    }
}

static void begin_block(const gd_sweep *s, worker *w, size_t first, size_t count)
{
    for (size_t k = 0; k < s->array_count; k++)
        for (size_t i = 0; i < s->lanes; i++) {
            const gd_sweep_array *a = &s->array[k];
            const void *start = start_of(s, a, first, count, i);
            for (size_t j = 0; j < a->size; j++)
                set_real(w->p[k], j * s->lanes + i, a->real_size, real_at(start, j, a->real_size));
        }
    const size_t segments = find_segments(s, w, first, count);
    size_t arrays = 0;
    for (size_t segment = 0; segment < segments; segment++)
        for (size_t k = 0; k < s->array_count; k++)
            for (size_t j = 0; j < s->array[k].size; j++, arrays++)
                set_array(s, w, &w->arrays[arrays], k, j, segment,
                          &w->numbers[arrays * GD_MAX_NUMBERS]);
    w->step = *s->settings;
    w->step.groups = w->groups;
    w->step.group_count = segments;
    w->step.arrays = w->arrays;
    w->step.array_count = arrays;
    w->step.t = 0;
    w->step.refuse_nonfinite = false;
    for (size_t i = 0; i < s->lanes; i++) {
        w->done[i] = i >= count;
        w->moved[i] = i >= count;
        w->limit[i] = i >= count ? -1 : s->gtol;
        w->rises[i] = 0;
    }
}

/* ---- A look after each step ------------------------------------------------------------------ */

/* The norm of all gradients in each lane, as gd_descent_norm finds it. */
static void find_norms(const gd_sweep *s, worker *w)
{
    if (s->array_count != 1)
        memset(w->norm, 0, s->lanes * sizeof *w->norm);
    for (size_t k = 0; k < s->array_count; k++) {
        const gd_sweep_array *a = &s->array[k];
        const gd_kernels *kernels = gd_kernels_for(a->real_size);
        double *norm = s->array_count == 1 ? w->norm : w->squares;
        if (a->size == 1)
            kernels->watch.slope(s->lanes, w->g[k], norm);
        for (size_t i = 0; a->size > 1 && i < s->lanes; i += GD_UNIT_TILE) {
            const size_t count = s->lanes - i < GD_UNIT_TILE ? s->lanes - i : GD_UNIT_TILE;
            memset(norm + i, 0, count * sizeof *norm);
            kernels->units.squares(a->size, count, gd_at(w->g[k], i, a->real_size), s->lanes,
                                   norm + i);
        }
        for (size_t i = 0; a->size > 1 && i < s->lanes; i++) {
            if (gd_norm_is_exact(norm[i])) {
                norm[i] = sqrt(norm[i]);
                continue;
            }
            char *column = w->outputs[1 + s->array_count]; /* spare */
            for (size_t j = 0; j < a->size; j++)
                set_real(column, j, a->real_size,
                         real_at(w->g[k], j * s->lanes + i, a->real_size));
            norm[i] = gd_norm(a->real_size, a->size, column);
        }
        for (size_t i = 0; s->array_count > 1 && i < s->lanes; i++)
            w->norm[i] = gd_add_norm(w->norm[i], norm[i]);
    }
}

/* Whether a lane was ever elsewhere than at its start, looked at while it was not. */
static void find_moved(const gd_sweep *s, worker *w, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; !w->moved[i] && k < s->array_count; k++) {
            const gd_sweep_array *a = &s->array[k];
            w->moved[i] = gd_kernels_for(a->real_size)
                              ->watch.moved(a->size, s->lanes, gd_at(w->p[k], i, a->real_size),
                                            start_of(s, a, first, count, i));
        }
}

/* Write down what a run is at its end, after k steps. */
static void end_run(const gd_sweep *s, worker *w, size_t first, size_t i, size_t k)
{
    const size_t run = first + i, size = s->value_size;
    const double loss = real_at(w->loss, i, size), norm = w->norm[i];
    const bool finite = isfinite(loss) && isfinite(norm), met = finite && norm <= s->gtol;
    const bool kept = finite || k == 0; /* else the point before is the last finite one */
    *fact(s, GD_RUN_FUN, run) = loss;
    *fact(s, GD_RUN_NIT, run) = (double)k;
    *fact(s, GD_RUN_MET, run) = met ? (double)k : -1;
    *fact(s, GD_RUN_FINITE, run) = finite;
    *fact(s, GD_RUN_INFINITE, run) = !finite && isinf(isfinite(loss) ? norm : loss);
    *fact(s, GD_RUN_MOVED, run) = w->moved[i];
    *fact(s, GD_RUN_FIRST_LOSS, run) = w->first_loss[i];
    *fact(s, GD_RUN_LAST_LOSS, run) = kept ? loss : real_at(w->before, i, size);
    *fact(s, GD_RUN_BEST_LOSS, run) = real_at(w->best, i, size);
    *fact(s, GD_RUN_THIRD_LOSS, run) = real_at(w->third, i, size);
    *fact(s, GD_RUN_FOURTH_LOSS, run) = real_at(w->fourth, i, size);
    *fact(s, GD_RUN_NOT_LOWER, run) = w->rises[i];
    *fact(s, GD_RUN_FIRST_NORM, run) = w->first_norm[i];
    *fact(s, GD_RUN_LAST_NORM, run) = kept ? norm : w->norm_before[i];
    *fact(s, GD_RUN_THIRD_NORM, run) = w->third_norm[i];
    *fact(s, GD_RUN_FOURTH_NORM, run) = w->fourth_norm[i];
    *fact(s, GD_RUN_NORM_BEFORE, run) = met && k > 0 ? w->norm_before[i] : NAN;
    for (size_t a = 0; a < s->array_count; a++)
        for (size_t j = 0; j < s->array[a].size; j++)
            set_real(s->array[a].ends, run * s->array[a].size + j, s->array[a].real_size,
                     real_at(w->p[a], j * s->lanes + i, s->array[a].real_size));
    w->done[i] = true;
    w->limit[i] = -1;
}

/* The first point of each lane is the best, the largest and the last at once. */
static void note_first(const gd_sweep *s, worker *w)
{
    const size_t bytes = s->lanes * s->value_size;
    for (size_t i = 0; i < s->lanes; i++) {
        w->first_loss[i] = real_at(w->loss, i, s->value_size);
        w->first_norm[i] = w->norm[i];
        w->third_norm[i] = w->fourth_norm[i] = -INFINITY;
        set_real(w->third, i, s->value_size, -INFINITY);
        set_real(w->fourth, i, s->value_size, -INFINITY);
    }
    memcpy(w->best, w->loss, bytes);
    memcpy(w->before, w->loss, bytes);
}

/* Statistics of the lanes of a segment at step k of `steps`. */
static void gather(const gd_sweep *s, worker *w, size_t segment, size_t k, size_t steps)
{
    const gd_kernels *kernels = gd_kernels_for(s->value_size);
    const size_t from = w->segment[segment], n = w->segment[segment + 1] - from;
    const size_t half = steps / 2, three = 3 * steps / 4, at = from * s->value_size;
    kernels->watch.loss(n, w->loss + at, w->before + at, k > half, w->best + at, w->rises + from);
    if (k >= half && k <= three)
        kernels->watch.largest(n, w->loss + at, w->norm + from, w->third + at,
                               w->third_norm + from);
    if (k >= three)
        kernels->watch.largest(n, w->loss + at, w->norm + from, w->fourth + at,
                               w->fourth_norm + from);
}

/* ---- A block --------------------------------------------------------------------------------- */

/* End the runs that are at their end after k steps; the number of lanes that do not go on though
 * they have ended. */
static size_t end_runs(const gd_sweep *s, worker *w, size_t first, size_t count, size_t k)
{
    size_t lost = 0;
    for (size_t i = 0; i < s->lanes; i++) {
        const double loss = real_at(w->loss, i, s->value_size);
        const bool finite = isfinite(loss) && isfinite(w->norm[i]);
        if (!w->done[i] && i < count &&
            (!finite || w->norm[i] <= s->gtol || (int64_t)k >= s->steps[first + i]))
            end_run(s, w, first, i, k);
        lost += w->done[i] && !finite;
    }
    return lost;
}

static bool all_done(const worker *w, size_t lanes)
{
    for (size_t i = 0; i < lanes; i++)
        if (!w->done[i])
            return false;
    return true;
}

static bool any_unmoved(const worker *w, size_t lanes)
{
    for (size_t i = 0; i < lanes; i++)
        if (!w->moved[i] && !w->done[i])
            return true;
    return false;
}

static void take_step(const gd_sweep *s, worker *w, size_t k)
{
    for (size_t i = 0; s->rates != NULL && i < w->step.group_count; i++) {
        w->groups[i].hyper[0] = s->rates[2 * k];
        if (!isnan(s->rates[2 * k + 1]))
            w->groups[i].hyper[s->momentum_at] = s->rates[2 * k + 1];
    }
    w->step.t = (int64_t)k + 1;
    gd_optimizer_step(&w->step);
}

/* What was found becomes what was before. */
static void turn(worker *w)
{
    char *loss = w->loss;
    double *norm = w->norm;
    w->loss = w->before;
    w->before = loss;
    w->norm = w->norm_before;
    w->norm_before = norm;
    w->outputs[0] = w->loss;
}

static gd_run_status run_block(const gd_sweep *s, worker *w, size_t first, size_t count)
{
    const gd_kernels *kernels = gd_kernels_for(s->value_size);
    size_t lost = 0;
    bool unmoved = true;
    begin_block(s, w, first, count);
    for (size_t k = 0;; k++) {
        bool ends = false;
        const gd_run_status status = gd_run_once(w->run, w->inputs, w->outputs);
        if (status != GD_RUN_DONE)
            return status;
        find_norms(s, w);
        if (k == 0)
            note_first(s, w);
        if (unmoved && k > 0) {
            find_moved(s, w, first, count);
            unmoved = any_unmoved(w, s->lanes);
        }
        for (size_t i = 0; i < w->step.group_count; i++)
            ends = ends || (int64_t)k == s->steps[first + w->segment[i]];
        const size_t going = kernels->watch.going(s->lanes, w->loss, w->norm, w->limit);
        for (size_t i = 0; i < w->step.group_count; i++)
            if ((int64_t)k <= s->steps[first + w->segment[i]])
                gather(s, w, i, k, (size_t)s->steps[first + w->segment[i]]);
        if (ends || going + lost != s->lanes) {
            lost = end_runs(s, w, first, count, k);
            if (all_done(w, count))
                return GD_RUN_DONE;
        }
        take_step(s, w, k);
        turn(w);
    }
}

static void sweep_task(void *context, size_t index)
{
    sweep_run *r = context;
    const gd_sweep *s = r->sweep;
    for (size_t i = atomic_fetch_add(&r->next, 1); i < r->blocks;
         i = atomic_fetch_add(&r->next, 1)) {
        const size_t first = i * s->lanes, left = s->runs - first;
        const gd_run_status status =
            run_block(s, &r->workers[index], first, left < s->lanes ? left : s->lanes);
        if (status != GD_RUN_DONE) {
            atomic_store(&r->status, (int)status);
            return;
        }
    }
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Elements of all arrays of one run. */
static size_t elements_of_run(const gd_sweep *s)
{
    size_t n = 0;
    for (size_t k = 0; k < s->array_count; k++)
        n += s->array[k].size;
    return n;
}

static bool take_arrays(const gd_sweep *s, gd_pool *pool, worker *w)
{
    const size_t n = s->array_count;
    size_t largest = 1;
    bool got = true;
    w->inputs = gd_pool_take(pool, gd_program_input_count(s->program), sizeof *w->inputs);
    w->p = gd_pool_take(pool, n, sizeof *w->p);
    w->outputs = gd_pool_take(pool, n + 2, sizeof *w->outputs);
    w->state = gd_pool_take(pool, n, sizeof *w->state);
    if (w->inputs == NULL || w->p == NULL || w->outputs == NULL || w->state == NULL)
        return false;
    w->g = w->outputs + 1;
    for (size_t i = 0; i < gd_program_input_count(s->program); i++)
        w->inputs[i] = s->inputs[i];
    for (size_t k = 0; k < n; k++) {
        const gd_sweep_array *a = &s->array[k];
        w->p[k] = gd_pool_take(pool, a->size * s->lanes, a->real_size);
        w->g[k] = gd_pool_take(pool, a->size * s->lanes, a->real_size);
        got = got && w->p[k] != NULL && w->g[k] != NULL;
        for (size_t v = 0; v < GD_MAX_STATES; v++) {
            w->state[k][v] = gd_pool_take(pool, a->size * s->lanes, a->real_size);
            got = got && w->state[k][v] != NULL;
        }
        if (a->input != SIZE_MAX)
            w->inputs[a->input] = w->p[k];
        largest = a->size > largest ? a->size : largest;
    }
    w->outputs[1 + n] = gd_pool_take(pool, largest, sizeof(double));
    return got && w->outputs[1 + n] != NULL;
}

static bool open_worker(const gd_sweep *s, gd_pool *pool, worker *w)
{
    const size_t n = s->lanes, arrays = n * elements_of_run(s);
    double **doubles[] = {&w->norm,  &w->norm_before, &w->third_norm, &w->fourth_norm, &w->rises,
                          &w->limit, &w->squares,     &w->first_loss, &w->first_norm};
    char **reals[] = {&w->loss, &w->before, &w->best, &w->third, &w->fourth};
    bool got = take_arrays(s, pool, w);
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        got = got && (*doubles[i] = gd_pool_take(pool, n, sizeof(double))) != NULL;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        got = got && (*reals[i] = gd_pool_take(pool, n, s->value_size)) != NULL;
    if (!got)
        return false;
    w->numbers = gd_pool_take(pool, arrays * GD_MAX_NUMBERS, sizeof(double));
    w->done = gd_pool_take(pool, n, sizeof *w->done);
    w->moved = gd_pool_take(pool, n, sizeof *w->moved);
    w->segment = gd_pool_take(pool, n + 1, sizeof *w->segment);
    w->groups = gd_pool_take(pool, n, sizeof *w->groups);
    w->arrays = gd_pool_take(pool, arrays, sizeof *w->arrays);
    w->run = gd_run_open(s->program, 1);
    w->outputs[0] = w->loss;
    return w->numbers != NULL && w->done != NULL && w->moved != NULL && w->segment != NULL &&
           w->groups != NULL && w->arrays != NULL && w->run != NULL;
}

gd_run_status gd_sweep_run(const gd_sweep *s)
{
    sweep_run r = {.sweep = s, .blocks = (s->runs + s->lanes - 1) / s->lanes};
    const size_t most = gd_threads_get(), threads = r.blocks < most ? r.blocks : most;
    gd_pool pool = {NULL};
    r.workers = gd_pool_take(&pool, threads, sizeof *r.workers);
    bool done = r.workers != NULL;
    for (size_t i = 0; done && i < threads; i++)
        done = open_worker(s, &pool, &r.workers[i]);
    if (done)
        gd_parallel(threads, threads, sweep_task, &r);
    for (size_t i = 0; r.workers != NULL && i < threads; i++)
        gd_run_close(r.workers[i].run);
    gd_pool_free(&pool);
    return done ? (gd_run_status)atomic_load(&r.status) : GD_RUN_NO_MEMORY;
}
