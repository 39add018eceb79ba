/* descend.c: the loop of a descent on a program. What ends it is looked at in the order of
 * gdcore/descent.py, so that both loops take the same steps. The clock is read, and the caller
 * asked, every few steps only where these are short. */
#include "descend.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "reduce.h"

enum { SHORT_STEPS = 32 }; /* of a short program between two looks at the clock: 10 us or so */

static const double POLL_SECONDS = 0.01;

double gd_descent_norm(const gd_step *step)
{
    double total = 0;
    for (size_t i = 0; i < step->array_count; i++) {
        const gd_array *a = &step->arrays[i];
        if (!step->groups[a->group].frozen)
            total = gd_add_norm(total, gd_norm(a->real_size, a->size, a->g));
    }
    return total;
}

static double read_value(const gd_descent *d)
{
    if (d->value_size == sizeof(float))
        return (double)*(const float *)d->outputs[0];
    return *(const double *)d->outputs[0];
}

/* Whether an element of some array is not what it was at the start. */
static bool has_moved(const gd_descent *d)
{
    for (size_t i = 0; i < d->step->array_count; i++) {
        const gd_array *a = &d->step->arrays[i];
        const float *f = a->p, *f_start = d->start[i];
        const double *p = a->p, *start = d->start[i];
        for (size_t k = 0; k < a->size; k++)
            if (a->real_size == sizeof(float) ? f[k] != f_start[k] : p[k] != start[k])
                return true;
    }
    return false;
}

/* Evaluate, and enter what is found as that of point k. */
static bool look(gd_descent *d, size_t k)
{
    const size_t number = d->first + k;
    d->losses[k] = d->norms[k] = NAN;
    d->status = gd_run_once(d->run, d->inputs, d->outputs);
    if (d->status != GD_RUN_DONE)
        return false;
    d->losses[k] = read_value(d);
    d->norms[k] = gd_descent_norm(d->step);
    if (!d->moved && d->start != NULL && k > 0)
        d->moved = has_moved(d);
    if (d->record > 0 && number % d->record == 0 && (k > 0 || number == 0)) {
        for (size_t i = 0; i < d->step->array_count; i++) {
            const gd_array *a = &d->step->arrays[i];
            const size_t bytes = a->size * a->real_size;
            memcpy((char *)d->path[i] + d->recorded * bytes, a->p, bytes);
        }
        d->recorded++;
    }
    return true;
}

/* Whether the point that was looked at last is the end, and then why; the clock aside. */
static bool is_end(gd_descent *d)
{
    const double value = d->losses[d->done], norm = d->norms[d->done];
    const double before = d->done > 0 ? d->losses[d->done - 1] : d->before;
    if (!isfinite(value) || !isfinite(norm))
        d->end = GD_END_NONFINITE;
    else if (norm <= d->gtol)
        d->end = GD_END_GTOL;
    else if (fabs(value - before) <= d->ftol * fmax(fmax(fabs(before), fabs(value)), 1.0))
        d->end = GD_END_FTOL;
    else if (d->done >= d->steps)
        d->end = GD_END_STEPS;
    else
        return false;
    return true;
}

void gd_descend(gd_descent *d)
{
    const double begun = gd_seconds();
    const size_t often = gd_program_is_long(gd_run_program(d->run)) ? 1 : SHORT_STEPS;
    double polled = begun;
    d->end = GD_END_INTERRUPT;
    if (!look(d, 0))
        return;
    while (!is_end(d)) {
        const bool watch = (d->done + 1) % often == 0;
        gd_optimizer_set_rates(d->step, d->rates, d->done, d->momentum_at);
        d->step->t++;
        d->step->loss = d->losses[d->done];
        gd_optimizer_step(d->step);
        d->lrs[d->done] = d->step->groups[0].hyper[0];
        d->done++; /* the step is taken, whatever becomes of the look */
        if (!look(d, d->done)) {
            d->end = GD_END_INTERRUPT;
            return;
        }
        const double time = watch ? gd_seconds() : polled;
        if (watch && time - begun >= d->seconds && !is_end(d)) {
            d->end = GD_END_SECONDS;
            return;
        }
        if (time - polled >= POLL_SECONDS) {
            polled = time;
            if (d->poll(d->context)) {
                d->end = GD_END_INTERRUPT;
                return;
            }
        }
    }
}
