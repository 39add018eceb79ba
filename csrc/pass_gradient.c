/* pass_gradient.c: loss and gradient of a batch. A batch is cut into pieces of GD_CHUNK rows: piece
 * i is added, in order, to slice i mod S in double, and a fixed tree adds the slices. With several
 * slices threads take slices; with one, threads share first the rows of a piece, then the outputs
 * of its products. What looks at all rows at once goes through the stages whole, and is added piece
 * by piece all the same. */
#include <string.h>

#include "pass_parts.h"
#include "threads.h"

/* Multiply-adds between two looks at the caller: 5 ms or so of a slow core. */
static const double ROUND_WORK = 2e7;

static size_t piece_rows(const gd_pass *pass, size_t piece)
{
    const size_t left = pass->batch.rows - piece * GD_CHUNK;
    return left < GD_CHUNK ? left : GD_CHUNK;
}

/* ---- One chunk: forward, loss, backward ------------------------------------------------------ */

static void count_units(const gd_pass *pass, const gd_desk *desk, size_t from, size_t rows,
                        uint64_t *count)
{
    const gd_network *n = pass->settings.network;
    for (size_t i = 0; i < n->stage_count; i++) {
        const gd_stage *s = &n->stage[i];
        if (s->kind == GD_STAGE_activation)
            pass->weights.kernels->layer.count_units(
                rows * s->outputs, gd_at(desk->y[i], from * s->outputs, n->real_size),
                s->number[0], s->number[1], count + 2 * i);
    }
}

/* Rows [from, from + rows) of the chunk that begins at `first`, for the task of that number. */
static gd_run_status make_rows(const gd_pass *pass, const gd_desk *desk, size_t first, size_t from,
                               size_t rows, size_t task)
{
    const gd_network *n = pass->settings.network;
    const size_t row_bytes = n->outputs * n->real_size;
    gd_run_status status = gd_pass_fetch(pass, desk, first, from, rows);
    if (status == GD_RUN_DONE)
        status = gd_network_forward(&pass->weights, desk, from, rows);
    if (status == GD_RUN_DONE && pass->counting)
        count_units(pass, desk, from, rows, pass->count + 2 * n->stage_count * task);
    if (status == GD_RUN_DONE && pass->batch.seen != NULL)
        gd_pass_show(pass, desk, from, rows,
                     (char *)pass->batch.seen + (first + from) * row_bytes);
    if (status == GD_RUN_DONE)
        status = gd_pass_losses(pass, desk, from, rows,
                                (char *)desk->d[n->stage_count - 1] + from * row_bytes);
    return status == GD_RUN_DONE ? gd_network_backward(&pass->weights, desk, from, rows) : status;
}

/* The parts of d that the products read from a copy. */
static void pack_d(const gd_pass *pass, const gd_desk *desk, size_t rows)
{
    const gd_network *n = pass->settings.network;
    for (size_t i = 0; i < n->stage_count; i++)
        if (n->stage[i].kind == GD_STAGE_dense && n->stage[i].outputs > GD_NARROW)
            gd_operand_pack(pass->weights.kernels->linear, &desk->operand[i], rows, n->real_size);
}

/* ---- One piece: sums over its rows ----------------------------------------------------------- */

/* Rows of a piece on a desk, and what of their sums a task adds. */
typedef struct {
    const gd_pass *pass;
    const gd_desk *desk;
    size_t row, rows;  /* on the desk */
    size_t part, parts; /* of the products; part 0 adds everything else too */
    double *slice;
    bool direct;       /* the only piece: wide products are the result */
    void *block;
} adding;

static void add_dense(const adding *a, size_t i)
{
    const gd_pass *pass = a->pass;
    const gd_stage *s = &pass->settings.network->stage[i];
    const size_t size = pass->settings.network->real_size, m = s->outputs;
    const struct gd_linear_kernels *linear = pass->weights.kernels->linear;
    const void *d = gd_at(a->desk->d[i], a->row * m, size);
    const gd_matrix x = gd_desk_input(pass->settings.network, a->desk, i, a->row, a->rows);
    const gd_products products = {linear, m, size, a->slice + pass->offset[s->param[0]], a->block,
                                  a->direct ? pass->settings.grad[s->param[0]] : NULL};
    gd_operand operand = a->desk->operand[i];
    operand.data = d;
    if (operand.tail != NULL)
        operand.tail = gd_at_out(operand.tail, a->row * operand.tail_stride, size);
    gd_add_product(&products, &x, &operand, gd_share(s->inputs, a->parts, a->part),
                   gd_share(s->inputs, a->parts, a->part + 1));
    if (a->part == 0 && s->param_count > 1)
        linear->column_sums(a->rows, m, d, a->slice + pass->offset[s->param[1]]);
}

static void add_norm(const adding *a, size_t i)
{
    const gd_pass *pass = a->pass;
    const gd_stage *s = &pass->settings.network->stage[i];
    const gd_kernels *kernels = pass->weights.kernels;
    const size_t size = pass->settings.network->real_size, m = s->outputs;
    const void *d = gd_at(a->desk->d[i], a->row * m, size);
    const void *x = gd_desk_input(pass->settings.network, a->desk, i, a->row, a->rows).data;
    void *terms = gd_at_out(a->desk->terms, a->row * a->desk->terms_width, size);
    if (s->kind == GD_STAGE_layer_norm)
        kernels->layer.layer_norm_terms(a->rows, m, d, x,
                                      gd_at(a->desk->extra[i], 2 * a->row, size), terms);
    else
        kernels->layer.column_norm_terms(a->rows, m, d, x, a->desk->extra[i], terms);
    kernels->linear->column_sums(a->rows, m, terms, a->slice + pass->offset[s->param[0]]);
    kernels->linear->column_sums(a->rows, m, d, a->slice + pass->offset[s->param[1]]);
}

static void add_piece(const adding *a)
{
    const gd_network *n = a->pass->settings.network;
    for (size_t i = 0; i < n->stage_count; i++) {
        if (n->stage[i].kind == GD_STAGE_dense)
            add_dense(a, i);
        else if (n->stage[i].param_count > 0 && a->part == 0)
            add_norm(a, i);
    }
}

/* ---- All pieces ------------------------------------------------------------------------------ */

/* Task `index`: the pieces of this round that belong to its share of the slices. */
static void run_slices(void *context, size_t index)
{
    gd_pass *pass = context;
    gd_desk *desk = &pass->desk[pass->whole ? 0 : index];
    const size_t from = gd_share(pass->slices, pass->tasks, index);
    const size_t to = gd_share(pass->slices, pass->tasks, index + 1);
    for (size_t base = pass->base; base < pass->end; base += pass->slices)
        for (size_t s = from; s < to && base + s < pass->end; s++) {
            const size_t piece = base + s, first = piece * GD_CHUNK;
            const adding a = {
                pass, desk, pass->whole ? first : 0, piece_rows(pass, piece), 0, 1,
                pass->sums + s * pass->slice_size, pass->pieces == 1, pass->block[index],
            };
            if (!pass->whole) {
                gd_pass_seat(pass, desk, first, a.rows);
                const gd_run_status status = make_rows(pass, desk, first, 0, a.rows, index);
                if (status != GD_RUN_DONE)
                    pass->status[index] = status;
                a.slice[0] += gd_pass_sum_losses(pass, desk, a.rows);
                pack_d(pass, desk, a.rows);
            }
            add_piece(&a);
        }
}

/* Task `index` of a piece that all share: its share of the rows. */
static void run_row_share(void *context, size_t index)
{
    gd_pass *pass = context;
    const size_t rows = piece_rows(pass, pass->piece);
    const size_t from = gd_share(rows, pass->tasks, index);
    const gd_run_status status =
        make_rows(pass, pass->desk, pass->piece * GD_CHUNK, from,
                  gd_share(rows, pass->tasks, index + 1) - from, index);
    if (status != GD_RUN_DONE)
        pass->status[index] = status;
}

/* Task `index` of such a piece: its share of the products. */
static void run_output_share(void *context, size_t index)
{
    gd_pass *pass = context;
    const adding a = {
        pass, pass->desk, pass->whole ? pass->piece * GD_CHUNK : 0, piece_rows(pass, pass->piece),
        index, pass->tasks, pass->sums, pass->pieces == 1, pass->block[index],
    };
    add_piece(&a);
}

static void run_shared_piece(gd_pass *pass)
{
    const size_t rows = piece_rows(pass, pass->piece), tasks = pass->tasks;
    if (!pass->whole) {
        gd_pass_seat(pass, pass->desk, pass->piece * GD_CHUNK, rows);
        pass->tasks = pass->by_chunks ? 1 : tasks;
        gd_parallel(pass->tasks, pass->tasks, run_row_share, pass);
        pass->tasks = tasks;
        pass->sums[0] += gd_pass_sum_losses(pass, pass->desk, rows);
        pack_d(pass, pass->desk, rows);
    }
    gd_parallel(tasks, tasks, run_output_share, pass);
}

/* What goes through the stages all together. */
static gd_run_status run_whole(gd_pass *pass)
{
    const size_t rows = pass->batch.rows;
    gd_pass_seat(pass, pass->desk, 0, rows);
    const gd_run_status status = make_rows(pass, pass->desk, 0, 0, rows, 0);
    if (status == GD_RUN_DONE) {
        pass->sums[0] += gd_pass_sum_losses(pass, pass->desk, rows);
        pack_d(pass, pass->desk, rows);
    }
    return status;
}

/* All pieces, round by round, with a look at the caller between rounds. */
static gd_run_status run_pieces(gd_pass *pass)
{
    const double piece = pass->work * GD_CHUNK * (double)pass->slices;
    const size_t rounds = piece > 0 && piece < ROUND_WORK ? (size_t)(ROUND_WORK / piece) : 1;
    const size_t step = pass->slices * (rounds > 0 ? rounds : 1);
    for (pass->base = 0; pass->base < pass->pieces; pass->base = pass->end) {
        pass->end = pass->pieces - pass->base < step ? pass->pieces : pass->base + step;
        if (pass->slices > 1 || pass->tasks == 1)
            gd_parallel(pass->tasks, pass->tasks, run_slices, pass);
        else
            for (pass->piece = pass->base; pass->piece < pass->end; pass->piece++)
                run_shared_piece(pass);
        for (size_t i = 0; i < pass->tasks; i++)
            if (pass->status[i] != GD_RUN_DONE)
                return pass->status[i];
        if (pass->end < pass->pieces && gd_watch_says_stop(pass->settings.watch))
            return GD_RUN_STOPPED;
    }
    return GD_RUN_DONE;
}

static void finish(const gd_pass *pass)
{
    const gd_network *n = pass->settings.network;
    const bool direct = pass->pieces == 1;
    gd_add_slices(pass->sums, pass->slice_size, pass->slices);
    for (size_t p = 0; p < n->param_count; p++)
        if (!direct || !pass->wide[p])
            pass->weights.kernels->linear->quotient(n->param_size[p], pass->sums + pass->offset[p],
                                                    1, pass->settings.grad[p]);
}

/* ---- A batch --------------------------------------------------------------------------------- */

/* *total: the sum of the weights of the batch. */
static gd_run_status weigh_batch(const gd_pass *pass, double *total)
{
    const double *weights = pass->settings.data->weights;
    const size_t first = pass->batch.first, rows = pass->batch.rows;
    size_t row[GD_CHUNK];
    *total = weights != NULL ? 0 : (double)rows;
    for (size_t r = 0; weights != NULL && r < rows; r += GD_CHUNK) {
        const size_t count = rows - r < GD_CHUNK ? rows - r : GD_CHUNK;
        gd_pass_number(pass, first + r, count, row);
        for (size_t i = 0; i < count; i++)
            *total += weights[row[i]];
        if (r + count < rows && gd_watch_says_stop(pass->settings.watch))
            return GD_RUN_STOPPED;
    }
    return GD_RUN_DONE;
}

static void plan_batch(gd_pass *pass, double weight)
{
    const gd_objective *o = pass->settings.objective;
    const double count = o->own ? weight : weight * (double)o->losses;
    const gd_batch *batch = &pass->batch;
    pass->weights.key = batch->key;
    pass->weights.step = batch->step;
    pass->factor = o->sum || (o->own && o->scalar) ? 1 : count != 0 ? 1 / count : 0;
    pass->pieces = (batch->rows + GD_CHUNK - 1) / GD_CHUNK;
    pass->slices = gd_slices_for(pass->pieces, pass->slice_size);
    const size_t threads =
        pass->threads > 1 ? gd_threads_for(batch->rows, (size_t)pass->work, 1) : 1;
    pass->tasks = threads < pass->threads ? threads : pass->threads;
    if (pass->slices > 1 && pass->tasks > pass->slices)
        pass->tasks = pass->slices;
    if (pass->slices > 1 && !pass->whole && pass->tasks > pass->desks)
        pass->tasks = pass->desks;
    const size_t used = pass->pieces == 1 ? pass->small_size : pass->slice_size;
    for (size_t s = 0; s < pass->slices; s++)
        memset(pass->sums + s * pass->slice_size, 0, used * sizeof(double));
    for (size_t i = 0; i < pass->threads; i++)
        pass->status[i] = GD_RUN_DONE;
}

gd_run_status gd_pass_gradient(gd_pass *pass, const gd_batch *batch, double *loss, double *weight)
{
    const gd_network *n = pass->settings.network;
    const gd_objective *o = pass->settings.objective;
    pass->batch = *batch;
    gd_run_status status = weigh_batch(pass, weight);
    if (status != GD_RUN_DONE)
        return status;
    plan_batch(pass, *weight);
    if (pass->whole)
        status = run_whole(pass);
    if (status == GD_RUN_DONE)
        status = run_pieces(pass);
    if (status != GD_RUN_DONE)
        return status;
    finish(pass);
    *loss = pass->sums[0] * (o->own ? 1 : pass->factor);
    if (o->penalty != NULL) {
        pass->penalty = gd_penalty(n, pass->settings.param, o->penalty);
        *loss += pass->penalty;
        for (size_t p = 0; p < n->param_count; p++)
            if (o->penalty[2 * p] != 0 || o->penalty[2 * p + 1] != 0)
                pass->weights.kernels->layer.penalise(n->param_size[p], pass->settings.param[p],
                                                      o->penalty[2 * p], o->penalty[2 * p + 1],
                                                      pass->settings.grad[p]);
    }
    return GD_RUN_DONE;
}

double gd_pass_penalty(const gd_pass *pass)
{
    return pass->penalty;
}

void gd_pass_count(gd_pass *pass, bool counting)
{
    const size_t counts = 2 * pass->settings.network->stage_count;
    pass->counting = counting;
    if (counting)
        memset(pass->count, 0, pass->threads * counts * sizeof *pass->count);
}

void gd_pass_units(const gd_pass *pass, size_t stage, uint64_t count[2])
{
    const size_t counts = 2 * pass->settings.network->stage_count;
    count[0] = count[1] = 0;
    for (size_t i = 0; i < pass->threads; i++)
        for (size_t k = 0; k < 2; k++)
            count[k] += pass->count[i * counts + 2 * stage + k];
}

void gd_pass_move_buffers(const gd_pass *pass)
{
    const gd_network *n = pass->settings.network;
    for (size_t i = 0; i < n->stage_count; i++) {
        const gd_stage *s = &n->stage[i];
        if (s->kind != GD_STAGE_batch_norm)
            continue;
        const double *fresh = (double *)pass->desk->extra[i] + 2 * s->outputs;
        const double keep = s->number[1];
        for (size_t k = 0; k < 2; k++) {
            float *narrow = pass->settings.buffer[s->partner + k];
            double *wide = pass->settings.buffer[s->partner + k];
            for (size_t j = 0; j < s->outputs; j++, fresh++)
                if (n->real_size == sizeof(float))
                    narrow[j] = (float)(keep * (double)narrow[j] + (1 - keep) * *fresh);
                else
                    wide[j] = keep * wide[j] + (1 - keep) * *fresh;
        }
    }
}
