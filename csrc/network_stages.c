/* network_stages.c: each kind of stage, forward and backward, for some rows of a desk. Products and
 * elementwise stages give the same bits however the rows are shared out. */
#include <math.h>
#include <string.h>

#include "network.h"
#include "rules.h"

/* Rows from `from` on of an array with so many columns. */
static void *rows_at(const gd_weights *w, void *data, size_t from, size_t columns)
{
    return (char *)data + from * columns * w->network->real_size;
}

/* ---- Forward --------------------------------------------------------------------------------- */

gd_matrix gd_desk_input(const gd_network *n, const gd_desk *desk, size_t i, size_t from,
                        size_t rows)
{
    const size_t columns = n->stage[i].inputs;
    if (i == 0)
        return gd_matrix_rows(&desk->input, from, rows, n->real_size);
    return (gd_matrix){gd_at(desk->y[i - 1], from * columns, n->real_size), rows, columns,
                       (ptrdiff_t)columns, 1};
}

static void drop(const gd_weights *w, const gd_desk *desk, size_t i, const void *x, size_t from,
                 size_t rows)
{
    const gd_stage *s = &w->network->stage[i];
    const size_t n = s->outputs;
    const double rate = s->number[0];
    const uint32_t threshold = (uint32_t)(rate * 4294967296.0);
    void *mask = rows_at(w, desk->extra[i], from, n), *y = rows_at(w, desk->y[i], from, n);
    uint32_t *bits = desk->bits + from * desk->bits_width;
    for (size_t r = 0; r < rows; r++)
        gd_random_bits(&w->key, GD_FOR_DROPOUT, w->step, i, desk->row[from + r], n, bits + r * n);
    w->kernels->layer.dropout_mask(rows * n, bits, threshold, 1 / (1 - rate), mask);
    const void *const factors[] = {x, mask};
    w->kernels->map[GD_OP_multiply](rows * n, factors, y, NULL);
}

/* Of batch_norm: chunks of all rows, between two of which the caller is looked at. */
typedef struct {
    const gd_weights *weights;
    const gd_desk *desk;
    const gd_stage *stage;
    size_t rows;
    const void *x, *dy, *stats;
    void *out; /* y or dx */
    double *sums;
} columns;

typedef void columns_fn(const columns *c, size_t from, size_t rows);

static gd_run_status by_chunks(const columns *c, columns_fn *run)
{
    for (size_t r = 0; r < c->rows; r += GD_CHUNK) {
        run(c, r, c->rows - r < GD_CHUNK ? c->rows - r : GD_CHUNK);
        if (gd_watch_says_stop(c->weights->watch))
            return GD_RUN_STOPPED;
    }
    return GD_RUN_DONE;
}

static void add_columns(const columns *c, const void *x, size_t from, size_t rows)
{
    const size_t n = c->stage->outputs;
    c->weights->kernels->linear->column_sums(
        rows, n, gd_at(x, from * n, c->weights->network->real_size), c->sums);
}

static void add_x(const columns *c, size_t from, size_t rows)
{
    add_columns(c, c->x, from, rows);
}

static void add_dy(const columns *c, size_t from, size_t rows)
{
    add_columns(c, c->dy, from, rows);
}

/* The squares of x - mean, or dy (x - mean) rstd. */
static void add_terms(const columns *c, size_t from, size_t rows)
{
    const gd_weights *w = c->weights;
    const size_t at = from * c->stage->outputs, size = w->network->real_size;
    w->kernels->layer.column_norm_terms(rows, c->stage->outputs,
                                        c->dy != NULL ? gd_at(c->dy, at, size) : NULL,
                                        gd_at(c->x, at, size), c->stats, c->desk->terms);
    w->kernels->linear->column_sums(rows, c->stage->outputs, c->desk->terms, c->sums);
}

/* sums = the means over all rows of what `add` adds. */
static gd_run_status mean_columns(columns c, columns_fn *add, double *sums)
{
    memset(sums, 0, c.stage->outputs * sizeof *sums);
    c.sums = sums;
    const gd_run_status status = by_chunks(&c, add);
    for (size_t j = 0; j < c.stage->outputs; j++)
        sums[j] /= (double)c.rows;
    return status;
}

static void normalise(const columns *c, size_t from, size_t rows)
{
    const gd_weights *w = c->weights;
    const size_t n = c->stage->outputs, size = w->network->real_size;
    w->kernels->layer.column_norm(rows, n, gd_at(c->x, from * n, size), c->stats,
                                  w->param[c->stage->param[0]], w->param[c->stage->param[1]],
                                  gd_at_out(c->out, from * n, size));
}

/* Means over the rows of the columns of x, and with them mean and variance of a batch. */
static gd_run_status measure_columns(const columns *c)
{
    const size_t n = c->stage->outputs;
    double *mean = (double *)c->stats + 2 * n, *variance = mean + n;
    gd_run_status status = mean_columns(*c, add_x, mean);
    c->weights->kernels->linear->quotient(n, mean, 1, (void *)c->stats);
    if (status == GD_RUN_DONE)
        status = mean_columns(*c, add_terms, variance);
    return status;
}

/* stats = mean and 1 / sqrt(variance + epsilon), from the batch or from the moving ones. */
static gd_run_status normalise_columns(const gd_weights *w, const gd_desk *desk, size_t i,
                                       const void *x, size_t from, size_t rows)
{
    const gd_stage *s = &w->network->stage[i];
    const size_t n = s->outputs, size = w->network->real_size;
    void *stats = desk->extra[i];
    double *rstd = (double *)stats + 4 * n;
    const double *variance = (double *)stats + 3 * n;
    const float *moving_f = w->buffer[s->partner + 1];
    const double *moving_d = w->buffer[s->partner + 1];
    const columns c = {.weights = w, .desk = desk, .stage = s, .rows = rows, .x = x,
                       .stats = stats, .out = rows_at(w, desk->y[i], from, n)};
    gd_run_status status = GD_RUN_DONE;
    if (w->training)
        status = measure_columns(&c);
    else
        memcpy(stats, w->buffer[s->partner], n * size);
    for (size_t j = 0; j < n; j++) {
        const double v = w->training ? variance[j]
                         : size == sizeof(float) ? (double)moving_f[j] : moving_d[j];
        rstd[j] = 1 / sqrt(v + s->number[0]);
    }
    w->kernels->linear->quotient(n, rstd, 1, rows_at(w, stats, n, 1));
    return status == GD_RUN_DONE ? by_chunks(&c, normalise) : status;
}

static gd_run_status run_function(const gd_weights *w, const gd_desk *desk, size_t i,
                                  const void *x, const void *dy, size_t rows, void *out)
{
    const gd_part *part = NULL;
    gd_run *run = gd_desk_run(w->network, desk, (int64_t)i, rows, dy != NULL, &part);
    const void *const first[] = {x, dy};
    return run != NULL ? gd_run_part(run, part, first, dy != NULL ? 2 : 1, &out)
                       : GD_RUN_NO_MEMORY;
}

static gd_run_status forward(const gd_weights *w, const gd_desk *desk, size_t i, size_t from,
                             size_t rows)
{
    const gd_stage *s = &w->network->stage[i];
    const gd_matrix x = gd_desk_input(w->network, desk, i, from, rows);
    const size_t n = s->outputs;
    void *y = rows_at(w, desk->y[i], from, n);
    switch (s->kind) {
    case GD_STAGE_dense:
        w->kernels->linear->product(&x, &w->packed[i].w,
                                    s->param_count > 1 ? w->param[s->param[1]] : NULL, y);
        break;
    case GD_STAGE_activation:
        w->kernels->activation[s->activation.id].forward(rows, n, x.data, y,
                                                         s->activation.param);
        break;
    case GD_STAGE_dropout:
        if (w->training)
            drop(w, desk, i, x.data, from, rows);
        break;
    case GD_STAGE_layer_norm:
        w->kernels->layer.layer_norm(rows, n, x.data, w->param[s->param[0]], w->param[s->param[1]],
                                   s->number[0], y, rows_at(w, desk->extra[i], from, 2));
        break;
    case GD_STAGE_batch_norm: return normalise_columns(w, desk, i, x.data, from, rows);
    case GD_STAGE_join: {
        const void *fork = rows_at(w, desk->y[s->partner], from, n);
        const void *const terms[] = {x.data, fork};
        w->kernels->map[GD_OP_add](rows * n, terms, y, NULL);
        break;
    }
    case GD_STAGE_function: return run_function(w, desk, i, x.data, NULL, rows, y);
    case GD_STAGE_fork:
    case GD_STAGES: break;
    }
    return GD_RUN_DONE;
}

typedef gd_run_status stage_fn(const gd_weights *w, const gd_desk *desk, size_t i, size_t from,
                               size_t rows);

/* A stage for some rows; where these may be many, chunk by chunk with looks at the caller, but for
 * stages that look at all of them. */
static gd_run_status run_stage(const gd_weights *w, const gd_desk *desk, size_t i, size_t from,
                               size_t rows, stage_fn *run)
{
    const gd_stage_kind kind = w->network->stage[i].kind;
    gd_run_status status = GD_RUN_DONE;
    if (w->watch == NULL || kind == GD_STAGE_batch_norm || kind == GD_STAGE_function)
        return run(w, desk, i, from, rows);
    for (size_t r = 0; r < rows && status == GD_RUN_DONE; r += GD_CHUNK) {
        status = run(w, desk, i, from + r, rows - r < GD_CHUNK ? rows - r : GD_CHUNK);
        if (gd_watch_says_stop(w->watch))
            status = GD_RUN_STOPPED;
    }
    return status;
}

gd_run_status gd_network_forward(const gd_weights *w, const gd_desk *desk, size_t from,
                                 size_t rows)
{
    gd_run_status status = GD_RUN_DONE;
    for (size_t i = 0; i < w->network->stage_count && status == GD_RUN_DONE; i++)
        status = run_stage(w, desk, i, from, rows, forward);
    return status;
}

/* ---- Backward -------------------------------------------------------------------------------- */

static void normalise_back(const columns *c, size_t from, size_t rows)
{
    const gd_weights *w = c->weights;
    const size_t n = c->stage->outputs, size = w->network->real_size, at = from * n;
    w->kernels->layer.column_norm_grad(rows, n, gd_at(c->dy, at, size), gd_at(c->x, at, size),
                                       c->stats, w->param[c->stage->param[0]], c->sums,
                                       c->sums + n, gd_at_out(c->out, at, size));
}

/* The gradients of scale and shift are wanted for the gradient of x itself. */
static gd_run_status column_norm_back(const gd_weights *w, const gd_desk *desk, size_t i,
                                      const void *x, const void *dy, size_t rows, void *dx)
{
    const gd_stage *s = &w->network->stage[i];
    double *first = (double *)desk->extra[i] + 4 * s->outputs, *second = first + s->outputs;
    const columns c = {.weights = w, .desk = desk, .stage = s, .rows = rows, .x = x, .dy = dy,
                       .stats = desk->extra[i], .out = dx, .sums = first};
    gd_run_status status = mean_columns(c, add_dy, first);
    if (status == GD_RUN_DONE)
        status = mean_columns(c, add_terms, second);
    return status == GD_RUN_DONE ? by_chunks(&c, normalise_back) : status;
}

/* d[i - 1] from d[i]. */
static gd_run_status backward(const gd_weights *w, const gd_desk *desk, size_t i, size_t from,
                              size_t rows)
{
    const gd_stage *s = &w->network->stage[i];
    const size_t n = s->outputs;
    const void *x = gd_desk_input(w->network, desk, i, from, rows).data;
    void *dy = rows_at(w, desk->d[i], from, n), *dx = rows_at(w, desk->d[i - 1], from, s->inputs);
    const gd_matrix d = {dy, rows, n, (ptrdiff_t)n, 1};
    const void *const with_mask[] = {dy, s->kind == GD_STAGE_dropout
                                             ? rows_at(w, desk->extra[i], from, n)
                                             : NULL};
    switch (s->kind) {
    case GD_STAGE_dense:
        w->kernels->linear->product(&d, &w->packed[i].transposed, NULL, dx);
        break;
    case GD_STAGE_activation:
        w->kernels->activation[s->activation.id].backward(
            rows, n, dy, x, rows_at(w, desk->y[i], from, n), dx, s->activation.param);
        break;
    case GD_STAGE_dropout: w->kernels->map[GD_OP_multiply](rows * n, with_mask, dx, NULL); break;
    case GD_STAGE_layer_norm:
        w->kernels->layer.layer_norm_back(rows, n, dy, x, rows_at(w, desk->extra[i], from, 2),
                                        w->param[s->param[0]],
                                        rows_at(w, desk->terms, from, desk->terms_width), dx);
        break;
    case GD_STAGE_batch_norm: return column_norm_back(w, desk, i, x, dy, rows, dx);
    case GD_STAGE_fork: {
        const void *const terms[] = {dy, rows_at(w, desk->d[s->partner], from, n)};
        w->kernels->map[GD_OP_add](rows * n, terms, dx, NULL);
        break;
    }
    case GD_STAGE_join: memcpy(dx, dy, rows * n * w->network->real_size); break;
    case GD_STAGE_function: return run_function(w, desk, i, x, dy, rows, dx);
    case GD_STAGES: break;
    }
    return GD_RUN_DONE;
}

gd_run_status gd_network_backward(const gd_weights *w, const gd_desk *desk, size_t from,
                                  size_t rows)
{
    const size_t first = gd_network_first_back(w->network);
    gd_run_status status = GD_RUN_DONE;
    for (size_t i = w->network->stage_count; i-- > first && status == GD_RUN_DONE;)
        status = run_stage(w, desk, i, from, rows, backward);
    return status;
}
