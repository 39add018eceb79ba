/* program_chain.c: runs a chain: blocks of elements go through all its calls while they
 * are in L1, and into its sums. Long chains are shared among threads in whole blocks of the sums,
 * so that neither the blocks nor the threads change a bit. */
#include <string.h>

#include "gradient.h"
#include "program_parts.h"
#include "reduce.h"
#include "rules.h"
#include "threads.h"

/* Elements times calls from which threads pay: a chain of four calls on two cores of a Zen 5 server
 * takes 9 us with one thread at 16,384 elements, and handing it over 3 us. */
enum { CHAIN_THREADED = 64 * 1024 };

size_t gd_step_threads(const gd_step_plan *step, size_t threads)
{
    return step->is_chain && step->work >= CHAIN_THREADED && step->chain.n > GD_SUM_BLOCK ? threads
                                                                                          : 1;
}

/* ---- Loads ----------------------------------------------------------------------------------- */

/* y[i] = x[i stride], elements of 4 or 8 bytes. */
static void copy_row(size_t real_size, size_t n, const char *x, ptrdiff_t stride, char *y)
{
    if (stride == 1) {
        memcpy(y, x, n * real_size);
    } else if (real_size == sizeof(uint32_t)) {
        const uint32_t *from = (const void *)x;
        uint32_t *to = (void *)y;
        for (size_t i = 0; i < n; i++)
            to[i] = from[(ptrdiff_t)i * stride];
    } else {
        const uint64_t *from = (const void *)x;
        uint64_t *to = (void *)y;
        for (size_t i = 0; i < n; i++)
            to[i] = from[(ptrdiff_t)i * stride];
    }
}

/* Elements [from, from + n) of a row of a padded load: zeros but for those within [low, high). */
static void pad_row(const gd_load *load, const char *row, bool inside, size_t from, size_t n,
                    char *y)
{
    const size_t last = load->ndim - 1, size = load->real_size;
    const size_t low = load->low[last] > from ? load->low[last] : from;
    const size_t high = load->high[last] < from + n ? load->high[last] : from + n;
    memset(y, 0, n * size);
    if (inside && low < high)
        copy_row(size, high - low, row + (ptrdiff_t)low * load->stride[last] * (ptrdiff_t)size,
                 load->stride[last], y + (low - from) * size);
}

/* Whether a row, told by the indices of its outer axes, meets the window of a padded load. */
static bool row_is_inside(const gd_load *load, const size_t *index)
{
    for (size_t i = 0; load->padded && i + 1 < load->ndim; i++)
        if (index[i] < load->low[i] || index[i] >= load->high[i])
            return false;
    return true;
}

void gd_load_block(const gd_load *load, const char *base, size_t from, size_t n, void *y)
{
    const size_t last = load->ndim - 1, size = load->real_size;
    size_t index[GD_MAX_AXES] = {0}, rest = from;
    char *to = y;
    base += load->offset * (ptrdiff_t)size;
    if (load->ndim == 0 || load->uniform) {
        copy_row(size, n, base, 0, to);
        return;
    }
    for (size_t i = load->ndim; i-- > 0;) {
        index[i] = rest % load->shape[i];
        rest /= load->shape[i];
    }
    while (n > 0) {
        const size_t left = load->shape[last] - index[last], count = left < n ? left : n;
        ptrdiff_t offset = 0;
        for (size_t i = 0; i < last; i++)
            offset += (ptrdiff_t)index[i] * load->stride[i];
        const char *row = base + offset * (ptrdiff_t)size;
        if (load->padded)
            pad_row(load, row, row_is_inside(load, index), index[last], count, to);
        else
            copy_row(size, count,
                     row + (ptrdiff_t)index[last] * load->stride[last] * (ptrdiff_t)size,
                     load->stride[last], to);
        to += count * size;
        n -= count;
        index[last] = 0;
        for (size_t i = last; i-- > 0 && ++index[i] == load->shape[i];)
            index[i] = 0;
    }
}

void gd_fill_constants(gd_run *run)
{
    const gd_program *program = run->program;
    for (size_t t = 0; t < run->threads; t++)
        for (size_t i = 0; i < program->constant_slots; i++) {
            const gd_node *node = &program->graph.node[program->slot_constant[i]];
            copy_row(node->real_size, program->slot_bytes / node->real_size,
                     run->base[node->buffer], 0, run->slot[t * program->slot_count + i]);
        }
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* Where a block that begins at element `from` stands. */
static inline char *block_at(const gd_run *run, char *const *slot, gd_address address,
                             size_t from, size_t real_size)
{
    return address.in_slot ? slot[address.at]
                           : run->base[address.at] + address.offset + from * real_size;
}

/* Where elements [from, from + n) of a load stand in one piece, or NULL: rows that lie within the
 * window of an embed need no copy (Rosenbrock of 100,000: 10 % less). */
static char *in_one_piece(const gd_load *load, const char *base, size_t from, size_t n)
{
    if (load->ndim != 1 || load->stride[0] != 1 ||
        (load->padded && (from < load->low[0] || from + n > load->high[0])))
        return NULL;
    return (char *)base + (load->offset + (ptrdiff_t)from) * (ptrdiff_t)load->real_size;
}

/* Bring a block of a load into its slot, or let the slot point to where it stands. */
static void bring(const gd_run *run, const gd_load *load, char *slots, char **slot, size_t from,
                  size_t n)
{
    const char *base = run->base[load->buffer];
    char *place = in_one_piece(load, base, from, n);
    if (place == NULL) {
        place = slots + load->slot * run->program->slot_bytes;
        gd_load_block(load, base, from, n, place);
    }
    slot[load->slot] = place;
}

static void call_activation(const gd_call *call, size_t n, const void *const *x, void *y)
{
    const gd_activation_kernels *row =
        &gd_kernels_for(call->real_size)->activation[(size_t)call->param[0]];
    if (call->op == GD_OP_activation)
        row->forward(1, n, x[0], y, call->param + 1);
    else
        row->backward(1, n, x[0], x[1], x[2], y, call->param + 1);
}

static inline void call_block(const gd_run *run, const gd_call *call, char *const *slot,
                              size_t from, size_t n)
{
    const void *x[GD_MAX_MAPPED];
    const size_t operand_size = call->op != GD_OP_cast ? call->real_size : 12 - call->real_size;
    for (size_t k = 0; k < call->operand_count; k++)
        x[k] = block_at(run, slot, call->operand[k], from, operand_size);
    void *y = block_at(run, slot, call->y, from, call->real_size);
    if (call->kernel != NULL)
        call->kernel(n, x, y, call->param);
    else if (call->op == GD_OP_copy)
        memmove(y, x[0], n * call->real_size);
    else
        call_activation(call, n, x, y);
}

/* Add a block of a sum to its lanes; at the end of GD_SUM_BLOCK elements, or of all, join these. */
static void add_block(const gd_run *run, const gd_total *total, char *const *slot, size_t at,
                      size_t n, size_t to, double *lane, double *sum)
{
    const gd_reduce_kernels *reduce = &gd_kernels_for(total->real_size)->reduce;
    const char *x = block_at(run, slot, total->operand, at, total->real_size);
    if (at == 0 && n == to) {
        *sum = reduce->sum(n, x);
        return;
    }
    if (at % GD_SUM_BLOCK == 0)
        memset(lane, 0, GD_LANES * sizeof *lane);
    reduce->sum_lanes(n, x, lane);
    if ((at + n) % GD_SUM_BLOCK == 0 || at + n == to)
        *sum = reduce->add_lanes(lane);
}

/* Elements [from, to) of the chain under way, by thread t; from is a multiple of GD_SUM_BLOCK. */
static void run_range(gd_run *run, size_t from, size_t to, size_t t)
{
    const gd_chain *chain = run->chain;
    const size_t blocks = chain->n / GD_SUM_BLOCK + 1, count = run->program->slot_count;
    char *slots = run->slots + t * count * run->program->slot_bytes, **slot = run->slot + t * count;
    double lane[GD_CHAIN_SUMS][GD_LANES];
    for (size_t at = from, n; at < to; at += n) {
        n = to - at < chain->block ? to - at : chain->block;
        for (size_t i = 0; i < chain->load_count; i++)
            if (at == from || !chain->load[i].uniform)
                bring(run, &chain->load[i], slots, slot, at, n);
        for (size_t i = 0; i < chain->call_count; i++)
            call_block(run, &chain->call[i], slot, at, n);
        for (size_t i = 0; i < chain->total_count; i++)
            add_block(run, &chain->total[i], slot, at, n, to, lane[i],
                      &run->sums[i * blocks + at / GD_SUM_BLOCK]);
    }
    for (size_t i = 0; i < chain->load_count; i++) /* another chain writes to these */
        slot[chain->load[i].slot] = slots + chain->load[i].slot * run->program->slot_bytes;
}

/* ---- The whole chain ------------------------------------------------------------------------- */

enum { TASK = 2 * GD_SUM_BLOCK }; /* elements in the shares of threads */

static size_t share_begin(size_t n, size_t parts, size_t i)
{
    const size_t begin = gd_share(n / TASK + 1, parts, i) * TASK;
    return begin < n ? begin : n;
}

static void run_share(void *context, size_t i)
{
    gd_run *run = context;
    const size_t n = run->chain->n;
    run_range(run, share_begin(n, run->shares, i), share_begin(n, run->shares, i + 1), i);
}

/* The sums of the blocks added up as reduce.c does it. */
static void finish_totals(gd_run *run)
{
    const gd_chain *chain = run->chain;
    const size_t blocks = chain->n / GD_SUM_BLOCK + 1;
    const size_t used = (chain->n + GD_SUM_BLOCK - 1) / GD_SUM_BLOCK;
    for (size_t i = 0; i < chain->total_count; i++) {
        const gd_total *total = &chain->total[i];
        const double sum = gd_add_blocks(used, run->sums + i * blocks);
        void *y = run->base[total->y.at];
        if (total->real_size == sizeof(float))
            *(float *)y = (float)sum;
        else
            *(double *)y = sum;
    }
}

void gd_run_chain(gd_run *run, const gd_step_plan *step)
{
    const gd_chain *chain = run->chain = &step->chain;
    run->shares = gd_step_threads(step, run->threads);
    if (run->shares > 1 && chain->n > TASK)
        gd_parallel(run->shares, run->shares, run_share, run);
    else if (chain->n > 0)
        run_range(run, 0, chain->n, 0);
    finish_totals(run);
}
