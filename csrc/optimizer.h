/* optimizer.h: one step of an optimizer over many arrays: norms, clipping, decay, rule, in blocks
 * and threads. Knows the table's rules by their data and kernels alone. */
#ifndef GD_OPTIMIZER_H
#define GD_OPTIMIZER_H

#include "gd.h"
#include "rules.h"
#include "units.h"

/* The constants of one step, in the reals of the arrays that they are for. */
typedef union {
    float f32[GD_MAX_SCALARS];
    double f64[GD_MAX_SCALARS];
} gd_constants;

/* Settings that a set of arrays shares. */
typedef struct {
    double hyper[GD_MAX_HYPERS]; /* the rule's struct; lr first */
    double weight_decay;         /* a copy of the rule's, whatever its place */
    double clip_value, clip_norm, clip_adaptive; /* infinity: none */
    double l1;
    gd_constraint constraint;
    double norm_scale, norm_max; /* lr = min(norm_max, norm_scale * grad_norm); scale 0: as given */
    bool frozen;
    size_t variant; /* into the rule's kernels */
    gd_constants f32, f64; /* set by gd_optimizer_step */
} gd_group;

/* One array to be stepped in place. */
typedef struct {
    void *p;
    const void *g;
    void *state[GD_MAX_STATES];
    double *number[GD_MAX_NUMBERS];
    size_t size, real_size;
    gd_units units;
    double *factor; /* room for one a unit where gd_group_needs_factors, else unused */
    size_t group;
    /* set by gd_optimizer_step: */
    double norm, scale;
    size_t first_task; /* number of its first task in threaded steps */
    double sums[GD_SUMS];
    gd_constants own; /* of rules whose constants differ from array to array */
    const void *constants;
} gd_array;

typedef struct {
    gd_optimizer_id rule;
    gd_dialect dialect;
    int64_t t; /* number of this step, from 1 */
    bool maximize;
    double loss; /* for rules that need it */
    double global_clip_norm; /* infinity: none */
    bool refuse_nonfinite;   /* change nothing where a gradient is NaN or infinite */
    gd_group *groups;
    size_t group_count;
    gd_array *arrays;
    size_t array_count;
    double *task_sums; /* for rules with sums: room for GD_SUMS a task, see gd_optimizer_tasks */
    bool measured;    /* out: whether grad_norm was needed and computed */
    double grad_norm; /* out: over all arrays not frozen, before clipping */
    size_t nonfinite; /* out: number of the first array refused, array_count if none */
} gd_step;

/* Whether the arrays of a group need room for a factor of each unit. */
bool gd_group_needs_factors(const gd_group *group);

/* Number of tasks in a step over these arrays, whose sizes alone count. */
size_t gd_optimizer_tasks(const gd_array *arrays, size_t count);

/* The rates of the k-th step of a run: learning rate and momentum (NaN: as it is) of each group, a
 * row a step; NULL: those that the groups have. */
void gd_optimizer_set_rates(gd_step *step, const double *rates, size_t k, size_t momentum_at);

/* Take the step; false where it was refused, and nothing has changed then. Allocates nothing. */
bool gd_optimizer_step(gd_step *step);

/* Move the average of an array's values toward them: average += share (p - average). */
void gd_average(size_t real_size, size_t n, const void *p, void *average, double share);

#endif
