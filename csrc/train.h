/* train.h: the training loop: batch after batch, epoch after epoch, without leaving C. For each:
 * its rows in the epoch's order, loss and gradient, a look at both, the optimizer's step, what is
 * to be noted. Parameters always stand at a completed step. */
#ifndef GD_TRAIN_H
#define GD_TRAIN_H

#include "optimizer.h"
#include "pass.h"

/* Why a call came back, numbered as in gdcore/_trainer.py. */
typedef enum {
    GD_TRAINED,
    GD_TRAIN_INTERRUPT, /* poll said so */
    GD_TRAIN_NONFINITE, /* a loss, a gradient or a weight; the last good weights are restored */
    GD_TRAIN_DEADLINE,
    GD_TRAIN_FAILED,    /* status says why */
} gd_train_end;

/* What follows the parameters after each step. */
typedef struct {
    void **array; /* one for each parameter, of its size */
    double share; /* of the parameters in it: 1 - decay */
    bool begun;   /* false: the next step makes it equal to them */
} gd_followers;

/* Fixed while a fit lasts. */
typedef struct {
    const gd_network *network;
    gd_pass *pass;
    gd_step *step;      /* NULL: gradients alone, of one batch: the caller steps */
    gd_followers *average; /* NULL: none is kept */
    size_t momentum_at; /* where momentum stands among the doubles of a group */
    void *const *param, *const *grad, *const *buffer;
    size_t rows, batch, batches; /* of the data; rows of a batch; batches of an epoch */
    bool shuffle, skip;          /* skip: a batch that is not finite changes nothing */
    bool moves;                  /* moving statistics move where the caller steps, too */
    bool sums;                   /* losses of batches are sums, which an epoch adds up */
    gd_key key;
    size_t often;       /* batches between two records of statistics, 0: none */
    uint32_t *table;    /* room for an order, GD_ORDER_TABLE at most */
    char *good, *before; /* room for all arrays each: the last good ones, those before a step */
} gd_fit;

/* Where it stands: what a later call, or a resumed fit, goes on from. */
typedef struct {
    uint64_t epoch, batch, count; /* epoch, batch within it, batches since the key was drawn */
    double sum, weight;           /* of the losses of this epoch so far */
    double lowest;                /* loss of a batch so far, infinity at first */
    uint64_t skipped;
    uint64_t taken;               /* batches of this epoch that were finite, */
    double total;                 /* the sum of their losses, */
    double mean, lowest_mean;     /* a batch's loss in the last epoch; the lowest such mean */
    bool shadowed;                /* good holds weights from within the epoch */
    bool begun;                   /* order and good are this epoch's */
    bool kept;                    /* good holds weights */
    gd_order order;
} gd_place;

/* What one call does and brings back. */
typedef struct {
    size_t count;          /* batches, at most */
    const int64_t *given;  /* the order of this epoch, which the call does not leave; or NULL */
    const double *rates;   /* as in descend.h; NULL: those of the groups */
    double deadline;       /* seconds of the clock; infinity: none */
    void *seen;            /* what metrics see, row by row from the first batch on; or NULL */
    double *losses, *norms, *lrs; /* of each batch */
    double *epoch_loss;    /* of each epoch that ended */
    double *record;        /* rows of gd_record_width each, */
    int64_t *record_at;    /* with the number of the batch */
    /* results: */
    size_t done, epochs, records;
    gd_train_end end;
    gd_run_status status;
    int64_t array;         /* that is not finite: a gradient; -1: the loss alone; -2 - i: weights */
} gd_training;

/* Norms of weights, gradients and updates of each array; fractions of zero and saturated units of
 * each activation. */
size_t gd_record_width(const gd_network *network);
/* Bytes of all arrays: parameters and moving statistics. */
size_t gd_fit_bytes(const gd_network *network);
/* How many batches apart records cost less than a twentieth of the time. */
size_t gd_fit_often(const gd_network *network, size_t batch);

/* Put the last good weights back. */
void gd_fit_restore(const gd_fit *fit);

/* Train; allocates nothing. */
void gd_train(const gd_fit *fit, gd_place *place, gd_training *call, gd_watch *watch);

#endif
