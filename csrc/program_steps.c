/* program_steps.c: in which order a graph is computed, and what together. Elementwise instructions
 * over as many elements join one chain where none waits for a step that waits for the chain; sums
 * of all elements join the chain that makes them. Everything else is a step of its own. */
#include "program_parts.h"

bool gd_is_inside(const gd_graph *graph, const gd_node *node, size_t operand)
{
    const gd_node *root = &graph->node[graph->node[operand].view.root];
    return gd_is_mapped(root) && root->step >= 0 && root->step == node->step;
}

size_t gd_source_of(const gd_graph *graph, size_t operand)
{
    const size_t root = graph->node[operand].view.root;
    const gd_node *node = &graph->node[root];
    return node->padded ? graph->node[node->operand[0]].view.root : root;
}

bool gd_is_total(const gd_program *program, const gd_node *node)
{
    return node->op == GD_OP_sum && program->step[node->step].is_chain;
}

static bool is_computed(const gd_node *node, size_t number)
{
    return node->view.root == number && !node->padded && node->op != GD_OP_input &&
           node->op != GD_OP_indices && node->op != GD_OP_constant;
}

/* Mark what the outputs need. */
static void mark_live(gd_graph *graph)
{
    for (size_t i = 0; i < graph->output_count; i++)
        graph->node[graph->output[i]].live = true;
    for (size_t i = graph->count; i-- > 0;) {
        gd_node *node = &graph->node[i];
        if (!node->live)
            continue;
        for (size_t k = 0; k < node->operand_count; k++)
            graph->node[node->operand[k]].live = true;
        graph->node[node->view.root].live = true;
    }
}

/* Whether an operand's elements are its root's, one by one in the same order. */
static bool goes_along(const gd_graph *graph, size_t operand)
{
    const gd_node *node = &graph->node[operand], *root = &graph->node[node->view.root];
    return gd_is_mapped(root) && node->view.offset == 0 && node->size == root->size &&
           gd_is_contiguous(node);
}

/* The first step that may read the operand; a chain of n elements may go along with it. */
static int64_t first_reader(const gd_program *program, size_t operand, size_t n)
{
    const gd_graph *graph = &program->graph;
    const gd_node *source = &graph->node[gd_source_of(graph, operand)];
    if (source->step < 0)
        return 0;
    const bool along = goes_along(graph, operand) && source->size == n &&
                       !graph->node[graph->node[operand].view.root].padded;
    return along && program->step[source->step].is_chain ? source->step : source->step + 1;
}

/* The earliest chain over n elements at `first` or later, a new one where there is none. */
static int64_t chain_for(gd_program *program, size_t n, int64_t first, int64_t *last_of_size)
{
    int64_t found = GD_NOWHERE;
    int64_t i = *last_of_size;
    for (; i >= first && program->step[i].chain.n == n; i = program->step[i].same_size)
        found = i;
    if (found >= 0)
        return found;
    gd_step_plan *step = &program->step[program->step_count];
    step->is_chain = true;
    step->chain.n = n;
    step->same_size = *last_of_size;
    *last_of_size = (int64_t)program->step_count;
    return (int64_t)program->step_count++;
}

/* The chain that makes what is summed, where the sum is of all elements and there is room. */
static int64_t chain_of_total(const gd_program *program, const gd_node *node)
{
    const gd_graph *graph = &program->graph;
    if (node->op != GD_OP_sum || node->ndim != 0 || !goes_along(graph, node->operand[0]))
        return GD_NOWHERE;
    const gd_node *root = &graph->node[graph->node[node->operand[0]].view.root];
    return program->step[root->step].chain.total_count < GD_CHAIN_SUMS ? root->step : GD_NOWHERE;
}

enum { SIZES = 64 }; /* lists of chains, by size modulo this number */

static void place(gd_program *program, size_t number, int64_t *last_of_size)
{
    gd_node *node = &program->graph.node[number];
    int64_t first = 0;
    for (size_t k = 0; k < node->operand_count; k++) {
        const int64_t reader = first_reader(program, node->operand[k], node->size);
        first = reader > first ? reader : first;
    }
    const int64_t total = chain_of_total(program, node);
    if (gd_is_mapped(node)) {
        node->step = chain_for(program, node->size, first, &last_of_size[node->size % SIZES]);
        program->step[node->step].chain.call_count++;
    } else if (total >= 0) {
        node->step = total;
        program->step[total].chain.total_count++;
    } else {
        program->step[program->step_count].node = number;
        node->step = (int64_t)program->step_count++;
    }
}

/* Which values are read outside their chains, and until when. */
static void find_uses(gd_program *program)
{
    gd_graph *graph = &program->graph;
    for (size_t i = 0; i < graph->count; i++) {
        gd_node *node = &graph->node[i];
        if (!node->live || node->step < 0)
            continue;
        node->wanted = node->wanted || node->output >= 0 || !gd_is_mapped(node);
        node->last_use = node->last_use > (size_t)node->step ? node->last_use : (size_t)node->step;
        for (size_t k = 0; k < node->operand_count; k++) {
            if (gd_is_inside(graph, node, node->operand[k]))
                continue;
            gd_node *source = &graph->node[gd_source_of(graph, node->operand[k])];
            source->wanted = true;
            if (source->last_use < (size_t)node->step)
                source->last_use = (size_t)node->step;
        }
    }
}

bool gd_steps_find(gd_program *program)
{
    gd_graph *graph = &program->graph;
    int64_t last_of_size[SIZES];
    for (size_t i = 0; i < SIZES; i++)
        last_of_size[i] = GD_NOWHERE;
    program->step = gd_pool_take(&program->pool, graph->count + 1, sizeof *program->step);
    if (program->step == NULL)
        return false;
    mark_live(graph);
    for (size_t i = 0; i < graph->count; i++)
        if (graph->node[i].live && is_computed(&graph->node[i], i))
            place(program, i, last_of_size);
    find_uses(program);
    return true;
}
