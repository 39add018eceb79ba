/* sweep.h: many descents side by side: run i is element i of the last axis of every value of a
 * program, which is elementwise along it. Each run takes the steps that it would take alone. */
#ifndef GD_SWEEP_H
#define GD_SWEEP_H

#include "optimizer.h"
#include "program.h"

/* What is known of each run at its end, a row of doubles for each; gdcore/_verdicts.py says what
 * they mean. Losses and norms of a run that is not finite are those of its last finite point. */
enum {
    GD_RUN_FUN, /* f where it ended */
    GD_RUN_NIT,
    GD_RUN_MET, /* the first step with a gradient norm of at most gtol, -1 if there is none */
    GD_RUN_FINITE,
    GD_RUN_INFINITE,
    GD_RUN_MOVED,
    GD_RUN_FIRST_LOSS,
    GD_RUN_LAST_LOSS,
    GD_RUN_BEST_LOSS,
    GD_RUN_THIRD_LOSS,
    GD_RUN_FOURTH_LOSS,
    GD_RUN_NOT_LOWER,
    GD_RUN_FIRST_NORM,
    GD_RUN_LAST_NORM,
    GD_RUN_THIRD_NORM,
    GD_RUN_FOURTH_NORM,
    GD_RUN_NORM_BEFORE,
    GD_RUN_FACTS
};

typedef struct {
    size_t input;      /* of the program; SIZE_MAX where it does not read the array */
    size_t size, real_size;
    const void *starts; /* points one behind the other */
    void *ends;         /* of the runs, likewise */
} gd_sweep_array;

typedef struct {
    const gd_program *program; /* its outputs: f of the lanes, the gradient of each array */
    size_t lanes;
    const void *const *inputs; /* those of the arrays are not looked at */
    size_t array_count, value_size;
    const gd_sweep_array *array;
    const gd_step *settings;   /* rule, dialect, maximize, and group 0 */
    size_t momentum_at;        /* among the doubles of a group */
    size_t runs;
    const int64_t *start, *steps; /* of each run: number of its start, steps at most */
    const double *lr, *momentum;  /* of each run; NaN: the group's */
    const double *rates; /* learning rate and momentum of each step, or NULL: the group's */
    double gtol;
    double *facts; /* runs x GD_RUN_FACTS */
} gd_sweep;

/* Whether runs may go side by side under these settings: what a step does to an element depends on
 * no other element. */
bool gd_sweep_may(const gd_step *settings);

/* Run them all, or say what kept the program from it; facts and ends mean nothing then. */
gd_run_status gd_sweep_run(const gd_sweep *sweep);

#endif
