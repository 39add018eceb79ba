/* program_layout.c: where everything stands. Inputs, outputs and constants are buffers of their
 * own; other results that are read outside their chain share one arena, each for as long as it is
 * needed; what stays in its chain gets a slot of a block's elements, which fit in L1. */
#include <string.h>

#include "program_parts.h"
#include "rules.h"

enum {
    LINE = 64,
    MOST_CONSTANT_SLOTS = 64, /* 256 KB a thread */
};

/* ---- Buffers --------------------------------------------------------------------------------- */

static void describe_input(const gd_node *node, gd_program_input *input)
{
    *input = (gd_program_input){
        .slot = (size_t)node->param[0],
        .indices = node->op == GD_OP_indices,
        .real_size = node->real_size,
        .ndim = node->ndim,
    };
    memcpy(input->shape, node->shape, sizeof input->shape);
    memcpy(input->stride, node->view.stride, sizeof input->stride);
}

/* Number the buffers: inputs, outputs, constants, then the arena's. */
static bool number_buffers(gd_program *program)
{
    gd_graph *graph = &program->graph;
    size_t inputs = 0, constants = 0, arena = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const gd_node *node = &graph->node[i];
        inputs += node->live && (node->op == GD_OP_input || node->op == GD_OP_indices);
        constants += node->live && node->op == GD_OP_constant;
    }
    graph->input_count = inputs;
    program->input = gd_pool_take(&program->pool, inputs, sizeof *program->input);
    program->constant = gd_pool_take(&program->pool, constants, sizeof *program->constant);
    program->arena_offset =
        gd_pool_take(&program->pool, graph->count, sizeof *program->arena_offset);
    if (program->input == NULL || program->constant == NULL || program->arena_offset == NULL)
        return false;
    program->arena_first = inputs + graph->output_count + constants;
    inputs = 0;
    for (size_t i = 0; i < graph->count; i++) {
        gd_node *node = &graph->node[i];
        if (!node->live || node->view.root != i)
            continue;
        if (node->op == GD_OP_input || node->op == GD_OP_indices) {
            describe_input(node, &program->input[inputs]);
            node->buffer = inputs++;
        } else if (node->op == GD_OP_constant) {
            const float narrow = (float)node->param[0];
            double *place = &program->constant[program->constant_count];
            *place = node->param[0];
            if (node->real_size == sizeof narrow)
                memcpy(place, &narrow, sizeof narrow);
            node->buffer = graph->input_count + graph->output_count + program->constant_count++;
        } else if (node->output >= 0) {
            node->buffer = graph->input_count + (size_t)node->output;
        } else if (node->wanted) {
            node->buffer = program->arena_first + arena++;
        }
    }
    program->buffer_count = program->arena_first + arena;
    return true;
}

/* ---- The arena ------------------------------------------------------------------------------- */

typedef struct {
    size_t from, to; /* bytes that are free; the last hole has no end */
} hole;

typedef struct {
    hole *hole; /* by address */
    size_t count, top;
} holes;

/* The address of so many free bytes: in the first hole that has them. */
static size_t take_bytes(holes *h, size_t bytes)
{
    size_t i = 0;
    while (i + 1 < h->count && h->hole[i].to - h->hole[i].from < bytes)
        i++;
    const size_t at = h->hole[i].from;
    h->hole[i].from += bytes;
    h->top = at + bytes > h->top ? at + bytes : h->top;
    if (i + 1 < h->count && h->hole[i].from == h->hole[i].to) {
        h->count--;
        memmove(&h->hole[i], &h->hole[i + 1], (h->count - i) * sizeof *h->hole);
    }
    return at;
}

static void give_bytes(holes *h, size_t from, size_t bytes)
{
    size_t i = 0;
    while (i < h->count && h->hole[i].from < from)
        i++;
    const bool after = i > 0 && h->hole[i - 1].to == from;
    const bool before = i < h->count && from + bytes == h->hole[i].from;
    if (after && before) {
        h->hole[i - 1].to = h->hole[i].to;
        h->count--;
        memmove(&h->hole[i], &h->hole[i + 1], (h->count - i) * sizeof *h->hole);
    } else if (after) {
        h->hole[i - 1].to = from + bytes;
    } else if (before) {
        h->hole[i].from = from;
    } else {
        memmove(&h->hole[i + 1], &h->hole[i], (h->count - i) * sizeof *h->hole);
        h->hole[i] = (hole){from, from + bytes};
        h->count++;
    }
}

static size_t bytes_of(const gd_node *node)
{
    return (node->size * node->real_size + LINE - 1) / LINE * LINE;
}

static bool in_arena(const gd_program *program, const gd_node *node)
{
    return node->live && node->step >= 0 && node->wanted && node->output < 0 &&
           node->buffer >= program->arena_first;
}

/* Chain the nodes of the arena by a step: head[step], then next[node]. */
static void list_by(const gd_program *program, bool by_last_use, int64_t *head, int64_t *next)
{
    for (size_t s = 0; s < program->step_count; s++)
        head[s] = GD_NOWHERE;
    for (size_t i = program->graph.count; i-- > 0;) {
        const gd_node *node = &program->graph.node[i];
        if (!in_arena(program, node))
            continue;
        const size_t step = by_last_use ? node->last_use : (size_t)node->step;
        next[i] = head[step];
        head[step] = (int64_t)i;
    }
}

/* Give each buffer its bytes from its step to its last use. */
static bool lay_out_arena(gd_program *program)
{
    const gd_graph *graph = &program->graph;
    const size_t n = graph->count, steps = program->step_count + 1;
    holes h = {gd_pool_take(&program->pool, n + 2, sizeof(hole)), 1, 0};
    int64_t *head = gd_pool_take(&program->pool, 2 * steps, sizeof *head);
    int64_t *next = gd_pool_take(&program->pool, 2 * n, sizeof *next);
    if (h.hole == NULL || head == NULL || next == NULL)
        return false;
    h.hole[0] = (hole){0, SIZE_MAX};
    list_by(program, false, head, next);
    list_by(program, true, head + steps, next + n);
    for (size_t s = 0; s < program->step_count; s++) {
        for (int64_t i = head[s]; i >= 0; i = next[i])
            program->arena_offset[graph->node[i].buffer - program->arena_first] =
                take_bytes(&h, bytes_of(&graph->node[i]));
        for (int64_t i = head[steps + s]; i >= 0; i = next[n + (size_t)i])
            give_bytes(&h, program->arena_offset[graph->node[i].buffer - program->arena_first],
                       bytes_of(&graph->node[i]));
    }
    program->arena_bytes = h.top;
    return true;
}

/* ---- Chains ---------------------------------------------------------------------------------- */

/* What one chain's layout needs to know while it goes on. */
typedef struct {
    gd_program *program;
    gd_chain *chain;
    size_t *load_of;    /* node -> load of the chain whose number, plus 1, is its stamp */
    size_t *stamp;
    size_t *last_call;  /* node -> last call of its chain that reads it */
    size_t *free_slot;
    size_t free_count, next_slot;
} layout;

static size_t take_slot(layout *l)
{
    if (l->free_count > 0)
        return l->free_slot[--l->free_count];
    return l->next_slot++;
}

/* The slot of a constant that is filled once for all runs, or GD_NOWHERE. */
static int64_t constant_slot(gd_program *program, const gd_node *node)
{
    gd_node *root = &program->graph.node[node->view.root];
    if (root->op != GD_OP_constant)
        return GD_NOWHERE;
    if (root->slot < 0 && program->constant_slots < MOST_CONSTANT_SLOTS) {
        program->slot_constant[program->constant_slots] = node->view.root;
        root->slot = (int64_t)program->constant_slots++;
    }
    return root->slot;
}

/* Narrow the padded view of an embed: element i stands at i - start where low <= i < high. */
static void pad(const gd_node *embed, const gd_node *of, gd_load *load)
{
    load->padded = true;
    load->offset = of->view.offset;
    for (size_t i = 0; i < embed->ndim; i++) {
        load->low[i] = of->size > 0 ? (size_t)embed->param[i] : 0;
        load->high[i] = of->size > 0 ? load->low[i] + of->shape[i] : 0;
        load->stride[i] = of->view.stride[i];
        load->offset -= (ptrdiff_t)load->low[i] * load->stride[i];
    }
}

void gd_collapse(gd_load *load)
{
    size_t axes = 0;
    for (size_t i = 0; i < load->ndim; i++) {
        if (load->shape[i] == 1)
            continue;
        if (axes > 0 &&
            load->stride[axes - 1] == load->stride[i] * (ptrdiff_t)load->shape[i]) {
            load->shape[axes - 1] *= load->shape[i];
        } else {
            load->shape[axes] = load->shape[i];
            axes++;
        }
        load->stride[axes - 1] = load->stride[i];
    }
    load->ndim = axes;
}

static void make_load(layout *l, size_t operand, gd_load *load)
{
    const gd_graph *graph = &l->program->graph;
    const gd_node *node = &graph->node[operand], *root = &graph->node[node->view.root];
    *load = (gd_load){
        .buffer = graph->node[gd_source_of(graph, operand)].buffer,
        .real_size = node->real_size,
        .ndim = node->ndim,
        .offset = node->view.offset,
        .uniform = gd_is_uniform(node) && !root->padded,
    };
    memcpy(load->shape, node->shape, sizeof load->shape);
    memcpy(load->stride, node->view.stride, sizeof load->stride);
    if (root->padded)
        pad(root, &graph->node[root->operand[0]], load);
    else
        gd_collapse(load);
}

/* Whether an operand is read where it stands: in C order, in memory. */
static bool stands_in_order(const gd_graph *graph, const gd_node *node)
{
    return gd_is_contiguous(node) && !graph->node[node->view.root].padded;
}

/* The address from which a call of the chain reads an operand. */
static gd_address address_of(layout *l, const gd_node *reader, size_t operand)
{
    gd_graph *graph = &l->program->graph;
    const gd_node *node = &graph->node[operand], *root = &graph->node[node->view.root];
    if (gd_is_inside(graph, reader, operand) && !root->wanted)
        return (gd_address){true, (size_t)root->slot, 0};
    if (stands_in_order(graph, node))
        return (gd_address){false, root->buffer,
                            (size_t)node->view.offset * node->real_size};
    const int64_t constant = constant_slot(l->program, node);
    if (constant >= 0)
        return (gd_address){true, (size_t)constant, 0};
    return (gd_address){true, l->chain->load[l->load_of[operand]].slot, 0};
}

/* Whether an operand needs a load of its own in the chain. */
static bool needs_load(layout *l, const gd_node *reader, size_t operand)
{
    const gd_node *node = &l->program->graph.node[operand];
    return !gd_is_inside(&l->program->graph, reader, operand) &&
           !stands_in_order(&l->program->graph, node) && constant_slot(l->program, node) < 0;
}

/* Whether y may stand where this operand of its call does. */
static bool may_replace(int op, size_t k)
{
    return op != GD_OP_cast && (op != GD_OP_activation_grad || k == 0);
}

/* Slots that the call read for the last time are free again. */
static void free_operands(layout *l, const gd_node *node, size_t call, bool replaceable)
{
    gd_graph *graph = &l->program->graph;
    for (size_t k = 0; k < node->operand_count; k++) {
        const size_t root = graph->node[node->operand[k]].view.root;
        gd_node *from = &graph->node[root];
        if (gd_is_inside(graph, node, node->operand[k]) && !from->wanted &&
            l->last_call[root] == call && from->slot >= 0 &&
            may_replace(node->op, k) == replaceable) {
            l->free_slot[l->free_count++] = (size_t)from->slot;
            l->last_call[root] = SIZE_MAX; /* free it once */
        }
    }
}

static void lay_out_call(layout *l, size_t number, size_t index)
{
    gd_graph *graph = &l->program->graph;
    gd_node *node = &graph->node[number];
    gd_call *call = &l->chain->call[index];
    *call = (gd_call){.op = node->op,
                      .kernel = node->op < GD_OPS ? gd_kernels_for(node->real_size)->map[node->op]
                                                  : NULL,
                      .real_size = node->real_size,
                      .operand_count = node->operand_count,
                      .param = node->param};
    for (size_t k = 0; k < node->operand_count; k++)
        call->operand[k] = address_of(l, node, node->operand[k]);
    free_operands(l, node, index, true);
    if (node->wanted) {
        call->y = (gd_address){false, node->buffer, 0};
    } else {
        node->slot = (int64_t)take_slot(l);
        call->y = (gd_address){true, (size_t)node->slot, 0};
    }
    free_operands(l, node, index, false);
}

static void lay_out_total(layout *l, const gd_node *node, gd_total *total)
{
    *total = (gd_total){.operand = address_of(l, node, node->operand[0]),
                        .y = {false, node->buffer, 0},
                        .real_size = node->real_size};
}

/* Whether a chain has floats alone: a slot holds twice as many of them (Rosenbrock: 5 % less). */
static bool is_narrow(const gd_chain *chain)
{
    for (size_t i = 0; i < chain->call_count; i++)
        if (chain->call[i].real_size != sizeof(float) || chain->call[i].op == GD_OP_cast)
            return false;
    return true;
}

/* One chain, whose nodes stand in `nodes` in order, sums last. */
static bool lay_out_chain(layout *l, size_t number, const size_t *nodes, size_t count)
{
    gd_program *program = l->program;
    gd_graph *graph = &program->graph;
    gd_chain *chain = l->chain = &program->step[number].chain;
    size_t calls = 0, loads = 0;
    l->free_count = l->next_slot = 0;
    for (size_t i = 0; i < count; i++) {
        const gd_node *node = &graph->node[nodes[i]];
        for (size_t k = 0; k < node->operand_count; k++) {
            const size_t operand = node->operand[k];
            l->last_call[graph->node[operand].view.root] = gd_is_mapped(node) ? i : SIZE_MAX;
            if (needs_load(l, node, operand) && l->stamp[operand] != number + 1) {
                l->stamp[operand] = number + 1;
                l->load_of[operand] = loads++;
            }
        }
    }
    chain->load = gd_pool_take(&program->pool, loads, sizeof *chain->load);
    chain->call = gd_pool_take(&program->pool, chain->call_count, sizeof *chain->call);
    chain->total = gd_pool_take(&program->pool, chain->total_count, sizeof *chain->total);
    if (chain->load == NULL || chain->call == NULL || chain->total == NULL)
        return false;
    l->next_slot = program->constant_slots;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < graph->node[nodes[i]].operand_count; k++) {
            const size_t operand = graph->node[nodes[i]].operand[k];
            if (l->stamp[operand] == number + 1 && l->load_of[operand] >= chain->load_count) {
                make_load(l, operand, &chain->load[chain->load_count]);
                chain->load[chain->load_count++].slot = l->next_slot++;
            }
        }
    for (size_t i = 0; i < count; i++) {
        if (gd_is_mapped(&graph->node[nodes[i]]))
            lay_out_call(l, nodes[i], calls++);
        else
            lay_out_total(l, &graph->node[nodes[i]], &chain->total[i - calls]);
    }
    chain->block = is_narrow(chain) ? 2 * GD_BLOCK : GD_BLOCK;
    program->step[number].work = chain->n * (chain->load_count + calls + chain->total_count);
    return true;
}

/* Number the constants that chains read, before other slots. */
static void find_constants(layout *l, const size_t *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const gd_node *node = &l->program->graph.node[nodes[i]];
        for (size_t k = 0; k < node->operand_count; k++)
            needs_load(l, node, node->operand[k]);
    }
}

/* The nodes of each chain one behind the other, sums last: those of step s begin at start[s]. */
static void sort_by_chain(const gd_program *program, size_t *start, size_t *sorted)
{
    const gd_graph *graph = &program->graph;
    size_t at = 0;
    for (size_t s = 0; s < program->step_count; s++) {
        start[s] = at;
        at += program->step[s].is_chain ? program->step[s].chain.call_count +
                                              program->step[s].chain.total_count
                                        : 0;
    }
    start[program->step_count] = at;
    for (int totals = 0; totals < 2; totals++)
        for (size_t i = 0; i < graph->count; i++) {
            const gd_node *node = &graph->node[i];
            if (node->live && node->step >= 0 && program->step[node->step].is_chain &&
                gd_is_mapped(node) == !totals)
                sorted[start[node->step]++] = i;
        }
    for (size_t s = program->step_count; s > 0; s--)
        start[s] = start[s - 1];
    start[0] = 0;
}

static bool lay_out_chains(gd_program *program)
{
    gd_pool *pool = &program->pool;
    const size_t n = program->graph.count;
    layout l = {.program = program};
    size_t *start = gd_pool_take(pool, program->step_count + 1, sizeof *start);
    size_t *sorted = gd_pool_take(pool, n, sizeof *sorted);
    program->slot_constant =
        gd_pool_take(pool, MOST_CONSTANT_SLOTS, sizeof *program->slot_constant);
    l.load_of = gd_pool_take(pool, n, sizeof *l.load_of);
    l.stamp = gd_pool_take(pool, n, sizeof *l.stamp);
    l.last_call = gd_pool_take(pool, n, sizeof *l.last_call);
    l.free_slot = gd_pool_take(pool, n, sizeof *l.free_slot);
    if (start == NULL || sorted == NULL || program->slot_constant == NULL || l.load_of == NULL ||
        l.stamp == NULL || l.last_call == NULL || l.free_slot == NULL)
        return false;
    sort_by_chain(program, start, sorted);
    find_constants(&l, sorted, start[program->step_count]);
    program->slot_count = program->constant_slots;
    for (size_t s = 0; s < program->step_count; s++) {
        if (!program->step[s].is_chain)
            continue;
        if (!lay_out_chain(&l, s, sorted + start[s], start[s + 1] - start[s]))
            return false;
        const gd_chain *chain = &program->step[s].chain;
        const size_t sums = chain->total_count * (chain->n / GD_SUM_BLOCK + 1);
        program->slot_count = l.next_slot > program->slot_count ? l.next_slot : program->slot_count;
        program->sum_count = sums > program->sum_count ? sums : program->sum_count;
        const size_t bytes = (chain->n < GD_BLOCK ? chain->n : GD_BLOCK) * sizeof(double);
        program->slot_bytes = bytes > program->slot_bytes ? bytes : program->slot_bytes;
    }
    return true;
}

bool gd_steps_lay_out(gd_program *program)
{
    program->slot_bytes = LINE;
    if (!number_buffers(program) || !lay_out_arena(program) || !lay_out_chains(program))
        return false;
    program->slot_bytes = (program->slot_bytes + LINE - 1) / LINE * LINE;
    for (size_t s = 0; s < program->step_count; s++) {
        gd_step_plan *step = &program->step[s];
        const size_t bytes = step->is_chain ? 0 : gd_node_scratch(program, step);
        program->scratch_bytes = bytes > program->scratch_bytes ? bytes : program->scratch_bytes;
    }
    return true;
}
