/* program_loops.c: runs the steps that are no chains: reductions, moves of elements, rows of the
 * activations and losses, matrix products. Each writes its result in C order. */
#include <string.h>

#include "gradient.h"
#include "program_parts.h"
#include "reduce.h"
#include "rules.h"
#include "threads.h"

char *gd_address_of(const gd_run *run, const gd_node *node)
{
    const gd_node *root = &run->program->graph.node[node->view.root];
    return run->base[root->buffer] + node->view.offset * (ptrdiff_t)node->real_size;
}

static const gd_node *operand_of(const gd_run *run, const gd_node *node, size_t k)
{
    return &run->program->graph.node[node->operand[k]];
}

/* The next index in C order; false after the last. */
static bool advance(size_t ndim, const size_t *shape, size_t *index)
{
    for (size_t i = ndim; i-- > 0;) {
        if (++index[i] < shape[i])
            return true;
        index[i] = 0;
    }
    return false;
}

static ptrdiff_t offset_of(size_t ndim, const size_t *index, const ptrdiff_t *stride)
{
    ptrdiff_t offset = 0;
    for (size_t i = 0; i < ndim; i++)
        offset += (ptrdiff_t)index[i] * stride[i];
    return offset;
}

/* ---- Reductions ------------------------------------------------------------------------------ */

/* The axes that go and those that stay, of an operand. */
typedef struct {
    gd_load gone; /* one sequence that is reduced, as a load from its first element */
    size_t length, blocks;
    size_t ndim, shape[GD_MAX_AXES]; /* what stays */
    ptrdiff_t stride[GD_MAX_AXES];
} reduction;

static reduction plan_reduction(const gd_node *node, const gd_node *of)
{
    reduction r = {.gone = {.real_size = node->real_size}, .length = 1};
    size_t next = 0;
    for (size_t axis = 0; axis < of->ndim; axis++) {
        if (next < node->param_count && (size_t)node->param[next] == axis) {
            r.gone.shape[r.gone.ndim] = of->shape[axis];
            r.gone.stride[r.gone.ndim++] = of->view.stride[axis];
            r.length *= of->shape[axis];
            next++;
        } else {
            r.shape[r.ndim] = of->shape[axis];
            r.stride[r.ndim++] = of->view.stride[axis];
        }
    }
    gd_collapse(&r.gone);
    r.blocks = (r.length + GD_SUM_BLOCK - 1) / GD_SUM_BLOCK;
    return r;
}

/* A block of elements in one piece, reduced. */
static double reduce_block(const gd_node *node, size_t n, const void *x)
{
    const gd_reduce_kernels *reduce = &gd_kernels_for(node->real_size)->reduce;
    switch (node->op) {
    case GD_OP_sum: return reduce->sum(n, x);
    case GD_OP_prod: return reduce->product(n, x);
    case GD_OP_max: return reduce->top(n, x);
    default: return reduce->bottom(n, x);
    }
}

/* The results of the blocks of one sequence, reduced to one number. */
static double join_blocks(const gd_node *node, size_t blocks, const double *result)
{
    const gd_reduce_kernels *reduce = &gd_kernels_for(sizeof(double))->reduce;
    switch (node->op) {
    case GD_OP_sum: return gd_add_blocks(blocks, result);
    case GD_OP_prod: return reduce->product(blocks, result);
    case GD_OP_max: return reduce->top(blocks, result);
    default: return reduce->bottom(blocks, result);
    }
}

static void store_real(size_t real_size, double value, char *y)
{
    const float narrow = (float)value;
    memcpy(y, real_size == sizeof narrow ? (const void *)&narrow : (const void *)&value,
           real_size);
}

/* One sequence, which starts at x. */
static double reduce_sequence(const gd_run *run, const gd_node *node, const reduction *r,
                              const char *x)
{
    double *results = (double *)(void *)run->scratch;
    char *block = run->scratch + r->blocks * sizeof *results;
    const bool in_place = r->gone.ndim == 0 || (r->gone.ndim == 1 && r->gone.stride[0] == 1);
    if (in_place && node->op == GD_OP_sum)
        return gd_sum(node->real_size, r->length, x);
    for (size_t i = 0; i < r->blocks; i++) {
        const size_t from = i * GD_SUM_BLOCK, left = r->length - from;
        const size_t n = left < GD_SUM_BLOCK ? left : GD_SUM_BLOCK;
        if (!in_place)
            gd_load_block(&r->gone, x, from, n, block);
        results[i] = reduce_block(node, n, in_place ? x + from * node->real_size : block);
    }
    return join_blocks(node, r->blocks, results);
}

/* Sums of columns that stand side by side, a tile of them at a time. */
static void sum_columns(const gd_run *run, const gd_node *node, const reduction *r, const char *x,
                        char *y)
{
    const gd_reduce_kernels *reduce = &gd_kernels_for(node->real_size)->reduce;
    const size_t columns = r->shape[r->ndim - 1], size = node->real_size;
    double *results = (double *)(void *)run->scratch, sums[GD_UNIT_TILE];
    for (size_t j = 0; j < columns; j += GD_UNIT_TILE) {
        const size_t count = columns - j < GD_UNIT_TILE ? columns - j : GD_UNIT_TILE;
        for (size_t i = 0; i < r->blocks; i++) {
            const size_t from = i * GD_SUM_BLOCK, left = r->length - from;
            const ptrdiff_t row = (ptrdiff_t)from * r->gone.stride[0] + (ptrdiff_t)j;
            memset(sums, 0, sizeof sums);
            reduce->sum_columns(left < GD_SUM_BLOCK ? left : GD_SUM_BLOCK, count,
                                x + row * (ptrdiff_t)size, (size_t)r->gone.stride[0], sums);
            for (size_t k = 0; k < count; k++)
                results[k * r->blocks + i] = sums[k];
        }
        for (size_t k = 0; k < count; k++)
            store_real(size, gd_add_blocks(r->blocks, results + k * r->blocks),
                       y + (j + k) * size);
    }
}

static bool has_columns(const gd_node *node, const reduction *r)
{
    return node->op == GD_OP_sum && r->ndim > 0 && r->stride[r->ndim - 1] == 1 &&
           r->shape[r->ndim - 1] > 1 && r->gone.ndim == 1 && r->gone.stride[0] >= 0;
}

static void run_reduce(const gd_run *run, const gd_node *node)
{
    const gd_node *of = operand_of(run, node, 0);
    const reduction r = plan_reduction(node, of);
    const char *x = gd_address_of(run, of);
    char *y = gd_address_of(run, node);
    const bool columns = has_columns(node, &r);
    const size_t outer = columns ? r.ndim - 1 : r.ndim, width = columns ? r.shape[outer] : 1;
    size_t index[GD_MAX_AXES] = {0};
    if (node->size == 0)
        return;
    do {
        const char *at = x + offset_of(outer, index, r.stride) * (ptrdiff_t)node->real_size;
        if (columns)
            sum_columns(run, node, &r, at, y);
        else
            store_real(node->real_size, reduce_sequence(run, node, &r, at), y);
        y += width * node->real_size;
    } while (advance(outer, r.shape, index));
}

/* ---- Moves ----------------------------------------------------------------------------------- */

void gd_copy_strided(size_t real_size, size_t ndim, const size_t *shape, const void *x,
                     const ptrdiff_t *x_stride, void *y, const ptrdiff_t *y_stride)
{
    size_t index[GD_MAX_AXES] = {0};
    const size_t outer = ndim > 0 ? ndim - 1 : 0, n = ndim > 0 ? shape[outer] : 1;
    for (size_t i = 0; i < ndim; i++)
        if (shape[i] == 0)
            return;
    const ptrdiff_t size = (ptrdiff_t)real_size;
    const ptrdiff_t from = ndim > 0 ? x_stride[outer] : 1, to = ndim > 0 ? y_stride[outer] : 1;
    do {
        const char *row = (const char *)x + offset_of(outer, index, x_stride) * size;
        char *place = (char *)y + offset_of(outer, index, y_stride) * size;
        if (from == 1 && to == 1)
            memcpy(place, row, n * real_size);
        for (size_t i = 0; (from != 1 || to != 1) && i < n; i++)
            memcpy(place + (ptrdiff_t)i * to * size, row + (ptrdiff_t)i * from * size, real_size);
    } while (advance(outer, shape, index));
}

static void run_embed(const gd_run *run, const gd_node *node)
{
    const gd_node *of = operand_of(run, node, 0);
    char *y = gd_address_of(run, node);
    ptrdiff_t stride[GD_MAX_AXES] = {0}, start = 0;
    memset(y, 0, node->size * node->real_size);
    for (size_t i = 0; i < node->ndim && of->size > 0; i++) {
        start += (ptrdiff_t)node->param[i] * node->view.stride[i];
        if (of->shape[i] > 1)
            stride[i] = (ptrdiff_t)node->param[node->ndim + i] * node->view.stride[i];
    }
    gd_copy_strided(node->real_size, node->ndim, of->shape, gd_address_of(run, of),
                    of->view.stride, y + start * (ptrdiff_t)node->real_size, stride);
}

static void run_concatenate(const gd_run *run, const gd_node *node)
{
    const size_t axis = (size_t)node->param[0];
    char *y = gd_address_of(run, node);
    for (size_t k = 0; k < node->operand_count; k++) {
        const gd_node *of = operand_of(run, node, k);
        gd_copy_strided(node->real_size, node->ndim, of->shape, gd_address_of(run, of),
                        of->view.stride, y, node->view.stride);
        y += of->shape[axis] * (size_t)node->view.stride[axis] * node->real_size;
    }
}

/* Positions copied to `room`, so that a thread that writes to the caller's array meanwhile cannot
 * change them after the look; NULL where one is not within [0, length). */
static const int64_t *read_indices(const gd_run *run, const gd_node *indices, size_t length,
                                   char *room)
{
    int64_t *index = (void *)room;
    memcpy(index, gd_address_of(run, indices), indices->size * sizeof *index);
    for (size_t i = 0; i < indices->size; i++)
        if (index[i] < 0 || (uint64_t)index[i] >= length)
            return NULL;
    return index;
}

/* y[o][i][...] = x[o][index[i]][...], or with `back` y[o][index[i]][...] += x[o][i][...]. */
static gd_run_status run_gather(const gd_run *run, const gd_node *node, bool back)
{
    const gd_kernels *kernels = gd_kernels_for(node->real_size);
    const gd_node *of = operand_of(run, node, 0), *indices = operand_of(run, node, 1);
    const size_t axis = (size_t)node->param[0], count = indices->size;
    const size_t length = back ? node->shape[axis] : of->shape[axis];
    const int64_t *index = read_indices(run, indices, length, run->scratch);
    size_t outer = 1, inner = node->real_size;
    if (index == NULL)
        return GD_RUN_BAD_INDEX;
    if (node->size == 0)
        return GD_RUN_DONE;
    for (size_t i = 0; i < node->ndim; i++)
        *(i < axis ? &outer : &inner) *= i != axis ? node->shape[i] : 1;
    const char *x = gd_address_of(run, of);
    char *y = gd_address_of(run, node);
    if (back)
        memset(y, 0, node->size * node->real_size);
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < count; i++) {
            const size_t far = (o * length + (size_t)index[i]) * inner;
            const size_t near = (o * count + i) * inner;
            const void *const terms[] = {y + far, x + near};
            if (back)
                kernels->map[GD_OP_add](inner / node->real_size, terms, y + far, NULL);
            else
                memcpy(y + near, x + far, inner);
        }
    return GD_RUN_DONE;
}

/* ---- Rows of the activations and losses ------------------------------------------------------ */

static size_t whole_lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void rows_of(const gd_node *node, size_t *rows, size_t *width)
{
    *width = node->ndim > 0 ? node->shape[node->ndim - 1] : 1;
    *rows = *width > 0 ? node->size / *width : 0;
}

static void run_activation(const gd_run *run, const gd_node *node)
{
    const gd_activation_kernels *row =
        &gd_kernels_for(node->real_size)->activation[(size_t)node->param[0]];
    const void *x[GD_MAX_MAPPED];
    size_t rows, width;
    rows_of(node, &rows, &width);
    for (size_t k = 0; k < node->operand_count; k++)
        x[k] = gd_address_of(run, operand_of(run, node, k));
    if (node->op == GD_OP_activation)
        row->forward(rows, width, x[0], gd_address_of(run, node), node->param + 1);
    else
        row->backward(rows, width, x[0], x[1], x[2], gd_address_of(run, node), node->param + 1);
}

static gd_run_status run_loss(const gd_run *run, const gd_node *node)
{
    const gd_node *target = operand_of(run, node, 0), *pred = operand_of(run, node, 1);
    const size_t row = (size_t)node->param[0];
    const void *t = gd_address_of(run, target);
    char *y = gd_address_of(run, node);
    size_t rows, width;
    rows_of(pred, &rows, &width);
    if (gd_loss_rows[row].kind == GD_SPARSE)
        t = read_indices(run, target, width,
                         run->scratch + whole_lines(pred->size * node->real_size));
    if (t == NULL)
        return GD_RUN_BAD_INDEX;
    const bool grad = node->op == GD_OP_loss_grad;
    gd_kernels_for(node->real_size)
        ->loss[row](rows, width, t, gd_address_of(run, pred), grad ? run->scratch : y,
                    grad ? y : run->scratch, node->param + 1);
    return GD_RUN_DONE;
}

/* ---- Matrix products ------------------------------------------------------------------------- */

/* A matrix of the last two axes. */
static gd_matrix matrix_of(const gd_node *node, const char *data)
{
    const size_t n = node->ndim;
    gd_matrix matrix = {data, node->shape[n - 2], node->shape[n - 1], node->view.stride[n - 2],
                        node->view.stride[n - 1]};
    if (matrix.columns <= 1)
        matrix.column_stride = 1;
    if (matrix.rows <= 1)
        matrix.row_stride = (ptrdiff_t)matrix.columns;
    return matrix;
}

static bool lies_in_order(const gd_matrix *m)
{
    return m->column_stride == 1 && m->row_stride == (ptrdiff_t)m->columns;
}

/* Bytes of b in C order, where it does not lie so. */
static size_t packed_bytes(const gd_matrix *b, size_t real_size)
{
    return lies_in_order(b) ? 0 : whole_lines(b->rows * b->columns * real_size);
}

/* y = a b of one pair of matrices. Long products follow the chunk rule (gradient.c), which takes
 * memory of its own. */
static gd_run_status run_product(const gd_run *run, size_t size, size_t tasks, const gd_matrix *a,
                                 gd_matrix b, void *y)
{
    const gd_kernels *kernels = gd_kernels_for(size);
    char *room = run->scratch + packed_bytes(&b, size);
    if (!lies_in_order(&b)) {
        kernels->linear->pack(&b, 0, run->scratch, b.columns);
        b.data = run->scratch;
    }
    if (a->columns <= GD_SUM_BLOCK) {
        const size_t threads = gd_threads_get();
        gd_product_in(size, a, b.data, b.columns, y, tasks < threads ? tasks : threads, room);
        return GD_RUN_DONE;
    }
    const gd_gradient gradient = {
        .kernels = kernels, .real_size = size, .outputs = b.columns, .d = b.data, .divisor = 1,
        .x = {a->data, a->columns, a->rows, a->column_stride, a->row_stride},
        .dw = y, .db = room,
    };
    return gd_gradient_run(&gradient) ? GD_RUN_DONE : GD_RUN_NO_MEMORY;
}

static gd_run_status run_matmul(const gd_run *run, const gd_node *node, size_t tasks)
{
    const gd_node *a = operand_of(run, node, 0), *b = operand_of(run, node, 1);
    const size_t outer = node->ndim - 2, size = node->real_size;
    const size_t bytes = node->shape[outer] * node->shape[outer + 1] * size;
    const char *a_data = gd_address_of(run, a), *b_data = gd_address_of(run, b);
    char *y = gd_address_of(run, node);
    size_t index[GD_MAX_AXES] = {0};
    gd_run_status status = GD_RUN_DONE;
    if (node->size == 0)
        return status;
    do {
        const gd_matrix left = matrix_of(
            a, a_data + offset_of(outer, index, a->view.stride) * (ptrdiff_t)size);
        const gd_matrix right = matrix_of(
            b, b_data + offset_of(outer, index, b->view.stride) * (ptrdiff_t)size);
        status = run_product(run, size, tasks, &left, right, y);
        y += bytes;
    } while (status == GD_RUN_DONE && advance(outer, node->shape, index));
    return status;
}

/* ---- Any of them ----------------------------------------------------------------------------- */

size_t gd_node_scratch(const gd_program *program, gd_step_plan *step)
{
    const gd_node *node = &program->graph.node[step->node];
    const gd_node *of = &program->graph.node[node->operand[0]];
    const size_t size = node->real_size;
    step->tasks = 1;
    if (node->op == GD_OP_matmul) {
        const gd_matrix a = matrix_of(of, NULL);
        const gd_matrix b = matrix_of(&program->graph.node[node->operand[1]], NULL);
        step->tasks = gd_threads_for(a.rows, a.columns, b.columns);
        const size_t room = a.columns <= GD_SUM_BLOCK
                                ? gd_product_room(size, &a, b.columns, step->tasks)
                                : b.columns * size;
        return packed_bytes(&b, size) + room;
    }
    if (node->op == GD_OP_loss || node->op == GD_OP_loss_grad)
        return whole_lines(program->graph.node[node->operand[1]].size * size) +
               of->size * sizeof(int64_t);
    if (node->op == GD_OP_gather || node->op == GD_OP_scatter)
        return program->graph.node[node->operand[1]].size * sizeof(int64_t);
    if (node->op == GD_OP_sum || node->op == GD_OP_prod || node->op == GD_OP_max ||
        node->op == GD_OP_min) {
        const reduction r = plan_reduction(node, of);
        return (GD_UNIT_TILE * r.blocks + GD_SUM_BLOCK) * sizeof(double);
    }
    return 0;
}

gd_run_status gd_run_node(gd_run *run, const gd_step_plan *step)
{
    const gd_node *node = &run->program->graph.node[step->node];
    switch (node->op) {
    case GD_OP_embed: run_embed(run, node); break;
    case GD_OP_concatenate: run_concatenate(run, node); break;
    case GD_OP_gather: return run_gather(run, node, false);
    case GD_OP_scatter: return run_gather(run, node, true);
    case GD_OP_activation:
    case GD_OP_activation_grad: run_activation(run, node); break;
    case GD_OP_loss:
    case GD_OP_loss_grad: return run_loss(run, node);
    case GD_OP_matmul: return run_matmul(run, node, step->tasks);
    default: run_reduce(run, node); break;
    }
    return GD_RUN_DONE;
}
