/* program_parts.h: what the files of the program share: nodes (what is computed), steps (in which
 * order and how), places in memory. Nobody else includes it. */
#ifndef GD_PROGRAM_PARTS_H
#define GD_PROGRAM_PARTS_H

#include "linear.h"
#include "program.h"

enum {
    GD_OP_copy = GD_OPS,  /* the elements of a view in C order: what building adds to the table */
    GD_NOWHERE = -1,      /* no step, no buffer, no slot */
    GD_BLOCK = 512,       /* doubles, or twice as many floats, that go through a chain together */
    GD_CHAIN_SUMS = 8,    /* sums of all elements that one chain may carry */
};

/* ---- Nodes: what is computed ----------------------------------------------------------------- */

/* Elements by position: element (i, j, ...) stands at offset + i stride[0] + j stride[1] ... of the
 * memory of `root`, in elements. */
typedef struct {
    size_t root; /* the node that has memory; a node that computes is its own */
    ptrdiff_t offset, stride[GD_MAX_AXES];
} gd_view;

typedef struct {
    int op; /* gd_op or GD_OP_copy */
    size_t real_size, size, ndim, shape[GD_MAX_AXES];
    size_t operand_count, param_count;
    size_t *operand; /* nodes */
    const double *param;
    gd_view view;
    bool padded;     /* an embed that is only read in chains: it needs no memory */
    bool live;       /* an output needs it */
    bool wanted;     /* read outside its chain: it needs memory */
    int64_t step;    /* that computes it; GD_NOWHERE for leaves and views */
    int64_t output;  /* whose memory it is written to, or GD_NOWHERE */
    size_t last_use; /* step */
    size_t buffer;   /* of roots */
    int64_t slot;    /* in its chain, while that is laid out */
} gd_node;

typedef struct {
    gd_node *node;
    size_t count;
    size_t *output; /* nodes, each a root of its own memory */
    size_t output_count, input_count;
} gd_graph;

/* Live instructions as nodes: duplicates and neutral factors gone, constants folded, views
 * resolved, copies added where an operand must lie in C order. False: memory is short. */
bool gd_graph_make(gd_graph *graph, gd_pool *pool, const gd_instruction *list, size_t count,
                   const size_t *outputs, size_t output_count);

/* Whether the elements lie in C order without gaps from the view's offset on. */
bool gd_is_contiguous(const gd_node *node);
/* Whether all elements are the one at the offset. */
bool gd_is_uniform(const gd_node *node);
/* Whether the op's operands and result are walked element by element: MAP, copy, and elementwise
 * activations. */
bool gd_is_mapped(const gd_node *node);

/* ---- Steps: in which order, and how ---------------------------------------------------------- */

/* An address: the number of a buffer and bytes into it; or a slot of the chain's scratch. */
typedef struct {
    bool in_slot;
    size_t at;     /* buffer, or slot */
    size_t offset; /* bytes, in buffers */
} gd_address;

/* Elements that are brought into a slot, block by block: a view that is not in C order, or the
 * padded view of an embed, which is 0 outside [low, high) of each axis. */
typedef struct {
    size_t slot, buffer, real_size, ndim, shape[GD_MAX_AXES];
    ptrdiff_t offset, stride[GD_MAX_AXES];
    bool uniform, padded;
    size_t low[GD_MAX_AXES], high[GD_MAX_AXES];
} gd_load;

/* A kernel called on a block. */
typedef struct {
    int op;
    gd_map_fn *kernel; /* NULL: a copy or an activation */
    size_t real_size, operand_count;
    gd_address operand[GD_MAX_MAPPED], y;
    const double *param;
} gd_call;

/* The sum of all elements of a value of the chain. */
typedef struct {
    gd_address operand, y;
    size_t real_size;
} gd_total;

/* Calls over n elements, `block` of them at a time. */
typedef struct {
    size_t n, block;
    gd_load *load;
    gd_call *call;
    gd_total *total;
    size_t load_count, call_count, total_count;
} gd_chain;

typedef struct {
    size_t node;     /* of steps that are no chain */
    size_t tasks;    /* of products: the most threads that share one */
    bool is_chain;
    gd_chain chain;
    size_t work;     /* about the number of elements times calls */
    int64_t same_size; /* the chain of as many elements before it, while steps are found */
} gd_step_plan;

struct gd_program {
    gd_pool pool;
    gd_graph graph;
    gd_step_plan *step;
    size_t step_count;
    /* buffers: inputs, then outputs, then constants, then parts of the arena */
    size_t buffer_count, arena_first, arena_bytes;
    size_t *arena_offset; /* of buffers from arena_first on */
    gd_program_input *input;
    double *constant; /* each in the bytes of its own real type */
    size_t constant_count, constant_slots; /* those in slots come first */
    size_t *slot_constant;                 /* nodes of the constants in slots */
    size_t slot_count, slot_bytes, sum_count; /* the most that a step needs */
    size_t scratch_bytes;
};

/* Find the steps of the graph: which node is computed when, and which together. False: memory is
 * short. */
bool gd_steps_find(gd_program *program);
/* Give every value its place in memory, and the chains their loads, calls and sums. False: memory
 * is short. */
bool gd_steps_lay_out(gd_program *program);

/* Whether an operand of a node is read element by element from its own chain. */
bool gd_is_inside(const gd_graph *graph, const gd_node *node, size_t operand);
/* The node whose memory an operand is read from: of a padded embed, what it embeds. */
size_t gd_source_of(const gd_graph *graph, size_t operand);
/* Whether the node is a sum of all elements that its operand's chain carries. */
bool gd_is_total(const gd_program *program, const gd_node *node);

/* Bytes of scratch that a step that is no chain needs. */
size_t gd_node_scratch(const gd_program *program, gd_step_plan *step);

/* Join axes of a load that go on evenly: fewer and longer rows. */
void gd_collapse(gd_load *load);

/* ---- Running one step (program_chain.c, program_loops.c) ------------------------------------- */

struct gd_run {
    const gd_program *program;
    size_t threads, shares; /* of the chain under way */
    char **base;   /* address of each buffer */
    char *arena, *slots, *scratch;
    char **slot;   /* where each slot of each thread stands now */
    double *sums;  /* of blocks, for the chain under way */
    const gd_chain *chain; /* under way */
    void *memory;
};

/* The threads of so many that a step is worth. */
size_t gd_step_threads(const gd_step_plan *step, size_t threads);

void gd_run_chain(gd_run *run, const gd_step_plan *step);
gd_run_status gd_run_node(gd_run *run, const gd_step_plan *step);

/* Fill the slots of the constants, of every thread. */
void gd_fill_constants(gd_run *run);

/* The address of a node's first element. */
char *gd_address_of(const gd_run *run, const gd_node *node);

/* y[...] = x[...] over a shape, by strides in elements. */
void gd_copy_strided(size_t real_size, size_t ndim, const size_t *shape, const void *x,
                     const ptrdiff_t *x_stride, void *y, const ptrdiff_t *y_stride);

/* Elements [from, from + n) in C order of a load into y. */
void gd_load_block(const gd_load *load, const char *base, size_t from, size_t n, void *y);

#endif
