/* units.h: norms of an array's units, clipping by them, and projections on convex sets.
 *
 * A unit is what feeds one output: all elements with one index on the last axis; an array of one
 * axis or none is one unit. Nothing here allocates. Threads change no bit, nor does the order of
 * matrices in memory (with more axes a unit's elements follow one another in another order). */
#ifndef GD_UNITS_H
#define GD_UNITS_H

#include "gd.h"

typedef enum {
    GD_FREE,      /* no constraint */
    GD_BOX,       /* low <= x <= high, each element */
    GD_MAX_NORM,  /* the norm of each unit is at most high */
    GD_UNIT_NORM, /* the norm of each unit is 1 */
    GD_SIMPLEX,   /* in each unit x >= 0 and the sum is 1 */
    GD_CONSTRAINTS
} gd_constraint_kind;

typedef struct {
    gd_constraint_kind kind;
    double low, high;
} gd_constraint;

/* Whether gd_project needs room for a factor of each unit. */
bool gd_projects_by_factors(const gd_constraint *constraint);

/* factor[u] = clip max(|p_u|, 1e-3) / |g_u| where |g_u| is larger than that limit, else 1 (also
 * where a norm is NaN). Brock et al. 2021, arXiv:2102.06171, equation 3. */
void gd_adaptive_factors(size_t real_size, const gd_units *units, const void *p, const void *g,
                         double clip, double *factor, size_t threads);

/* x <- the nearest point that keeps the constraint. factor: room for one a unit, or NULL where
 * gd_projects_by_factors says no. */
void gd_project(const gd_constraint *constraint, size_t real_size, const gd_units *units, void *x,
                double *factor, size_t threads);

#endif
