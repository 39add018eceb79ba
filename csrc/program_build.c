/* program_build.c: a program's life: built from instructions, listed for a reader, opened for runs.
 * A run owns all the memory that its steps work in, so that a run allocates nothing. */
#include <string.h>

#include "program_parts.h"
#include "threads.h"

/* ---- Programs -------------------------------------------------------------------------------- */

gd_program *gd_program_build(const gd_instruction *list, size_t count, const size_t *outputs,
                             size_t output_count)
{
    gd_pool pool = {NULL};
    gd_program *program = gd_pool_take(&pool, 1, sizeof *program);
    if (program == NULL)
        return NULL;
    program->pool = pool;
    if (gd_graph_make(&program->graph, &program->pool, list, count, outputs, output_count) &&
        gd_steps_find(program) && gd_steps_lay_out(program))
        return program;
    gd_program_free(program);
    return NULL;
}

void gd_program_free(gd_program *program)
{
    if (program != NULL) {
        gd_pool pool = program->pool; /* which the program itself lies in */
        gd_pool_free(&pool);
    }
}

size_t gd_program_output_at(const gd_program *program, size_t i)
{
    return program->graph.output[i];
}

size_t gd_program_input_count(const gd_program *program)
{
    return program->graph.input_count;
}

const gd_program_input *gd_program_input_at(const gd_program *program, size_t i)
{
    return &program->input[i];
}

size_t gd_program_room(const gd_program *program)
{
    return program->arena_bytes + program->scratch_bytes +
           program->slot_count * program->slot_bytes;
}

size_t gd_program_steps(const gd_program *program)
{
    return program->step_count;
}

bool gd_program_is_long(const gd_program *program)
{
    enum { LONG = 8192 }; /* elements times calls: about 2 us */
    size_t work = 0;
    for (size_t s = 0; s < program->step_count; s++) {
        const gd_step_plan *step = &program->step[s];
        work += step->is_chain ? step->work : program->graph.node[step->node].size + LONG / 16;
    }
    return work >= LONG;
}

/* ---- Listing --------------------------------------------------------------------------------- */

static const char *const names[GD_OPS + 1] = {
#define INSTRUCTION(name, ...) #name,
#include "ops.def"
    "copy",
};

bool gd_program_list(const gd_program *program, size_t i, gd_program_line *line)
{
    const gd_graph *graph = &program->graph;
    while (i < graph->count && !graph->node[i].live)
        i++;
    if (i >= graph->count)
        return false;
    const gd_node *node = &graph->node[i];
    *line = (gd_program_line){
        .name = names[node->op],
        .node = i,
        .step = node->step >= 0 ? (size_t)node->step : SIZE_MAX,
        .real_size = node->real_size,
        .ndim = node->ndim,
        .operand_count = node->operand_count,
        .param_count = node->param_count,
        .shape = node->shape,
        .operand = node->operand,
        .param = node->param,
        .bytes = node->step >= 0 && node->wanted ? node->size * node->real_size : 0,
    };
    return true;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

/* The bytes of a run's parts, each at a whole number of lines. */
typedef struct {
    size_t slots, slot, arena, scratch, sums, base, all;
} parts;

static bool add_part(size_t *place, size_t *all, size_t count, size_t bytes)
{
    enum { LINE = 64 };
    size_t size;
    *place = *all;
    return !__builtin_mul_overflow(count, bytes, &size) &&
           !__builtin_add_overflow(size, LINE - 1, &size) &&
           !__builtin_add_overflow(*all, size / LINE * LINE, all);
}

static bool plan_parts(const gd_program *program, size_t threads, parts *p)
{
    *p = (parts){.all = (sizeof(gd_run) + 63) / 64 * 64};
    return add_part(&p->slots, &p->all, program->slot_count * threads, program->slot_bytes) &&
           add_part(&p->slot, &p->all, program->slot_count * threads, sizeof(char *)) &&
           add_part(&p->arena, &p->all, program->arena_bytes, 1) &&
           add_part(&p->scratch, &p->all, program->scratch_bytes, 1) &&
           add_part(&p->sums, &p->all, program->sum_count, sizeof(double)) &&
           add_part(&p->base, &p->all, program->buffer_count, sizeof(char *)) &&
           !__builtin_add_overflow(p->all, 64, &p->all);
}

/* Whether a step is worth more than one thread. */
static bool has_long_step(const gd_program *program)
{
    for (size_t s = 0; s < program->step_count; s++)
        if (gd_step_threads(&program->step[s], 2) > 1)
            return true;
    return false;
}

gd_run *gd_run_open(const gd_program *program, size_t threads)
{
    parts p;
    threads = threads > 1 && has_long_step(program) ? threads : 1;
    void *memory = plan_parts(program, threads, &p) ? gd_alloc(p.all, 1) : NULL;
    if (memory == NULL)
        return NULL;
    char *start = (char *)memory + (64 - (uintptr_t)memory % 64);
    gd_run *run = (gd_run *)(void *)start;
    *run = (gd_run){
        .program = program,
        .threads = threads,
        .base = (char **)(void *)(start + p.base),
        .arena = start + p.arena,
        .slots = start + p.slots,
        .slot = (char **)(void *)(start + p.slot),
        .scratch = start + p.scratch,
        .sums = (double *)(void *)(start + p.sums),
        .memory = memory,
    };
    const size_t constants = program->graph.input_count + program->graph.output_count;
    for (size_t i = 0; i < program->slot_count * threads; i++)
        run->slot[i] = run->slots + i * program->slot_bytes;
    for (size_t i = 0; i < program->constant_count; i++)
        run->base[constants + i] = (char *)&program->constant[i];
    for (size_t i = program->arena_first; i < program->buffer_count; i++)
        run->base[i] = run->arena + program->arena_offset[i - program->arena_first];
    gd_fill_constants(run);
    return run;
}

void gd_run_close(gd_run *run)
{
    if (run != NULL)
        gd_free(run->memory);
}

const gd_program *gd_run_program(const gd_run *run)
{
    return run->program;
}

gd_run_status gd_run_once(gd_run *run, const void *const *inputs, void *const *outputs)
{
    const gd_program *program = run->program;
    const gd_graph *graph = &program->graph;
    gd_run_status status = GD_RUN_DONE;
    for (size_t i = 0; i < graph->input_count; i++)
        run->base[i] = (char *)inputs[i];
    for (size_t i = 0; i < graph->output_count; i++)
        run->base[graph->input_count + i] = outputs[i];
    for (size_t s = 0; s < program->step_count && status == GD_RUN_DONE; s++) {
        const gd_step_plan *step = &program->step[s];
        if (step->is_chain)
            gd_run_chain(run, step);
        else
            status = gd_run_node(run, step);
    }
    return status;
}
