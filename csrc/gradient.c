/* gradient.c: X^T d, sums over rows and the sum of losses by the chunk rule, d made chunk by chunk
 * by the caller's function. With several slices threads take slices; with one, all threads work
 * on the same chunk, first on shares of its rows, then on shares of the output. */
#include "gradient.h"

#include <string.h>

#include "threads.h"

enum {
    PAYING_WORK = 1 << 20,   /* multiply-adds that a second thread needs to pay */
    ROW_WORK = 64,           /* what a row costs beside them */
};

/* ---- Scratch memory ------------------------------------------------------------------------- */

void *gd_room_take(gd_room *room, size_t count, size_t size)
{
    enum { LINE = 64 };
    size_t bytes;
    void *const place = room->base ? room->base + room->used : NULL;
    room->overflow |= __builtin_mul_overflow(count, size, &bytes) ||
                      __builtin_add_overflow(bytes, LINE - 1, &bytes) ||
                      __builtin_add_overflow(room->used, bytes / LINE * LINE, &room->used);
    return place;
}

bool gd_room_open(gd_room *room)
{
    enum { LINE = 64 };
    const size_t bytes = room->used;
    if (room->overflow || bytes > SIZE_MAX - LINE)
        return false;
    room->memory = gd_alloc(bytes + LINE, 1);
    if (!room->memory)
        return false;
    room->base = (char *)room->memory + (LINE - (uintptr_t)room->memory % LINE);
    room->used = 0;
    return true;
}

void gd_room_close(gd_room *room)
{
    gd_free(room->memory);
}

/* ---- Parts of arrays ------------------------------------------------------------------------ */

gd_matrix gd_matrix_rows(const gd_matrix *x, size_t first, size_t rows, size_t real_size)
{
    gd_matrix part = *x;
    part.rows = rows;
    part.data = (const char *)x->data + (ptrdiff_t)first * x->row_stride * (ptrdiff_t)real_size;
    return part;
}

bool gd_by_columns(const gd_matrix *x, size_t outputs)
{
    return outputs <= GD_NARROW && x->row_stride != 1 &&
           (x->columns <= GD_COLUMNS || x->column_stride != 1);
}

gd_operand gd_operand_plan(const struct gd_linear_kernels *linear, const void *w, size_t rows,
                           size_t columns, gd_room *room, size_t real_size)
{
    const size_t rest = columns % linear->lanes;
    void *const tail = rest ? gd_room_take(room, rows, linear->lanes * real_size) : NULL;
    return (gd_operand){w, tail, columns, columns, linear->lanes};
}

void gd_operand_pack(const struct gd_linear_kernels *linear, const gd_operand *operand,
                     size_t rows, size_t real_size)
{
    const size_t whole = operand->columns - operand->columns % linear->lanes;
    const gd_matrix rest = {gd_at(operand->data, whole, real_size), rows,
                            operand->columns - whole, (ptrdiff_t)operand->row_stride, 1};
    if (rest.columns > 0)
        linear->pack(&rest, 0, operand->tail, operand->tail_stride);
}

gd_operand gd_operand_transpose(const struct gd_linear_kernels *linear, const void *w,
                                size_t inputs, size_t outputs, gd_room *room, size_t real_size)
{
    const size_t whole = inputs - inputs % linear->lanes;
    const size_t stride = inputs == whole ? inputs : whole + linear->lanes;
    const gd_matrix source = {w, outputs, inputs, 1, (ptrdiff_t)outputs};
    void *const packed = gd_room_take(room, outputs, stride * real_size);
    if (!packed)
        return (gd_operand){0};
    linear->pack(&source, 0, packed, stride);
    return (gd_operand){packed, gd_at_out(packed, whole, real_size), inputs, stride, stride};
}

size_t gd_threads_for(size_t rows, size_t inputs, size_t outputs)
{
    const double work = (double)rows * ((double)inputs * (double)outputs + ROW_WORK);
    const size_t threads = gd_threads_get();
    return work < PAYING_WORK ? 1 : threads;
}

size_t gd_share(size_t n, size_t parts, size_t i)
{
    return n / parts * i + (i < n % parts ? i : n % parts);
}

/* ---- Sums over chunks ----------------------------------------------------------------------- */

size_t gd_slices_for(size_t chunks, size_t sums)
{
    const size_t slices = chunks < GD_MAX_SLICES ? chunks : GD_MAX_SLICES;
    return slices == 0 || sums > GD_SLICE_BYTES / sizeof(double) / slices ? 1 : slices;
}

void gd_add_slices(double *sums, size_t slice_size, size_t slices)
{
    for (size_t h = GD_MAX_SLICES / 2; h > 0; h /= 2)
        for (size_t s = 0; s < h && s + h < slices; s++)
            for (size_t i = 0; i < slice_size; i++)
                sums[s * slice_size + i] += sums[(s + h) * slice_size + i];
}

/* Columns [from, to) of x as rows. */
static gd_matrix transposed_part(const gd_matrix *x, size_t from, size_t to, size_t real_size)
{
    const ptrdiff_t offset = (ptrdiff_t)from * x->column_stride * (ptrdiff_t)real_size;
    return (gd_matrix){(const char *)x->data + offset, to - from, x->rows, x->column_stride,
                       x->row_stride};
}

static void add_blocks(const gd_products *p, const gd_matrix *x, const gd_operand *d, size_t from,
                       size_t to)
{
    const size_t m = p->outputs, fit = GD_PRODUCT_BLOCK / m / GD_PRODUCT_ROWS * GD_PRODUCT_ROWS;
    const size_t step = fit > 0 ? fit : GD_PRODUCT_ROWS;
    for (size_t j = from; j < to; j += step) {
        const size_t end = to - j < step ? to : j + step;
        const gd_matrix left = transposed_part(x, j, end, p->real_size);
        p->linear->product(&left, d, NULL, p->block);
        p->linear->add((end - j) * m, p->block, p->sums + j * m);
    }
}

void gd_add_product(const gd_products *p, const gd_matrix *x, const gd_operand *d, size_t from,
                    size_t to)
{
    const size_t m = p->outputs;
    if (to == from)
        return;
    const gd_matrix left = transposed_part(x, from, to, p->real_size);
    if (m <= GD_NARROW) {
        const gd_matrix part = {left.data, x->rows, to - from, x->row_stride, x->column_stride};
        p->linear->narrow_grad(&part, d->data, m, p->sums + from * m);
    } else if (p->result != NULL)
        p->linear->product(&left, d, NULL, gd_at_out(p->result, from * m, p->real_size));
    else
        add_blocks(p, x, d, from, to);
}

/* ---- One chunk ------------------------------------------------------------------------------ */

/* The layout of a slice: the loss, db, dW. */
enum { SLICE_LOSS = 0, SLICE_BIAS = 1 };

/* What all tasks of a call share. */
typedef struct {
    const gd_gradient *gradient;
    const struct gd_linear_kernels *linear;
    size_t chunks, slices, slice_size;
    bool direct;     /* one chunk, whose X^T d is the result: it skips the slice */
    size_t tasks;
    double *sums;    /* slices x slice_size */
    gd_chunk *chunk; /* one a task */
    size_t first;    /* row of the chunk that all tasks share */
} gd_run;

static size_t chunk_rows(const gd_run *run, size_t first)
{
    const size_t left = run->gradient->x.rows - first;
    return left < GD_CHUNK ? left : GD_CHUNK;
}

/* Rows [from, to) of the chunk that begins at `first`: columns of X, d, losses. */
static void make_rows(const gd_run *run, const gd_chunk *chunk, size_t first, size_t from,
                      size_t to)
{
    const gd_gradient *const g = run->gradient;
    gd_matrix part = gd_matrix_rows(&g->x, first + from, to - from, g->real_size);
    if (chunk->columns) {
        void *const columns = gd_at_out(chunk->columns, from, g->real_size);
        run->linear->columns(&part, columns);
        part = (gd_matrix){columns, part.rows, part.columns, 1, GD_CHUNK};
    }
    if (g->make)
        g->make(g, chunk, &part, first + from, from);
}

static void add_losses(const gd_run *run, const gd_chunk *chunk, size_t rows, double *sum)
{
    const gd_gradient *const g = run->gradient;
    const size_t n = rows * g->losses;
    for (size_t i = 0; i < n; i += GD_SUM_BLOCK)
        *sum += g->kernels->reduce.sum(n - i < GD_SUM_BLOCK ? n - i : GD_SUM_BLOCK,
                                       gd_at(chunk->loss, i, g->real_size));
}

/* Add rows [from, to) of the chunk's X^T d to a slice, and with them, if asked, db and losses. */
static void add_chunk(const gd_run *run, const gd_chunk *chunk, size_t first, size_t from,
                      size_t to, bool all, double *slice)
{
    const gd_gradient *const g = run->gradient;
    const size_t rows = chunk_rows(run, first);
    const void *const d = g->d ? gd_at(g->d, first * g->outputs, g->real_size) : chunk->d;
    gd_matrix x = gd_matrix_rows(&g->x, first, rows, g->real_size);
    gd_operand operand = chunk->d_operand;
    operand.data = d;
    if (chunk->columns)
        x = (gd_matrix){chunk->columns, rows, x.columns, 1, GD_CHUNK};
    const gd_products products = {run->linear, g->outputs, g->real_size,
                                  slice + SLICE_BIAS + g->outputs, chunk->block,
                                  run->direct ? g->dw : NULL};
    gd_add_product(&products, &x, &operand, from, to);
    if (all) {
        run->linear->column_sums(rows, g->outputs, d, slice + SLICE_BIAS);
        add_losses(run, chunk, rows, slice + SLICE_LOSS);
    }
}

static void pack_d(const gd_run *run, const gd_chunk *chunk, size_t first)
{
    const gd_gradient *const g = run->gradient;
    gd_operand operand = chunk->d_operand;
    operand.data = g->d ? gd_at(g->d, first * g->outputs, g->real_size) : chunk->d;
    if (g->outputs > GD_NARROW)
        gd_operand_pack(run->linear, &operand, chunk_rows(run, first), g->real_size);
}

/* The chunk in one go, where the caller's function can do that. */
static bool whole_chunk(const gd_run *run, size_t first, double *slice)
{
    const gd_gradient *const g = run->gradient;
    if (!g->whole)
        return false;
    const gd_matrix x = gd_matrix_rows(&g->x, first, chunk_rows(run, first), g->real_size);
    return g->whole(g, &x, first, slice);
}

/* ---- All chunks ----------------------------------------------------------------------------- */

/* Task `index`: all chunks of its share of the slices. */
static void run_slices(void *context, size_t index)
{
    const gd_run *const run = context;
    const gd_chunk *const chunk = &run->chunk[index];
    const size_t from = gd_share(run->slices, run->tasks, index);
    const size_t to = gd_share(run->slices, run->tasks, index + 1);
    memset(run->sums + from * run->slice_size, 0,
           (to - from) * run->slice_size * sizeof(double));
    for (size_t base = 0; base < run->chunks; base += run->slices)
        for (size_t s = from; s < to && base + s < run->chunks; s++) {
            const size_t first = (base + s) * GD_CHUNK;
            double *const slice = run->sums + s * run->slice_size;
            if (whole_chunk(run, first, slice))
                continue;
            make_rows(run, chunk, first, 0, chunk_rows(run, first));
            pack_d(run, chunk, first);
            add_chunk(run, chunk, first, 0, run->gradient->x.columns, true, slice);
        }
}

/* Task `index` of one chunk in one slice: its share of the rows. */
static void run_row_share(void *context, size_t index)
{
    const gd_run *const run = context;
    const size_t rows = chunk_rows(run, run->first);
    make_rows(run, &run->chunk[index], run->first, gd_share(rows, run->tasks, index),
              gd_share(rows, run->tasks, index + 1));
}

/* Task `index` of one chunk in one slice: its share of X^T d. */
static void run_output_share(void *context, size_t index)
{
    const gd_run *const run = context;
    const size_t inputs = run->gradient->x.columns;
    add_chunk(run, &run->chunk[index], run->first, gd_share(inputs, run->tasks, index),
              gd_share(inputs, run->tasks, index + 1), index == 0, run->sums);
}

static void run_one_slice(gd_run *run)
{
    memset(run->sums, 0, run->slice_size * sizeof(double));
    for (size_t i = 0; i < run->chunks; i++) {
        run->first = i * GD_CHUNK;
        gd_parallel(run->tasks, run->tasks, run_row_share, run);
        pack_d(run, run->chunk, run->first);
        gd_parallel(run->tasks, run->tasks, run_output_share, run);
    }
}

static void finish(const gd_run *run)
{
    const gd_gradient *const g = run->gradient;
    gd_add_slices(run->sums, run->slice_size, run->slices);
    const double *const sums = run->sums;
    if (g->value)
        *g->value = sums[SLICE_LOSS] / g->divisor;
    run->linear->quotient(g->outputs, sums + SLICE_BIAS, g->divisor, g->db);
    if (!run->direct)
        run->linear->quotient(g->x.columns * g->outputs, sums + SLICE_BIAS + g->outputs,
                              g->divisor, g->dw);
}

/* ---- The call ------------------------------------------------------------------------------- */

/* What one task needs of a chunk; while the room is closed, its size. */
static gd_chunk plan_chunk(const gd_run *run, gd_room *room)
{
    const gd_gradient *const g = run->gradient;
    const size_t outputs = g->outputs, size = g->real_size;
    const size_t rows = g->x.rows < GD_CHUNK ? g->x.rows : GD_CHUNK;
    gd_chunk chunk = {0};
    if (gd_by_columns(&g->x, outputs))
        chunk.columns = gd_room_take(room, g->x.columns, GD_CHUNK * size);
    if (!g->d)
        chunk.d = gd_room_take(room, outputs, rows * size);
    if (g->needs_y)
        chunk.y = gd_room_take(room, outputs, rows * size);
    if (g->losses > 0)
        chunk.loss = gd_room_take(room, g->losses, rows * size);
    if (outputs > GD_NARROW)
        chunk.d_operand = gd_operand_plan(run->linear, NULL, rows, outputs, room, size);
    return chunk;
}

/* Everything that a call holds; while the room is closed, its size. */
static void plan(gd_run *run, gd_room *room)
{
    const gd_gradient *const g = run->gradient;
    const size_t block_rows = GD_PRODUCT_ROWS + GD_PRODUCT_BLOCK / (g->outputs + 1);
    gd_chunk shared;
    run->sums = gd_room_take(room, run->slices, run->slice_size * sizeof(double));
    run->chunk = gd_room_take(room, run->tasks, sizeof(gd_chunk));
    for (size_t i = 0; i < run->tasks; i++) {
        gd_chunk chunk = i == 0 || run->slices > 1 ? plan_chunk(run, room) : shared;
        if (i == 0)
            shared = chunk;
        if (!run->direct)
            chunk.block = gd_room_take(room, g->outputs, block_rows * g->real_size);
        if (run->chunk)
            run->chunk[i] = chunk;
    }
}

/* Chunks, slices and tasks; false where a size overflows. */
static bool measure(gd_run *run)
{
    const gd_gradient *const g = run->gradient;
    size_t params, bytes;
    if (__builtin_mul_overflow(g->x.columns, g->outputs, &params) ||
        __builtin_add_overflow(params, g->outputs, &params) ||
        __builtin_mul_overflow(params, 2 * sizeof(double), &bytes))
        return false;
    run->chunks = g->x.rows / GD_CHUNK + (g->x.rows % GD_CHUNK != 0);
    run->slices = gd_slices_for(run->chunks, params);
    run->direct = run->chunks == 1 && g->outputs > GD_NARROW && g->divisor == 1;
    run->slice_size = SLICE_BIAS + (run->direct ? g->outputs : params);
    run->tasks = gd_threads_for(g->x.rows, g->x.columns, g->outputs);
    if (run->slices > 1 && run->tasks > run->slices)
        run->tasks = run->slices;
    return true;
}

bool gd_gradient_run(const gd_gradient *gradient)
{
    gd_run run = {.gradient = gradient, .linear = gradient->kernels->linear};
    gd_room room = {0};
    if (!measure(&run))
        return false;
    plan(&run, &room);
    if (!gd_room_open(&room))
        return false;
    plan(&run, &room);
    if (run.slices > 1 || run.tasks == 1)
        gd_parallel(run.tasks, run.tasks, run_slices, &run);
    else
        run_one_slice(&run);
    finish(&run);
    gd_room_close(&room);
    return true;
}
