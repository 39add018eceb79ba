/* linear.c: dense layers. gd_dense cuts the rows into blocks that stay in L1 between product and
 * activation; gd_dense_grad hands each chunk's d = act'(z) dy to the chunk rule (gradient.c). */
#include "linear.h"

#include <string.h>

#include "gradient.h"
#include "rules.h"
#include "threads.h"

enum {
    BLOCK_BYTES = 16384,   /* of the results of one block of rows */
    INPUT_BYTES = 1 << 18, /* of X's rows that a block reads once for each panel of columns */
    BLOCK_ROWS = 12,       /* a multiple of all tile heights */
    WEIGHT_BYTES = 1 << 18, /* of W from which blocks are taller: each reads all of it again */
    TALL_ROWS = 96,
};

/* ---- Forward -------------------------------------------------------------------------------- */

typedef struct {
    const gd_kernels *kernels;
    size_t real_size;
    const gd_matrix *x;
    gd_operand w;
    const void *bias;
    const gd_function *activation; /* NULL: none */
    void *y, *z;                   /* z may be NULL */
    size_t block, tasks;
    void **columns;                /* one a task, each NULL unless gd_by_columns */
} forward;

/* The rows of one block: few enough for the caches, at least one tile, at most a chunk. */
static size_t rows_of_block(const gd_matrix *x, size_t outputs, size_t real_size, size_t tasks)
{
    const bool tall = (double)x->columns * (double)outputs * (double)real_size > WEIGHT_BYTES;
    const size_t share = (x->rows / (tasks > 0 ? tasks : 1) + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const size_t most = share * BLOCK_ROWS < TALL_ROWS ? share * BLOCK_ROWS : TALL_ROWS;
    const size_t least = tall && most > BLOCK_ROWS ? most : BLOCK_ROWS;
    if (outputs <= GD_NARROW)
        return GD_CHUNK;
    const size_t results = BLOCK_BYTES / real_size / outputs;
    const size_t inputs = INPUT_BYTES / real_size / (x->columns + 1);
    const size_t rows = (results < inputs ? results : inputs) / BLOCK_ROWS * BLOCK_ROWS;
    return rows < least ? least : rows < GD_CHUNK ? rows : GD_CHUNK;
}

static void forward_block(const forward *f, size_t first, size_t rows, void *columns)
{
    gd_matrix part = gd_matrix_rows(f->x, first, rows, f->real_size);
    void *const y = gd_at_out(f->y, first * f->w.columns, f->real_size);
    void *const z = f->z ? gd_at_out(f->z, first * f->w.columns, f->real_size) : y;
    if (columns) {
        f->kernels->linear->columns(&part, columns);
        part = (gd_matrix){columns, rows, part.columns, 1, GD_CHUNK};
    }
    f->kernels->linear->product(&part, &f->w, f->bias, z);
    const gd_function linear = {.id = GD_ACTIVATION_linear};
    const gd_function *const activation = f->activation ? f->activation : &linear;
    f->kernels->activation[activation->id].forward(rows, f->w.columns, z, y, activation->param);
}

/* Task `index`: its share of the blocks. */
static void forward_share(void *context, size_t index)
{
    const forward *const f = context;
    const size_t blocks = f->x->rows / f->block + (f->x->rows % f->block != 0);
    const size_t last = gd_share(blocks, f->tasks, index + 1);
    for (size_t i = gd_share(blocks, f->tasks, index); i < last; i++) {
        const size_t first = i * f->block, left = f->x->rows - first;
        forward_block(f, first, left < f->block ? left : f->block, f->columns[index]);
    }
}

static void plan_forward(forward *f, const void *w, gd_room *room)
{
    const struct gd_linear_kernels *const linear = f->kernels->linear;
    f->w = gd_operand_plan(linear, w, f->x->columns, f->w.columns, room, f->real_size);
    f->columns = gd_room_take(room, f->tasks, sizeof(void *));
    for (size_t i = 0; i < f->tasks; i++) {
        void *const columns = gd_by_columns(f->x, f->w.columns)
                                  ? gd_room_take(room, f->x->columns, GD_CHUNK * f->real_size)
                                  : NULL;
        if (f->columns)
            f->columns[i] = columns;
    }
}

static void run_forward(forward *f)
{
    gd_operand_pack(f->kernels->linear, &f->w, f->x->columns, f->real_size);
    gd_parallel(f->tasks, f->tasks, forward_share, f);
}

/* A product alone. */
static forward product_of(size_t real_size, const gd_matrix *x, size_t outputs, size_t tasks)
{
    return (forward){
        .kernels = gd_kernels_for(real_size), .real_size = real_size, .x = x,
        .w = {.columns = outputs}, .block = rows_of_block(x, outputs, real_size, tasks),
        .tasks = tasks,
    };
}

size_t gd_product_room(size_t real_size, const gd_matrix *x, size_t outputs, size_t tasks)
{
    enum { LINE = 64 };
    forward f = product_of(real_size, x, outputs, tasks);
    gd_room room = {0};
    plan_forward(&f, NULL, &room);
    return room.overflow ? SIZE_MAX : room.used + LINE;
}

void gd_product_in(size_t real_size, const gd_matrix *x, const void *w, size_t outputs, void *y,
                   size_t tasks, void *memory)
{
    enum { LINE = 64 };
    forward f = product_of(real_size, x, outputs, tasks);
    gd_room room = {.base = (char *)memory + (LINE - (uintptr_t)memory % LINE) % LINE};
    f.y = y;
    plan_forward(&f, w, &room);
    run_forward(&f);
}

bool gd_dense(size_t real_size, const gd_matrix *x, const void *w, size_t outputs,
              const void *bias, const gd_function *activation, void *y, void *z)
{
    const size_t tasks = gd_threads_for(x->rows, x->columns, outputs);
    forward f = {
        .kernels = gd_kernels_for(real_size), .real_size = real_size,
        .x = x, .w = {.columns = outputs}, .bias = bias, .activation = activation,
        .y = y, .z = z, .block = rows_of_block(x, outputs, real_size, tasks), .tasks = tasks,
    };
    gd_room room = {0};
    if (outputs == 0)
        return true;
    plan_forward(&f, w, &room);
    if (!gd_room_open(&room))
        return false;
    plan_forward(&f, w, &room);
    run_forward(&f);
    gd_room_close(&room);
    return true;
}

/* ---- Backward ------------------------------------------------------------------------------- */

typedef struct {
    const void *dy, *y, *z;
    const gd_function *activation; /* NULL: d is dy */
    gd_operand w_transposed;
    void *dx;                      /* NULL: not asked */
} backward;

/* d = act'(z) dy and dX = d W^T of some rows; y is found from z where only that is known. */
static void make_d(const gd_gradient *gradient, const gd_chunk *chunk, const gd_matrix *x,
                   size_t first, size_t at)
{
    const backward *const b = gradient->context;
    const size_t m = gradient->outputs, size = gradient->real_size, begin = first * m;
    const void *d = gd_at(b->dy, begin, size);
    if (b->activation) {
        const gd_activation_kernels *const act =
            &gradient->kernels->activation[b->activation->id];
        const void *const z = b->z ? gd_at(b->z, begin, size) : NULL;
        const void *y = b->y ? gd_at(b->y, begin, size) : NULL;
        if (gradient->needs_y) {
            void *const own = gd_at_out(chunk->y, at * m, size);
            act->forward(x->rows, m, z, own, b->activation->param);
            y = own;
        }
        void *const out = gd_at_out(chunk->d, at * m, size);
        act->backward(x->rows, m, d, z, y, out, b->activation->param);
        d = out;
    }
    if (b->dx) {
        const gd_matrix left = {d, x->rows, m, (ptrdiff_t)m, 1};
        gradient->kernels->linear->product(&left, &b->w_transposed, NULL,
                                           gd_at_out(b->dx, first * x->columns, size));
    }
}

bool gd_dense_grad(size_t real_size, const void *dy, const gd_matrix *x, const void *w,
                   size_t outputs, const void *y, const void *z, const gd_function *activation,
                   void *dx, void *dw, void *db)
{
    backward b = {.dy = dy, .y = y, .z = z, .activation = activation, .dx = dx};
    gd_gradient gradient = {
        .kernels = gd_kernels_for(real_size), .real_size = real_size, .x = *x,
        .outputs = outputs, .d = activation ? NULL : dy, .make = make_d, .context = &b,
        .needs_y = activation && !y && !gd_activation_rows[activation->id].reads_z,
        .divisor = 1, .dw = dw, .db = db,
    };
    gd_room room = {0};
    bool done = false;
    if (outputs == 0) { /* rows without outputs may be any number */
        if (dx && x->columns > 0)
            memset(dx, 0, x->rows * x->columns * real_size);
        return true;
    }
    if (dx) {
        gd_operand_transpose(gradient.kernels->linear, w, x->columns, outputs, &room, real_size);
        if (!gd_room_open(&room))
            goto done;
        b.w_transposed =
            gd_operand_transpose(gradient.kernels->linear, w, x->columns, outputs, &room,
                                 real_size);
    }
    done = gd_gradient_run(&gradient);
done:
    gd_room_close(&room);
    return done;
}
