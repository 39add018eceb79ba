/* loss.h: a loss and its gradient over a whole batch: weights, reduction, blocks, threads. */
#ifndef GD_LOSS_H
#define GD_LOSS_H

#include "gd.h"
#include "linear.h"

typedef enum { GD_MEAN, GD_SUM, GD_NONE } gd_reduction;

typedef struct {
    size_t real_size;
    gd_function loss;
    size_t rows, width;
    const void *target;  /* as the loss kernel reads it */
    const void *y;
    const void *weights; /* one real per row, or NULL */
    gd_reduction reduction;
    void *losses; /* out, with GD_NONE: per element or per row; else NULL */
    void *dy;     /* out: the gradient of the reduced value (of the sum with GD_NONE), or NULL */
    double value; /* out: mean or sum */
} gd_loss_job;

/* Elements of the target of a row of that many predictions, and the bytes of one. */
size_t gd_target_width(int loss, size_t width);
size_t gd_target_size(int loss, size_t real_size);

/* Evaluate; false where memory was short (outputs undefined). GD_MEAN divides by the sum of the
 * weights times the losses in a row; where that is 0, value and gradient are 0. */
bool gd_loss_evaluate(gd_loss_job *job);

#endif
