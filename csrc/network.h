/* network.h: a feed-forward network as a flat list of stages, and one chunk of rows on its way
 * through them. A stage reads the output of the one before it; backward it turns the gradient with
 * respect to its output into that of its input. What concerns many chunks stands in pass.h. */
#ifndef GD_NETWORK_H
#define GD_NETWORK_H

#include "clock.h"
#include "gather.h"
#include "gradient.h"
#include "program.h"
#include "random.h"

typedef enum {
    GD_STAGE_dense,      /* y = x W + b */
    GD_STAGE_activation, /* y = act(x), of the table */
    GD_STAGE_dropout,    /* y = x mask / (1 - rate) in training, else x */
    GD_STAGE_layer_norm, /* y = scale (x - mean of the row) / deviation of the row + shift */
    GD_STAGE_batch_norm, /* the same by columns; in training over the batch */
    GD_STAGE_fork,       /* y = x, which a join adds again */
    GD_STAGE_join,       /* y = x + the output of its fork */
    GD_STAGE_function,   /* a function of the user's, as a program */
    GD_STAGES
} gd_stage_kind;

typedef struct {
    gd_stage_kind kind;
    size_t inputs, outputs;
    size_t param_count, param[2]; /* numbers of its arrays: W and b, or scale and shift */
    gd_function activation;
    /* dropout: rate; norms: epsilon, momentum; activation: saturated from where to where */
    double number[2];
    size_t partner; /* of a fork its join and back; batch_norm: number of its moving mean */
} gd_stage;

enum { GD_PART_OF_LOSS = -1 };

/* A user's function for so many rows. Slots of a stage's forward program: input, captured arrays;
 * of its backward program: input, gradient of the output, captured arrays. Slots of a loss:
 * targets, predictions, gradient with respect to the losses, captured arrays; its outputs are the
 * losses and the gradient with respect to the predictions. */
typedef struct {
    int64_t stage; /* or GD_PART_OF_LOSS */
    size_t rows;
    const gd_program *forward, *backward;
    const void *const *captured;
} gd_part;

typedef struct {
    size_t real_size, inputs, outputs;
    size_t stage_count, param_count, buffer_count, part_count;
    gd_stage *stage;
    size_t *param_size, *buffer_size; /* elements */
    gd_part *part;       /* of this call: functions of the user's, */
    bool whole;          /* which look at all rows of a batch together */
} gd_network;

/* What is wrong with a stage, or NULL; those before it are sound. */
const char *gd_stage_check(const gd_network *network, size_t i);

/* Whether a stage looks at more rows than one in training. */
bool gd_network_crosses_rows(const gd_network *network);
/* Whether it has programs, which run for whole chunks. */
bool gd_network_has_functions(const gd_network *network);

/* About the multiply-adds of one row, forward. */
double gd_network_work(const gd_network *network);

/* What the weights of a stage look like to the products; packed anew after each step. */
typedef struct {
    gd_operand w, transposed;
} gd_packed;

/* A look at the caller every 10 ms or so. */
typedef struct {
    bool (*poll)(void *context); /* true: stop */
    void *context;
    double last; /* seconds of the clock */
} gd_watch;

/* Whether the caller says stop; asks at most every 10 ms. */
bool gd_watch_says_stop(gd_watch *watch);

/* What a chunk's way through the stages needs beside its own memory. */
typedef struct {
    const gd_network *network;
    const gd_kernels *kernels;
    void *const *param;
    void *const *buffer;     /* moving means and variances, in pairs */
    const gd_packed *packed; /* of each stage */
    bool training;
    gd_key key;              /* of dropout */
    uint64_t step;
    gd_watch *watch;         /* of many rows at once, in the caller's thread; or NULL */
} gd_weights;

/* The memory of one chunk: outputs of the stages and gradients with respect to them, some of which
 * share a place; in `extra` what a stage keeps for its way back. */
typedef struct {
    void *x;         /* rows of X in the real type of the network */
    gd_matrix input; /* those of the chunk: x, or rows of the caller's */
    void **y, **d, **extra;
    void *target, *loss, *weights;
    void *terms;     /* rows x widest normalised stage; in an evaluation gradients of no use */
    uint32_t *bits;  /* rows x widest dropout: */
    size_t terms_width, bits_width; /* tasks at different stages keep to their rows */
    size_t *row;     /* numbers of the rows, for gather and dropout */
    gd_operand *operand; /* d of each dense stage as the right side of X^T d */
    gd_run **run;    /* of each part two: forward, backward */
} gd_desk;

/* Take a desk's memory for so many rows from the room; its addresses are NULL while that is closed.
 * The runs of the parts are opened by gd_desk_open: false where memory is short. */
void gd_desk_plan(const gd_network *network, bool training, size_t rows, size_t losses,
                  size_t target_bytes, gd_room *room, gd_desk *desk);
bool gd_desk_open(const gd_network *network, gd_desk *desk);
void gd_desk_close(const gd_network *network, gd_desk *desk);

/* Forward for rows [from, from + rows) of the desk; backward likewise, from desk->d of the last
 * stage down to the first stage with parameters. Programs take all rows of the chunk at once. */
gd_run_status gd_network_forward(const gd_weights *weights, const gd_desk *desk, size_t from,
                                 size_t rows);
gd_run_status gd_network_backward(const gd_weights *weights, const gd_desk *desk, size_t from,
                                  size_t rows);

/* The number of the first stage whose input's gradient is wanted. */
size_t gd_network_first_back(const gd_network *network);

/* Rows [from, from + rows) of what a stage reads. */
gd_matrix gd_desk_input(const gd_network *network, const gd_desk *desk, size_t stage, size_t from,
                        size_t rows);
/* The predictions of a chunk. */
void *gd_desk_output(const gd_network *network, const gd_desk *desk);

/* The run of a part for so many rows; NULL where there is none. */
gd_run *gd_desk_run(const gd_network *network, const gd_desk *desk, int64_t stage, size_t rows,
                    bool backward, const gd_part **part);
/* Run it with these arrays in its first slots. */
gd_run_status gd_run_part(gd_run *run, const gd_part *part, const void *const *first,
                          size_t first_count, void *const *outputs);

#endif
