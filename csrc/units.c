/* units.c: norms of units, factors from them, projections. Tasks are tiles of units, or stretches
 * of memory where elements are only scaled; what a task computes depends on no other. */
#include "units.h"

#include <float.h>
#include <math.h>

#include "reduce.h"
#include "threads.h"

enum { STRETCH = 16 * 1024 }; /* elements of a task that scales */

static const double ADAPTIVE_EPS = 1e-3; /* the norm that weights of 0 are taken to have */

/* One pass over the units of an array, or of a parameter and its gradient. */
typedef struct {
    const gd_kernels *kernels;
    size_t real_size;
    const gd_units *units;
    size_t width; /* units of a tile */
    void *x;
    const void *g; /* NULL: there is no gradient */
    const gd_constraint *constraint;
    double clip;
    double *factor;
} unit_pass;

static void *at(const void *base, size_t index, size_t real_size)
{
    return (char *)base + index * real_size;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Units side by side are read by whole cache lines. Units in one piece are long enough alone, or
 * are read together. */
static size_t tile_width(const gd_units *units)
{
    const size_t whole = units->interleaved ? GD_UNIT_TILE : GD_SUM_BLOCK / units->length;
    return whole < 1 ? 1 : smaller(whole, GD_UNIT_TILE);
}

static size_t tile_count(const unit_pass *pass)
{
    return (pass->units->count + pass->width - 1) / pass->width;
}

/* ---- Norms ----------------------------------------------------------------------------------- */

/* Rows [row, row + n) of a unit in one piece: in place, or gathered into the column. */
static const void *unit_part(const unit_pass *pass, const void *x, size_t unit, size_t row,
                             size_t n, void *column)
{
    const gd_units *units = pass->units;
    if (!units->interleaved)
        return at(x, unit * units->length + row, pass->real_size);
    pass->kernels->units.gather(n, 1, at(x, row * units->count + unit, pass->real_size),
                                units->count, column);
    return column;
}

/* The norm of a unit whose squares leave the range of a double, or that is all zeros. */
static double rescued_norm(const unit_pass *pass, const void *x, size_t unit)
{
    const gd_reduce_kernels *reduce = &pass->kernels->reduce;
    double column[GD_CHUNK], top = 0, squares = 0;
    for (size_t row = 0; row < pass->units->length; row += GD_CHUNK) {
        const size_t n = smaller(pass->units->length - row, GD_CHUNK);
        const double part = reduce->largest(n, unit_part(pass, x, unit, row, n, column));
        top = top >= part || isnan(top) ? top : part;
    }
    if (top == 0 || !isfinite(top))
        return top;
    const double scale = gd_norm_scale(top);
    for (size_t row = 0; row < pass->units->length; row += GD_CHUNK) {
        const size_t n = smaller(pass->units->length - row, GD_CHUNK);
        squares += reduce->scaled_squares(n, unit_part(pass, x, unit, row, n, column), scale);
    }
    return scale * sqrt(squares);
}

/* The norms of units [first, first + count), at most a tile. One unit alone takes the threads. */
static void tile_norms(const unit_pass *pass, const void *x, size_t first, size_t count,
                       double *norms)
{
    const gd_units *units = pass->units;
    double sums[GD_UNIT_TILE] = {0};
    if (units->count == 1) {
        norms[0] = gd_norm(pass->real_size, units->length, x);
        return;
    }
    for (size_t row = 0; row < units->length; row += GD_SUM_BLOCK) {
        const size_t n = smaller(units->length - row, GD_SUM_BLOCK);
        if (units->interleaved)
            pass->kernels->units.squares(
                n, count, at(x, row * units->count + first, pass->real_size), units->count, sums);
        for (size_t k = 0; !units->interleaved && k < count; k++) {
            const void *part = at(x, (first + k) * units->length + row, pass->real_size);
            sums[k] += pass->kernels->reduce.dot(n, part, part);
        }
    }
    for (size_t k = 0; k < count; k++)
        norms[k] = gd_norm_is_exact(sums[k]) ? sqrt(sums[k]) : rescued_norm(pass, x, first + k);
}

/* ---- Factors --------------------------------------------------------------------------------- */

/* limit / norm where the norm is larger, else 1, also for a NaN */
static double down_to(double norm, double limit)
{
    return norm > limit ? limit / norm : 1.0;
}

static double factor_of(const unit_pass *pass, double x_norm, double g_norm)
{
    if (pass->g != NULL)
        return down_to(g_norm, pass->clip * (x_norm > ADAPTIVE_EPS ? x_norm : ADAPTIVE_EPS));
    if (pass->constraint->kind == GD_MAX_NORM)
        return down_to(x_norm, pass->constraint->high);
    return x_norm >= DBL_MIN ? 1.0 / x_norm : 1.0; /* below it 1 / norm may be infinite */
}

static void factor_task(void *context, size_t tile)
{
    const unit_pass *pass = context;
    const size_t first = tile * pass->width;
    const size_t count = smaller(pass->units->count - first, pass->width);
    double x_norm[GD_UNIT_TILE], g_norm[GD_UNIT_TILE] = {0};
    tile_norms(pass, pass->x, first, count, x_norm);
    if (pass->g != NULL)
        tile_norms(pass, pass->g, first, count, g_norm);
    for (size_t k = 0; k < count; k++)
        pass->factor[first + k] = factor_of(pass, x_norm[k], g_norm[k]);
}

static void scale_task(void *context, size_t task)
{
    const unit_pass *pass = context;
    const size_t first = task * STRETCH, size = pass->units->count * pass->units->length;
    pass->kernels->units.scale(smaller(size - first, STRETCH),
                               at(pass->x, first, pass->real_size), pass->factor, pass->units,
                               first);
}

/* ---- The simplex ----------------------------------------------------------------------------- */

typedef struct {
    double top;       /* the largest element */
    double threshold; /* below which x - top becomes 0 */
    double sum, number, number_before;
    bool settled;
} gd_simplex;

typedef void gd_visit(const gd_kernels *kernels, size_t n, void *x, gd_simplex *s);

static void visit_top(const gd_kernels *kernels, size_t n, void *x, gd_simplex *s)
{
    const double top = kernels->reduce.top(n, x);
    s->top = s->top >= top || isnan(s->top) ? s->top : top;
}

static void visit_above(const gd_kernels *kernels, size_t n, void *x, gd_simplex *s)
{
    const gd_reduce_kernels *doubles = &gd_kernels_for(sizeof(double))->reduce;
    double part[GD_CHUNK], one[GD_CHUNK];
    if (s->settled)
        return;
    kernels->units.above(n, x, s->top, s->threshold, part, one);
    s->sum += doubles->sum(n, part);
    s->number += doubles->sum(n, one);
}

static void visit_lower(const gd_kernels *kernels, size_t n, void *x, gd_simplex *s)
{
    kernels->units.lower(n, x, s->top, s->threshold);
}

/* Show the units of a tile to the visitor, part by part, each part in one piece. */
static void visit_tile(const unit_pass *pass, size_t first, size_t count, gd_visit *visit,
                       gd_simplex *s)
{
    const gd_units *units = pass->units;
    double columns[GD_UNIT_TILE * GD_CHUNK];
    for (size_t row = 0; row < units->length; row += GD_CHUNK) {
        const size_t n = smaller(units->length - row, GD_CHUNK);
        void *const x = at(pass->x, row * units->count + first, pass->real_size);
        if (units->interleaved)
            pass->kernels->units.gather(n, count, x, units->count, columns);
        for (size_t k = 0; k < count; k++)
            visit(pass->kernels, n,
                  units->interleaved
                      ? at(columns, k * n, pass->real_size)
                      : at(pass->x, (first + k) * units->length + row, pass->real_size),
                  &s[k]);
        if (units->interleaved && visit == visit_lower)
            pass->kernels->units.scatter(n, count, columns, x, units->count);
    }
}

/* The next threshold from what was above the last one; whether it is the final one. */
static bool settle(gd_simplex *s)
{
    if (!s->settled) {
        s->settled = s->number >= s->number_before;
        s->threshold = (s->sum - 1) / s->number;
        s->number_before = s->number;
        s->sum = s->number = 0;
    }
    return s->settled;
}

/* Michelot 1986: the threshold t solves sum of max(y - t, 0) = 1. From a t below it, the next is
 * (sum of the y > t, less 1) / their number, until the number stays. With y = x - max x no y <= -1
 * has a share, so t starts there and no sum overflows. A unit whose maximum is NaN or infinite has
 * no nearest point and becomes NaN. Each pass is linear; there are two and one for each threshold,
 * at most as many as elements above -1: 2 to 14 for 10 to 10^5 normal draws. */
static void simplex_task(void *context, size_t tile)
{
    const unit_pass *pass = context;
    const size_t first = tile * pass->width;
    const size_t count = smaller(pass->units->count - first, pass->width);
    gd_simplex s[GD_UNIT_TILE];
    for (size_t k = 0; k < count; k++)
        s[k] = (gd_simplex){.top = -INFINITY, .threshold = -1, .number_before = INFINITY};
    visit_tile(pass, first, count, visit_top, s);
    for (size_t k = 0; k < count; k++)
        if (!isfinite(s[k].top)) {
            s[k].threshold = NAN;
            s[k].settled = true;
        }
    for (bool settled = false; !settled;) {
        visit_tile(pass, first, count, visit_above, s);
        settled = true;
        for (size_t k = 0; k < count; k++)
            settled = settle(&s[k]) && settled;
    }
    visit_tile(pass, first, count, visit_lower, s);
}

/* ---- All units ------------------------------------------------------------------------------- */

bool gd_projects_by_factors(const gd_constraint *constraint)
{
    return constraint->kind == GD_MAX_NORM || constraint->kind == GD_UNIT_NORM;
}

void gd_adaptive_factors(size_t real_size, const gd_units *units, const void *p, const void *g,
                         double clip, double *factor, size_t threads)
{
    if (units->count == 0)
        return;
    unit_pass pass = {.kernels = gd_kernels_for(real_size),
                    .real_size = real_size,
                    .units = units,
                    .width = tile_width(units),
                    .x = (void *)p,
                    .g = g,
                    .clip = clip,
                    .factor = factor};
    gd_parallel(tile_count(&pass), threads, factor_task, &pass);
}

void gd_project(const gd_constraint *constraint, size_t real_size, const gd_units *units, void *x,
                double *factor, size_t threads)
{
    const size_t size = units->count * units->length;
    if (size == 0)
        return;
    unit_pass pass = {.kernels = gd_kernels_for(real_size),
                    .real_size = real_size,
                    .units = units,
                    .width = tile_width(units),
                    .x = x,
                    .constraint = constraint,
                    .factor = factor};
    if (constraint->kind == GD_BOX) {
        pass.kernels->prepare.bound(size, x, constraint->low, constraint->high);
    } else if (constraint->kind == GD_SIMPLEX) {
        gd_parallel(tile_count(&pass), threads, simplex_task, &pass);
    } else if (gd_projects_by_factors(constraint)) {
        gd_parallel(tile_count(&pass), threads, factor_task, &pass);
        gd_parallel((size + STRETCH - 1) / STRETCH, threads, scale_task, &pass);
    }
}
