/* train.c: the training loop. What is looked at, in order: the caller, loss and gradient (before
 * clipping), the optimizer's step, at the end of an epoch the weights themselves. The last good
 * weights are those of the start of the epoch, or those from where the loss left ten times its
 * lowest value; these stay where the whole epoch did. */
#include "train.h"

#include <math.h>
#include <string.h>

#include "descend.h"
#include "reduce.h"

/* Multiply-adds of a batch from which the clock is read after each: about 5 us. */
static const double LONG_BATCH = 5e4;
enum { SHORT_BATCHES = 16 };

/* ---- Statistics ------------------------------------------------------------------------------ */

static size_t activations_of(const gd_network *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->stage_count; i++)
        count += n->stage[i].kind == GD_STAGE_activation;
    return count;
}

size_t gd_record_width(const gd_network *n)
{
    return 3 * n->param_count + 2 * activations_of(n);
}

size_t gd_fit_bytes(const gd_network *n)
{
    size_t elements = 0;
    for (size_t p = 0; p < n->param_count; p++)
        elements += n->param_size[p];
    for (size_t b = 0; b < n->buffer_count; b++)
        elements += n->buffer_size[b];
    return elements * n->real_size;
}

/* In units of a multiply-add: a record reads and writes the parameters five times, counts units,
 * and makes a call or two for each array; a call of a short loop costs as much as 100 of them. */
size_t gd_fit_often(const gd_network *n, size_t batch)
{
    enum { CALL = 100, TWENTIETH = 20 };
    double record = 0, step = 0;
    for (size_t p = 0; p < n->param_count; p++) {
        record += 5 * (double)n->param_size[p] + 6 * CALL;
        step += 4 * (double)n->param_size[p] + 2 * CALL;
    }
    for (size_t i = 0; i < n->stage_count; i++) {
        record += (double)(batch * n->stage[i].outputs) + CALL;
        step += 4 * CALL;
    }
    step += 3 * gd_network_work(n) * (double)batch / 8;
    return (size_t)(TWENTIETH * record / step) + 1;
}

static void note_before(const gd_fit *fit, double *record)
{
    const gd_network *n = fit->network;
    char *copy = fit->before;
    for (size_t p = 0; p < n->param_count; p++) {
        const size_t bytes = n->param_size[p] * n->real_size;
        record[p] = gd_norm(n->real_size, n->param_size[p], fit->param[p]);
        record[n->param_count + p] = gd_norm(n->real_size, n->param_size[p], fit->grad[p]);
        memcpy(copy, fit->param[p], bytes);
        copy += bytes;
    }
}

/* Norms of the updates, and the fractions of idle units. */
static void note_after(const gd_fit *fit, size_t rows, double *record)
{
    const gd_network *n = fit->network;
    const gd_kernels *kernels = gd_kernels_for(n->real_size);
    char *copy = fit->before;
    for (size_t p = 0; p < n->param_count; p++) {
        const void *const terms[] = {fit->param[p], copy};
        kernels->map[GD_OP_subtract](n->param_size[p], terms, copy, NULL);
        record[2 * n->param_count + p] = gd_norm(n->real_size, n->param_size[p], copy);
        copy += n->param_size[p] * n->real_size;
    }
    const size_t units = activations_of(n);
    double *fraction = record + 3 * n->param_count;
    for (size_t i = 0, k = 0; i < n->stage_count; i++)
        if (n->stage[i].kind == GD_STAGE_activation) {
            const double all = (double)rows * (double)n->stage[i].outputs;
            uint64_t count[2];
            gd_pass_units(fit->pass, i, count);
            fraction[k] = (double)count[0] / all;
            fraction[units + k++] = (double)count[1] / all;
        }
}

/* ---- Good weights ---------------------------------------------------------------------------- */

static void copy_all(const gd_fit *fit, bool back)
{
    const gd_network *n = fit->network;
    char *good = fit->good;
    for (size_t i = 0; i < n->param_count + n->buffer_count; i++) {
        const bool param = i < n->param_count;
        void *array = param ? fit->param[i] : fit->buffer[i - n->param_count];
        const size_t bytes =
            (param ? n->param_size[i] : n->buffer_size[i - n->param_count]) * n->real_size;
        memcpy(back ? array : good, back ? good : array, bytes);
        good += bytes;
    }
}

/* Whether a loss is beyond ten times the lowest one. */
static bool has_left(double lowest, double loss)
{
    return loss > lowest + 9 * fabs(lowest);
}

/* The mean so far: an epoch that ends beyond ten times the lowest of these has left. Single batches
 * do not tell: those of one row are often far below the mean. */
static void note_mean(gd_place *place)
{
    place->mean = place->taken > 0 ? place->total / (double)place->taken : NAN;
    if (place->mean < place->lowest_mean)
        place->lowest_mean = place->mean;
}

/* Keep the weights from which the loss began to leave; a fit that goes on from elsewhere has none
 * of an earlier epoch. */
static void watch_loss(const gd_fit *fit, gd_place *place, double loss)
{
    place->taken++;
    place->total += loss;
    if (loss < place->lowest)
        place->lowest = loss;
    else if (!place->shadowed && has_left(place->lowest, loss)) {
        copy_all(fit, false);
        place->shadowed = true;
        if (isinf(place->lowest_mean)) /* the first epoch may leave as a whole */
            note_mean(place);
    }
}

void gd_fit_restore(const gd_fit *fit)
{
    copy_all(fit, true);
}

/* ---- One batch ------------------------------------------------------------------------------- */

static void begin_epoch(const gd_fit *fit, gd_place *place)
{
    if (fit->shuffle)
        gd_order_start(&place->order, fit->rows, &fit->key, place->epoch, fit->table);
    if (!place->shadowed || !has_left(place->lowest_mean, place->mean)) {
        copy_all(fit, false);
        place->shadowed = false;
    }
    place->begun = place->kept = true;
}

/* The norm of all gradients that are stepped; of all where the caller steps. */
static double gradient_norm(const gd_fit *fit)
{
    const gd_network *n = fit->network;
    double total = 0;
    if (fit->step != NULL)
        return gd_descent_norm(fit->step);
    for (size_t p = 0; p < n->param_count; p++)
        total = gd_add_norm(total, gd_norm(n->real_size, n->param_size[p], fit->grad[p]));
    return total;
}

/* The last array that is not finite, else -1: gradients go backward, so there it began. */
static int64_t not_finite(const gd_network *n, void *const *array)
{
    for (size_t p = n->param_count; p-- > 0;)
        if (!isfinite(gd_norm(n->real_size, n->param_size[p], array[p])))
            return (int64_t)p;
    return -1;
}

static void stop_nonfinite(const gd_fit *fit, gd_training *call, int64_t array)
{
    call->end = GD_TRAIN_NONFINITE;
    call->array = array;
    copy_all(fit, true);
    gd_pass_pack(fit->pass);
}

/* Gradient and loss; false where the call ends here, with nothing changed. */
static bool look(const gd_fit *fit, gd_place *place, gd_training *call, size_t rows, double *weight)
{
    const size_t first = (size_t)place->batch * fit->batch;
    char *seen = call->seen;
    const gd_batch batch = {
        .first = first, .rows = rows, .order = fit->shuffle ? &place->order : NULL,
        .given = call->given, .key = fit->key, .step = place->count,
        .seen = seen != NULL ? seen + call->done * fit->batch * fit->network->outputs *
                                          fit->network->real_size
                             : NULL,
    };
    const bool noted = fit->often > 0 && place->count % fit->often == 0;
    gd_pass_count(fit->pass, noted);
    call->status = gd_pass_gradient(fit->pass, &batch, &call->losses[call->done], weight);
    if (call->status == GD_RUN_DONE) {
        call->norms[call->done] = gradient_norm(fit);
        return true;
    }
    call->end = call->status == GD_RUN_STOPPED ? GD_TRAIN_INTERRUPT : GD_TRAIN_FAILED;
    return false;
}

/* The rate of a step that is not taken; NaN where the caller steps. */
static double next_rate(const gd_fit *fit, const gd_training *call)
{
    if (fit->step == NULL)
        return NAN;
    return call->rates != NULL ? call->rates[2 * call->done * fit->step->group_count]
                               : fit->step->groups[0].hyper[0];
}

/* Move the averages: part of the step, whatever ends the call comes before or after both. Adam on a
 * net 20-32-1, batch 32, float32: 1.8 us a step, 1.9 with it; from Python, batch by batch, 109. */
static void follow(const gd_fit *fit)
{
    const gd_network *n = fit->network;
    gd_followers *average = fit->average;
    for (size_t p = 0; p < n->param_count; p++)
        if (average->begun)
            gd_average(n->real_size, n->param_size[p], fit->param[p], average->array[p],
                       average->share);
        else
            memcpy(average->array[p], fit->param[p], n->param_size[p] * n->real_size);
    average->begun = true;
}

static void take_step(const gd_fit *fit, const gd_place *place, gd_training *call, size_t rows)
{
    const bool noted = fit->often > 0 && place->count % fit->often == 0;
    double *record = call->record + call->records * gd_record_width(fit->network);
    if (noted)
        note_before(fit, record);
    gd_optimizer_set_rates(fit->step, call->rates, call->done, fit->momentum_at);
    fit->step->t++;
    fit->step->loss = call->losses[call->done];
    gd_optimizer_step(fit->step);
    if (fit->average != NULL)
        follow(fit);
    call->lrs[call->done] = fit->step->groups[0].hyper[0];
    gd_pass_pack(fit->pass);
    if (noted) {
        note_after(fit, rows, record);
        call->record_at[call->records++] = (int64_t)place->count;
    }
}

/* The loss of the epoch that ends: NaN where every batch of it was left out. */
static double end_epoch(gd_place *place)
{
    const double loss = place->taken == 0 ? NAN
                        : place->weight > 0 ? place->sum / place->weight : place->sum;
    note_mean(place);
    place->batch = 0;
    place->epoch++;
    place->sum = place->weight = place->total = 0;
    place->taken = 0;
    place->begun = false;
    return loss;
}

/* Go on to the next batch, and with the last one to the next epoch. */
static void advance(const gd_fit *fit, gd_place *place, gd_training *call)
{
    place->count++;
    place->batch++;
    call->done++;
    if (place->batch < fit->batches)
        return;
    call->epoch_loss[call->epochs++] = end_epoch(place);
}

/* Sums of batches add up; the penalty, which is in each of them, is that of the last batch. */
static void add_loss(const gd_fit *fit, gd_place *place, double loss, double weight)
{
    const bool last = place->batch + 1 == fit->batches;
    place->sum += !fit->sums ? loss * weight : last ? loss : loss - gd_pass_penalty(fit->pass);
    place->weight += fit->sums ? 0 : weight;
}

/* One batch; false where the call ends. */
static bool train_batch(const gd_fit *fit, gd_place *place, gd_training *call)
{
    const size_t left = fit->rows - (size_t)place->batch * fit->batch;
    const size_t rows = left < fit->batch ? left : fit->batch;
    double weight;
    if (!place->begun)
        begin_epoch(fit, place);
    if (!look(fit, place, call, rows, &weight))
        return false;
    const double loss = call->losses[call->done], norm = call->norms[call->done];
    const bool finite = isfinite(loss) && isfinite(norm);
    if (!finite && !fit->skip) {
        stop_nonfinite(fit, call, not_finite(fit->network, fit->grad));
        return false;
    }
    if (finite) {
        watch_loss(fit, place, loss);
        add_loss(fit, place, loss, weight);
        if (fit->step != NULL)
            take_step(fit, place, call, rows);
        if (fit->step != NULL || fit->moves)
            gd_pass_move_buffers(fit->pass);
    } else {
        place->skipped++;
        call->lrs[call->done] = next_rate(fit, call);
    }
    const bool last = place->batch + 1 == fit->batches;
    const int64_t bad = last ? not_finite(fit->network, fit->param) : -1;
    if (bad >= 0) {
        stop_nonfinite(fit, call, -2 - bad);
        return false;
    }
    advance(fit, place, call);
    return finite || call->rates == NULL; /* rates ahead are those of steps that are all taken */
}

void gd_train(const gd_fit *fit, gd_place *place, gd_training *call, gd_watch *watch)
{
    const double work = 3 * gd_network_work(fit->network) * (double)fit->batch;
    const size_t often = work < LONG_BATCH ? SHORT_BATCHES : 1;
    call->end = GD_TRAINED;
    call->array = -1;
    while (call->done < call->count) {
        if (!train_batch(fit, place, call))
            return;
        if (call->done % often != 0 || call->done == call->count)
            continue;
        if (gd_watch_says_stop(watch)) {
            call->end = GD_TRAIN_INTERRUPT;
            return;
        }
        if (call->deadline < INFINITY && gd_seconds() >= call->deadline) {
            call->end = GD_TRAIN_DEADLINE;
            return;
        }
    }
}
