/* pass_evaluate.c: predictions and losses without gradients, chunk by chunk; the losses of the
 * chunks are added in order, whoever computed them. */
#include "pass_parts.h"
#include "reduce.h"
#include "threads.h"

/* Chunks between two looks at the caller, and their multiply-adds: 3 ms or so of a fast core. */
enum { ROUND = 64 };
static const double ROUND_WORK = 4e8;

static size_t chunks_of_round(const gd_pass *pass)
{
    const double fit = ROUND_WORK / (pass->work * (double)pass->chunk + 1);
    const size_t chunks = fit < ROUND ? (size_t)fit : ROUND;
    return chunks < pass->tasks ? pass->tasks : chunks;
}

/* The weights of the rows on a desk, added in order. */
static double sum_weights(const gd_pass *pass, const gd_desk *desk, size_t rows)
{
    const double *weights = pass->settings.data->weights;
    double total = 0;
    if (weights == NULL)
        return (double)rows;
    for (size_t i = 0; i < rows; i++)
        total += weights[desk->row[i]];
    return total;
}

static void evaluate_chunk(gd_pass *pass, size_t chunk, size_t task)
{
    const gd_network *n = pass->settings.network;
    gd_desk *desk = &pass->desk[task];
    const size_t first = chunk * pass->chunk, left = pass->batch.rows - first;
    const size_t rows = left < pass->chunk ? left : pass->chunk;
    gd_pass_seat(pass, desk, first, rows);
    gd_run_status status = gd_pass_fetch(pass, desk, first, 0, rows);
    if (status == GD_RUN_DONE)
        status = gd_network_forward(&pass->weights, desk, 0, rows);
    if (status == GD_RUN_DONE && pass->settings.objective != NULL)
        status = gd_pass_losses(pass, desk, 0, rows, desk->terms);
    if (status != GD_RUN_DONE) {
        pass->status[task] = status;
        return;
    }
    if (pass->settings.objective != NULL) {
        pass->chunk_loss[chunk] = gd_pass_sum_losses(pass, desk, rows);
        pass->chunk_weight[chunk] = sum_weights(pass, desk, rows);
    }
    if (pass->out != NULL) {
        char *out = pass->out + first * n->outputs * n->real_size;
        const gd_function linear = {.id = GD_ACTIVATION_linear};
        if (pass->seen)
            gd_pass_show(pass, desk, 0, rows, out);
        else
            pass->weights.kernels->activation[linear.id].forward(
                rows, n->outputs, gd_desk_output(n, desk), out, linear.param);
    }
}

/* Task `index`: its share of the chunks of this round. */
static void run_share(void *context, size_t index)
{
    gd_pass *pass = context;
    const size_t count = pass->end - pass->base;
    const size_t to = pass->base + gd_share(count, pass->tasks, index + 1);
    for (size_t i = pass->base + gd_share(count, pass->tasks, index); i < to; i++)
        evaluate_chunk(pass, i, index);
}

gd_run_status gd_pass_evaluate(gd_pass *pass, size_t first, size_t rows, void *out, bool seen,
                               double *loss)
{
    const gd_objective *o = pass->settings.objective;
    const size_t chunks = (rows + pass->chunk - 1) / pass->chunk;
    pass->batch = (gd_batch){.first = first, .rows = rows};
    pass->out = out;
    pass->seen = seen;
    pass->factor = 1;
    pass->tasks = pass->threads < pass->desks ? pass->threads : pass->desks;
    const size_t round = chunks_of_round(pass);
    for (size_t i = 0; i < pass->threads; i++)
        pass->status[i] = GD_RUN_DONE;
    for (pass->base = 0; pass->base < chunks; pass->base = pass->end) {
        pass->end = chunks - pass->base < round ? chunks : pass->base + round;
        gd_parallel(pass->tasks, pass->tasks, run_share, pass);
        for (size_t i = 0; i < pass->tasks; i++)
            if (pass->status[i] != GD_RUN_DONE)
                return pass->status[i];
        if (pass->end < chunks && gd_watch_says_stop(pass->settings.watch))
            return GD_RUN_STOPPED;
    }
    if (o == NULL)
        return GD_RUN_DONE;
    const double count = gd_sum(sizeof(double), chunks, pass->chunk_weight) *
                         (o->own ? 1.0 : (double)o->losses);
    *loss = gd_sum(sizeof(double), chunks, pass->chunk_loss);
    if (!o->sum && !(o->own && o->scalar))
        *loss = count != 0 ? *loss / count : 0;
    *loss += gd_penalty(pass->settings.network, pass->settings.param, o->penalty);
    return GD_RUN_DONE;
}
