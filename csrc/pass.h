/* pass.h: batches of rows through a network: predictions, losses and gradients by the chunk rule
 * (gradient.h), over as many threads as pay. Shapes alone decide the bits.
 *
 * A pass owns the memory of its chunks; parameters, gradients and data are the caller's. */
#ifndef GD_PASS_H
#define GD_PASS_H

#include "network.h"

/* What a network is trained for. */
typedef struct {
    bool own;                /* the loss is a program, the part GD_PART_OF_LOSS */
    bool scalar;             /* which gives one number for all rows of a batch */
    gd_function loss;        /* else the table's */
    bool sum;                /* of the losses, instead of their mean */
    bool labels;             /* targets are class numbers */
    size_t target_width, losses; /* of one row */
    gd_function probability; /* makes of predictions what metrics see */
    const double *penalty;   /* l1 and l2 of each parameter array, or NULL */
} gd_objective;

typedef struct {
    gd_source x, target;
    const double *weights; /* of each row of x, or NULL */
    const int64_t *index;  /* the rows that are used, or NULL: all */
    size_t rows;           /* that are used */
} gd_data;

typedef struct gd_pass gd_pass;

typedef struct {
    const gd_network *network;
    void *const *param, *const *buffer;
    const gd_objective *objective; /* NULL: predictions alone */
    const gd_data *data;
    size_t batch;       /* rows of the largest batch of a training */
    bool training;      /* dropout, statistics of the batch, room for gradients */
    void *const *grad;  /* of each parameter, where training */
    gd_watch *watch;
    size_t threads;
} gd_pass_settings;

/* NULL: memory is short. The settings' contents outlive the pass. */
gd_pass *gd_pass_open(const gd_pass_settings *settings);
void gd_pass_close(gd_pass *pass);

/* The parameters have changed. */
void gd_pass_pack(gd_pass *pass);

/* Rows [first, first + rows) of an order of the data. */
typedef struct {
    size_t first, rows;
    const gd_order *order;  /* or */
    const int64_t *given;   /* positions, or neither: as they stand */
    gd_key key;             /* of dropout */
    uint64_t step;
    void *seen;             /* what metrics see of these rows, or NULL */
} gd_batch;

/* Loss of a batch and, into the caller's arrays, its gradient; *weight: the sum of its weights. */
gd_run_status gd_pass_gradient(gd_pass *pass, const gd_batch *batch, double *loss,
                               double *weight);
/* Predictions of rows [first, first + rows) into `out` (NULL: not wanted), as metrics see them
 * where `seen`; where there is an objective, *loss: that of all rows together, with penalties. */
gd_run_status gd_pass_evaluate(gd_pass *pass, size_t first, size_t rows, void *out, bool seen,
                               double *loss);

/* The penalty of the last batch, which is part of its loss. */
double gd_pass_penalty(const gd_pass *pass);

/* Whether the batches to come count idle units of activations, and what was counted of a stage in
 * the last batch: zero ones and saturated ones. */
void gd_pass_count(gd_pass *pass, bool counting);
void gd_pass_units(const gd_pass *pass, size_t stage, uint64_t count[2]);

/* Move the moving statistics on by those of the last batch. */
void gd_pass_move_buffers(const gd_pass *pass);

/* l1 sum |p| + l2 sum p^2 over all arrays. */
double gd_penalty(const gd_network *network, void *const *param, const double *penalty);

#endif
