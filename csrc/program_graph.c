/* program_graph.c: from a list of instructions to nodes. What no output needs is dropped, what
 * stands twice is computed once, numbers made of numbers are computed now, factors of 1 go. Views
 * are resolved to places in the memory of what they view; copies are added where a loop wants its
 * operand in C order. None of it changes a bit of a result. */
#include <string.h>

#include "program_parts.h"
#include "rules.h"

typedef struct {
    gd_graph *graph;
    gd_pool *pool;
    int64_t *bucket;  /* hash table: the last node of each hash, then `next` */
    int64_t *next;
    size_t buckets;   /* a power of two */
    bool short_of_memory;
} maker;

static const bool is_map[GD_OPS] = {
#define KIND_LEAF false
#define KIND_VIEW false
#define KIND_MAP true
#define KIND_FUNCTION false
#define KIND_MOVE false
#define KIND_REDUCE false
#define KIND_PRODUCT false
#define INSTRUCTION(name, kind, ...) [GD_OP_##name] = KIND_##kind,
#include "ops.def"
};

static bool is_view(int op)
{
    return op == GD_OP_reshape || op == GD_OP_transpose || op == GD_OP_slice || op == GD_OP_expand;
}

static bool is_leaf(int op)
{
    return op == GD_OP_input || op == GD_OP_indices || op == GD_OP_constant;
}

bool gd_is_mapped(const gd_node *node)
{
    if (node->op == GD_OP_activation || node->op == GD_OP_activation_grad)
        return gd_activation_rows[(size_t)node->param[0]].kind != GD_ROWWISE;
    return node->op == GD_OP_copy || is_map[node->op];
}

bool gd_is_contiguous(const gd_node *node)
{
    ptrdiff_t wanted = 1;
    for (size_t i = node->ndim; i-- > 0;) {
        if (node->shape[i] != 1 && node->view.stride[i] != wanted)
            return node->size == 0;
        wanted *= (ptrdiff_t)node->shape[i];
    }
    return true;
}

bool gd_is_uniform(const gd_node *node)
{
    for (size_t i = 0; i < node->ndim; i++)
        if (node->shape[i] != 1 && node->view.stride[i] != 0)
            return false;
    return true;
}

/* ---- Finding equal nodes --------------------------------------------------------------------- */

static size_t mix(size_t hash, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * (size_t)1099511628211u; /* FNV-1a */
    return hash;
}

static size_t hash_of(const gd_node *node)
{
    size_t hash = mix(14695981039346656037u, &node->op, sizeof node->op);
    hash = mix(hash, node->shape, node->ndim * sizeof *node->shape);
    hash = mix(hash, node->operand, node->operand_count * sizeof *node->operand);
    return mix(hash, node->param, node->param_count * sizeof *node->param);
}

/* memcmp takes no NULL, which nothing at all may be. */
static bool same_bytes(const void *a, const void *b, size_t bytes)
{
    return bytes == 0 || memcmp(a, b, bytes) == 0;
}

static bool same(const gd_node *a, const gd_node *b)
{
    return a->op == b->op && a->real_size == b->real_size && a->ndim == b->ndim &&
           a->operand_count == b->operand_count && a->param_count == b->param_count &&
           same_bytes(a->shape, b->shape, a->ndim * sizeof *a->shape) &&
           same_bytes(a->operand, b->operand, a->operand_count * sizeof *a->operand) &&
           same_bytes(a->param, b->param, a->param_count * sizeof *a->param);
}

/* The number of the node, or of its equal that was there before. */
static size_t enter(maker *m, const gd_node *node)
{
    int64_t *bucket = &m->bucket[hash_of(node) & (m->buckets - 1)];
    for (int64_t i = *bucket; i >= 0; i = m->next[i])
        if (same(&m->graph->node[i], node))
            return (size_t)i;
    const size_t made = m->graph->count++;
    m->graph->node[made] = *node;
    if (!is_view(node->op))
        m->graph->node[made].view.root = made;
    m->next[made] = *bucket;
    *bucket = (int64_t)made;
    return made;
}

/* ---- Making nodes ---------------------------------------------------------------------------- */

/* A node of that shape whose elements lie in C order; operands are to be set. */
static gd_node blank(maker *m, int op, size_t real_size, size_t ndim, const size_t *shape,
                     size_t operands)
{
    gd_node node = {.op = op, .real_size = real_size, .size = 1, .ndim = ndim,
                    .operand_count = operands, .step = GD_NOWHERE, .output = GD_NOWHERE,
                    .slot = GD_NOWHERE};
    for (size_t i = ndim; i-- > 0;) {
        node.shape[i] = shape[i];
        node.view.stride[i] = (ptrdiff_t)node.size;
        node.size *= shape[i];
    }
    node.operand = gd_pool_take(m->pool, operands, sizeof *node.operand);
    m->short_of_memory |= node.operand == NULL;
    return node;
}

static size_t make_copy(maker *m, size_t of)
{
    const gd_node x = m->graph->node[of];
    gd_node copy = blank(m, GD_OP_copy, x.real_size, x.ndim, x.shape, 1);
    if (m->short_of_memory)
        return of;
    copy.operand[0] = of;
    return enter(m, &copy);
}

static size_t in_c_order(maker *m, size_t of)
{
    return gd_is_contiguous(&m->graph->node[of]) ? of : make_copy(m, of);
}

static size_t make_constant(maker *m, double value, size_t real_size)
{
    gd_node node = blank(m, GD_OP_constant, real_size, 0, NULL, 0);
    double *param = gd_pool_take(m->pool, 1, sizeof *param);
    if (param == NULL || m->short_of_memory) {
        m->short_of_memory = true;
        return 0;
    }
    *param = value;
    node.param = param;
    node.param_count = 1;
    return enter(m, &node);
}

/* ---- Views ----------------------------------------------------------------------------------- */

/* Strides of the shape over the same elements; false where no strides give them. Axes are matched
 * in groups of equal size; the operand's axes of a group must follow one another evenly. */
static bool reshape_view(const gd_node *of, gd_node *node)
{
    size_t from[GD_MAX_AXES], axes = 0, i = 0, j = 0;
    for (size_t k = 0; k < of->ndim; k++)
        if (of->shape[k] != 1)
            from[axes++] = k;
    while (node->size > 0 && i < axes && j < node->ndim) {
        size_t i_end = i + 1, j_end = j + 1, a = of->shape[from[i]], b = node->shape[j];
        while (a != b)
            if (a < b)
                a *= of->shape[from[i_end++]];
            else
                b *= node->shape[j_end++];
        for (size_t k = i; k + 1 < i_end; k++)
            if (of->view.stride[from[k]] !=
                (ptrdiff_t)of->shape[from[k + 1]] * of->view.stride[from[k + 1]])
                return false;
        node->view.stride[j_end - 1] = of->view.stride[from[i_end - 1]];
        for (size_t k = j_end - 1; k > j; k--)
            node->view.stride[k - 1] = node->view.stride[k] * (ptrdiff_t)node->shape[k];
        i = i_end;
        j = j_end;
    }
    return true;
}

static void expand_view(const gd_node *of, gd_node *node)
{
    const size_t ahead = node->ndim - of->ndim;
    for (size_t i = 0; i < node->ndim; i++)
        node->view.stride[i] =
            i < ahead || of->shape[i - ahead] == 1 ? 0 : of->view.stride[i - ahead];
}

static void slice_view(const gd_node *of, gd_node *node)
{
    for (size_t i = 0; i < node->ndim && node->size > 0; i++) {
        node->view.offset += (ptrdiff_t)node->param[i] * of->view.stride[i];
        if (node->shape[i] > 1) /* else any step will do, and a huge one overflows */
            node->view.stride[i] = of->view.stride[i] * (ptrdiff_t)node->param[node->ndim + i];
    }
}

static size_t make_view(maker *m, gd_node *node)
{
    const gd_node *of = &m->graph->node[node->operand[0]];
    node->view.root = of->view.root;
    node->view.offset = of->view.offset;
    if (node->op == GD_OP_expand)
        expand_view(of, node);
    else if (node->op == GD_OP_slice)
        slice_view(of, node);
    else if (node->op == GD_OP_transpose)
        for (size_t i = 0; i < node->ndim; i++)
            node->view.stride[i] = of->view.stride[(size_t)node->param[i]];
    else if (!reshape_view(of, node)) {
        node->operand[0] = make_copy(m, node->operand[0]);
        of = &m->graph->node[node->operand[0]];
        node->view.root = of->view.root;
        node->view.offset = of->view.offset;
        reshape_view(of, node);
    }
    return enter(m, node);
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* The constant of which all elements of the node are, or NULL. */
static const gd_node *constant_of(const maker *m, size_t i)
{
    const gd_node *root = &m->graph->node[m->graph->node[i].view.root];
    return root->op == GD_OP_constant ? root : NULL;
}

/* A constant as its real type has it. */
static void round_constant(const gd_node *constant, double *place)
{
    const float narrow = (float)constant->param[0];
    if (constant->real_size == sizeof narrow)
        memcpy(place, &narrow, sizeof narrow);
    else
        *place = constant->param[0];
}

/* The result of an elementwise instruction of constants: a constant, expanded; or GD_NOWHERE. */
static int64_t fold(maker *m, const gd_node *node)
{
    double number[GD_MAX_MAPPED], result = 0;
    const void *x[GD_MAX_MAPPED];
    if (!is_map[node->op])
        return GD_NOWHERE;
    for (size_t k = 0; k < node->operand_count && k < GD_MAX_MAPPED; k++) {
        const gd_node *constant = constant_of(m, node->operand[k]);
        if (constant == NULL)
            return GD_NOWHERE;
        round_constant(constant, &number[k]);
        x[k] = &number[k];
    }
    gd_kernels_for(node->real_size)->map[node->op](1, x, &result, node->param);
    float narrow;
    memcpy(&narrow, &result, sizeof narrow);
    const size_t made =
        make_constant(m, node->real_size == sizeof narrow ? (double)narrow : result,
                      node->real_size);
    gd_node view = blank(m, GD_OP_expand, node->real_size, node->ndim, node->shape, 1);
    if (m->short_of_memory || node->ndim == 0)
        return (int64_t)made;
    view.operand[0] = made;
    return (int64_t)make_view(m, &view);
}

/* The other factor where one is 1; or GD_NOWHERE. */
static int64_t without_factor(const maker *m, const gd_node *node)
{
    for (size_t k = 0; node->op == GD_OP_multiply && k < 2; k++) {
        const gd_node *constant = constant_of(m, node->operand[k]);
        if (constant != NULL && constant->param[0] == 1)
            return (int64_t)node->operand[1 - k];
    }
    return GD_NOWHERE;
}

/* ---- The whole list -------------------------------------------------------------------------- */

/* Whether the k-th operand of the op must lie in C order. */
static bool wants_c_order(int op, size_t k)
{
    switch (op) {
    case GD_OP_activation:
    case GD_OP_activation_grad:
    case GD_OP_loss:
    case GD_OP_loss_grad:
    case GD_OP_gather:
    case GD_OP_scatter: return true;
    default: return op == GD_OP_matmul && k == 1;
    }
}

static bool has_unit_stride(const gd_node *node)
{
    return node->view.stride[node->ndim - 1] == 1 || node->view.stride[node->ndim - 2] == 1;
}

static bool has_shape_of(const gd_node *a, const gd_node *b)
{
    return a->ndim == b->ndim && memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) == 0;
}

static size_t make_node(maker *m, const gd_instruction *x, const size_t *made)
{
    gd_node node = blank(m, (int)x->op, x->real_size, x->ndim, x->shape, x->operand_count);
    double *param = gd_pool_take(m->pool, x->param_count, sizeof *param);
    if (param == NULL || m->short_of_memory) {
        m->short_of_memory = true;
        return 0;
    }
    node.param = x->param_count > 0 ? memcpy(param, x->param, x->param_count * sizeof *param)
                                    : param;
    node.param_count = x->param_count;
    for (size_t k = 0; k < x->operand_count; k++) {
        node.operand[k] = made[x->operand[k]];
        const gd_node *of = &m->graph->node[node.operand[k]];
        const bool matrix = x->op == GD_OP_matmul && k == 1 && has_unit_stride(of);
        if (wants_c_order(node.op, k) && !gd_is_mapped(&node) && !matrix)
            node.operand[k] = in_c_order(m, node.operand[k]);
    }
    if (node.op == GD_OP_reshape && has_shape_of(&node, &m->graph->node[node.operand[0]]))
        return node.operand[0];
    if (is_view(node.op))
        return make_view(m, &node);
    for (size_t i = 0; node.op == GD_OP_input && node.size > 0 && i < node.ndim; i++)
        if (node.shape[i] > 1)
            node.view.stride[i] = (ptrdiff_t)node.param[1 + i];
    const int64_t other = without_factor(m, &node), folded = fold(m, &node);
    return folded >= 0 ? (size_t)folded : other >= 0 ? (size_t)other : enter(m, &node);
}

/* Mark what the outputs need; the number of nodes that may come of it. */
static size_t mark(const gd_instruction *list, size_t count, const size_t *outputs,
                   size_t output_count, bool *live)
{
    size_t room = 2 * output_count + 2;
    for (size_t i = 0; i < output_count; i++)
        live[outputs[i]] = true;
    for (size_t i = count; i-- > 0;) {
        if (!live[i])
            continue;
        room += 3 + list[i].operand_count;
        for (size_t k = 0; k < list[i].operand_count; k++)
            live[list[i].operand[k]] = true;
    }
    return room;
}

static bool open_maker(maker *m, size_t room)
{
    m->buckets = 16;
    while (m->buckets < room)
        m->buckets *= 2;
    m->graph->node = gd_pool_take(m->pool, room, sizeof *m->graph->node);
    m->bucket = gd_pool_take(m->pool, m->buckets, sizeof *m->bucket);
    m->next = gd_pool_take(m->pool, room, sizeof *m->next);
    if (m->graph->node == NULL || m->bucket == NULL || m->next == NULL)
        return false;
    for (size_t i = 0; i < m->buckets; i++)
        m->bucket[i] = -1;
    return true;
}

/* Give each output a node with memory of its own. */
static void make_outputs(maker *m, const size_t *outputs, const size_t *made)
{
    gd_graph *graph = m->graph;
    for (size_t i = 0; i < graph->output_count && !m->short_of_memory; i++) {
        size_t node = made[outputs[i]];
        const gd_node *found = &graph->node[node];
        if (is_leaf(found->op) || is_view(found->op) || found->output >= 0) {
            gd_node copy =
                blank(m, GD_OP_copy, found->real_size, found->ndim, found->shape, 1);
            if (m->short_of_memory)
                return;
            copy.operand[0] = node;
            copy.view.root = node = graph->count++;
            graph->node[node] = copy;
        }
        graph->node[node].output = (int64_t)i;
        graph->output[i] = node;
    }
}

/* An embed without gaps that only elementwise instructions read needs no memory. */
static void find_padded(gd_graph *graph)
{
    for (size_t i = 0; i < graph->count; i++) {
        gd_node *node = &graph->node[i];
        node->padded = node->op == GD_OP_embed && node->output < 0;
        for (size_t k = 0; node->op == GD_OP_embed && k < node->ndim; k++)
            node->padded = node->padded && node->param[node->ndim + k] == 1;
    }
    for (size_t i = 0; i < graph->count; i++) {
        const gd_node *node = &graph->node[i];
        if (is_view(node->op))
            graph->node[node->view.root].padded = false;
        for (size_t k = 0; !gd_is_mapped(node) && k < node->operand_count; k++)
            graph->node[node->operand[k]].padded = false;
    }
}

bool gd_graph_make(gd_graph *graph, gd_pool *pool, const gd_instruction *list, size_t count,
                   const size_t *outputs, size_t output_count)
{
    maker m = {.graph = graph, .pool = pool};
    bool *live = gd_pool_take(pool, count, sizeof *live);
    size_t *made = gd_pool_take(pool, count, sizeof *made);
    graph->output = gd_pool_take(pool, output_count, sizeof *graph->output);
    graph->output_count = output_count;
    if (live == NULL || made == NULL || graph->output == NULL)
        return false;
    if (!open_maker(&m, mark(list, count, outputs, output_count, live)))
        return false;
    for (size_t i = 0; i < count && !m.short_of_memory; i++)
        if (live[i])
            made[i] = make_node(&m, &list[i], made);
    if (!m.short_of_memory)
        make_outputs(&m, outputs, made);
    if (!m.short_of_memory)
        find_padded(graph);
    return !m.short_of_memory;
}
