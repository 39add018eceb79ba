/* descend.h: descent on a program: evaluate, look, step, over and over, without leaving C. */
#ifndef GD_DESCEND_H
#define GD_DESCEND_H

#include "optimizer.h"
#include "program.h"

/* Why a descent ended, numbered as in gdcore/_result.py. */
typedef enum {
    GD_END_STEPS,
    GD_END_GTOL,      /* the gradient norm is at most gtol */
    GD_END_FTOL,      /* |change of f| <= ftol max(|before|, |after|, 1) */
    GD_END_SECONDS,
    GD_END_NONFINITE, /* f or the gradient norm */
    GD_END_INTERRUPT, /* poll said so, or status says what went wrong */
} gd_end;

typedef struct {
    gd_run *run;
    const void *const *inputs; /* of the program; the arrays of `step` are among them */
    void *const *outputs;      /* f, then the gradient of each array of `step`, which g points to */
    size_t value_size;         /* bytes of f's real type */
    gd_step *step;
    const void *const *start;  /* each array as it was at the beginning, or NULL: moved already */
    size_t steps, record;      /* at most; a point is recorded after each record-th step, 0: none */
    size_t first;              /* number of the first point, which is not recorded if it is not 0 */
    double gtol, ftol, seconds; /* NaN: none */
    double before;             /* f before the first point, NaN if there is none */
    const double *rates;       /* learning rate and momentum (NaN: as it is) of each group, a row a
                                * step; NULL: those of the groups */
    size_t momentum_at;        /* where momentum stands among the doubles of a group */
    bool (*poll)(void *context); /* asked every 10 ms or so; true ends the descent */
    void *context;
    /* results: */
    double *losses, *norms; /* steps + 1 of each */
    double *lrs;            /* of group 0, steps of them */
    void *const *path;      /* for each array, room for the points recorded */
    size_t recorded, done;  /* points, steps */
    bool moved;
    gd_end end;
    gd_run_status status;
} gd_descent;

/* Descend until something ends it. The point is where `done` steps led to; losses, norms and
 * outputs are of that point, NaN where the program failed there. Allocates nothing. */
void gd_descend(gd_descent *descent);

/* The norm of the gradients of all arrays that are not frozen. */
double gd_descent_norm(const gd_step *step);

#endif
