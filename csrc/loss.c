/* loss.c: runs a loss kernel over a batch in blocks of about GD_SUM_BLOCK elements, multiplies by
 * weights and normaliser, and adds the blocks' sums in a fixed order: the same bits for any number
 * of threads. The formulas stand in losses.inc. */
#include "loss.h"

#include <stdatomic.h>
#include <string.h>

#include "reduce.h"
#include "rules.h"
#include "threads.h"

typedef struct {
    gd_loss_job *job;
    bool pointwise;
    size_t block_rows;
    double factor; /* of the gradient: 1 / normaliser */
    double *sums;  /* one per block */
    /* Room for a block's losses and gradient for each thread: a task must not allocate, because
     * Python's allocator may wait for the GIL (tracemalloc), which a forking thread holds. */
    char *scratch;
    size_t slot_bytes, slots;
    atomic_bool taken[GD_MAX_THREADS];
} gd_loss_run;

static const char *row(const void *base, size_t first, size_t bytes)
{
    return base != NULL ? (const char *)base + first * bytes : NULL;
}

/* A slot that no other thread uses: there are as many as threads. */
static size_t take_slot(gd_loss_run *run)
{
    size_t slot = 0;
    while (atomic_exchange(&run->taken[slot], true))
        slot = (slot + 1) % run->slots;
    return slot;
}

/* One block: losses and gradient into scratch where the caller did not ask for them. */
static void loss_task(void *context, size_t block)
{
    gd_loss_run *run = context;
    const gd_loss_job *job = run->job;
    const gd_kernels *kernels = gd_kernels_for(job->real_size);
    const size_t first = block * run->block_rows, left = job->rows - first;
    const size_t rows = left < run->block_rows ? left : run->block_rows;
    const size_t row_bytes = job->width * job->real_size, per_row = run->pointwise ? job->width : 1;
    const size_t target_bytes = gd_target_width(job->loss.id, job->width) *
                                gd_target_size(job->loss.id, job->real_size);
    const void *weights = row(job->weights, first, job->real_size);
    const size_t slot = take_slot(run);
    char *scratch = run->scratch + slot * run->slot_bytes;
    char *losses = (char *)row(job->losses, first, per_row * job->real_size);
    char *dy = (char *)row(job->dy, first, row_bytes);
    dy = dy != NULL ? dy : scratch + (losses != NULL ? 0 : rows * per_row * job->real_size);
    losses = losses != NULL ? losses : scratch;

    kernels->loss[job->loss.id](
        rows, job->width, row(job->target, first, target_bytes), row(job->y, first, row_bytes),
        losses, dy, job->loss.param);
    if (weights != NULL)
        kernels->weigh(rows, per_row, weights, 1, losses);
    if (job->dy != NULL && (weights != NULL || run->factor != 1))
        kernels->weigh(rows, job->width, weights, run->factor, dy);
    run->sums[block] = gd_sum(job->real_size, rows * per_row, losses);
    atomic_store(&run->taken[slot], false);
}

/* The sum of the weights times the losses in a row; 0 means that nothing counts. */
static double normaliser(const gd_loss_job *job, size_t per_row)
{
    const double weight = job->weights != NULL ? gd_sum(job->real_size, job->rows, job->weights)
                                               : (double)job->rows;
    return weight * (double)per_row;
}

size_t gd_target_width(int loss, size_t width)
{
    const gd_kind kind = gd_loss_rows[loss].kind;
    return kind == GD_SPARSE || kind == GD_PAIRED ? 1 : width;
}

size_t gd_target_size(int loss, size_t real_size)
{
    return gd_loss_rows[loss].kind == GD_SPARSE ? sizeof(int64_t) : real_size;
}

bool gd_loss_evaluate(gd_loss_job *job)
{
    gd_loss_run run = {.job = job, .factor = 1};
    run.pointwise = gd_loss_rows[job->loss.id].kind == GD_POINTWISE;
    run.block_rows = job->width > 0 && job->width < GD_SUM_BLOCK ? GD_SUM_BLOCK / job->width : 1;
    const size_t blocks = (job->rows + run.block_rows - 1) / run.block_rows;
    const size_t block = job->rows < run.block_rows ? job->rows : run.block_rows;
    const size_t per_row = run.pointwise ? job->width : 1, threads = gd_threads_get();
    const double count = normaliser(job, per_row);
    const bool mean = job->reduction == GD_MEAN;
    if ((mean && count == 0) || job->width == 0) {
        job->value = 0;
        if (job->dy != NULL)
            memset(job->dy, 0, job->rows * job->width * job->real_size);
        if (job->losses != NULL)
            memset(job->losses, 0, job->rows * per_row * job->real_size);
        return true;
    }
    run.factor = mean ? 1 / count : 1;
    run.slots = blocks < threads ? blocks : threads;
    run.slot_bytes = block * ((job->losses != NULL ? 0 : per_row) +
                              (job->dy != NULL ? 0 : job->width)) * job->real_size;
    run.sums = gd_alloc(blocks, sizeof *run.sums);
    run.scratch = gd_alloc(run.slots, run.slot_bytes);
    const bool enough = run.sums != NULL && run.scratch != NULL;
    if (enough)
        gd_parallel(blocks, threads, loss_task, &run);
    /* By lanes, as any sum: one after the other, the mean of 10^6 doubles was off by 6 ULP. */
    job->value = enough ? gd_sum(sizeof(double), blocks, run.sums) * run.factor : 0;
    gd_free(run.sums);
    gd_free(run.scratch);
    return enough;
}
