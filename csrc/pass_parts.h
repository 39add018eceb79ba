/* pass_parts.h: what the files of a pass share: pass.c (its memory), pass_gradient.c (batches of a
 * training), pass_evaluate.c (predictions and losses). Nobody else includes it. */
#ifndef GD_PASS_PARTS_H
#define GD_PASS_PARTS_H

#include "pass.h"

struct gd_pass {
    gd_pass_settings settings;
    gd_weights weights;
    gd_packed *packed;
    bool whole;        /* stages, or the loss, look at all rows of a batch at once */
    bool by_chunks;    /* programs run for whole chunks: threads do not share their rows */
    bool direct_x;     /* rows of X may be read where they stand */
    size_t chunk;      /* rows that go through the stages together */
    size_t desks, threads, pack_tasks;
    gd_desk *desk;
    void **block;      /* of each thread, for X^T d before it is added up */
    gd_run_status *status; /* of each thread */
    uint64_t *count;   /* of each thread: idle units, two of each stage */
    bool counting;
    double work;       /* multiply-adds of a row, forward */
    /* slices: the loss, then sums for the arrays; wide weights last */
    size_t slice_size, small_size;
    size_t *offset;    /* of each array into a slice */
    bool *wide;        /* arrays that are X^T d of more than GD_NARROW columns */
    double *sums;
    double penalty;    /* of the last batch: that part of its loss */
    /* the batch under way: */
    gd_batch batch;
    size_t pieces, slices, tasks, piece; /* the piece that all tasks share */
    size_t base, end;  /* pieces of this round */
    double factor;     /* of the gradient of each loss */
    char *out;         /* of an evaluation: predictions, and the sum of the losses of each chunk */
    bool seen;
    double *chunk_loss, *chunk_weight;
    gd_room room;
};

/* The numbers of rows [p, p + count) of the batch's order into `row`. */
void gd_pass_number(const gd_pass *pass, size_t p, size_t count, size_t *row);
/* Where the rows of a chunk stand: reads them in place, or where gd_pass_fetch puts them. */
void gd_pass_seat(const gd_pass *pass, gd_desk *desk, size_t first, size_t rows);
/* Bring rows [from, from + rows) of the chunk that begins at `first` of the order to the desk; a
 * class number that is none is found here, whoever changed it since it was looked at. */
gd_run_status gd_pass_fetch(const gd_pass *pass, const gd_desk *desk, size_t first, size_t from,
                   size_t rows);
/* Losses and their gradient of rows of the desk, weighted; the gradient times the factor goes to
 * `dy`. A program of a loss takes all rows of the chunk. */
gd_run_status gd_pass_losses(const gd_pass *pass, const gd_desk *desk, size_t from, size_t rows,
                             void *dy);
/* The sum of the losses of the first rows of the desk. */
double gd_pass_sum_losses(const gd_pass *pass, const gd_desk *desk, size_t rows);
/* What metrics see of rows of the desk. */
void gd_pass_show(const gd_pass *pass, const gd_desk *desk, size_t from, size_t rows, void *seen);

#endif
