/* program.h: array instructions over buffers of fixed shapes, built once and run many times.
 *
 * A program is a flat list of instructions (ops.def), each with one result; operands are results
 * that stand before it. Building drops what no output needs and what stands twice, finds out which
 * results are only views, joins elementwise instructions into chains that run block by block in L1,
 * and lays everything out in one arena. Shapes alone decide the bits, for any number of threads. */
#ifndef GD_PROGRAM_H
#define GD_PROGRAM_H

#include "gd.h"

enum { GD_MAX_SLOTS = 1 << 20 }; /* arrays that a caller numbers */

typedef struct {
    gd_op op;
    size_t real_size; /* of the result: 4 or 8 */
    size_t ndim, shape[GD_MAX_AXES];
    size_t operand_count, param_count;
    const size_t *operand; /* numbers of instructions before this one */
    const double *param;   /* what ops.def says of the instruction */
} gd_instruction;

/* An array that the caller hands in at each run, in the order of the instructions that read one. */
typedef struct {
    size_t slot; /* the caller's own number for it */
    bool indices; /* int64 positions in C order; else reals with these strides, in elements */
    size_t real_size, ndim, shape[GD_MAX_AXES];
    ptrdiff_t stride[GD_MAX_AXES];
} gd_program_input;

/* What is wrong with instruction i of a list, or NULL where gd_program_build takes it; those before
 * it are sound. */
const char *gd_instruction_check(const gd_instruction *list, size_t i);

typedef struct gd_program gd_program;

/* A program that computes the results numbered `outputs`, of sound instructions; NULL where memory
 * is short. The list is not needed afterwards. */
gd_program *gd_program_build(const gd_instruction *list, size_t count, const size_t *outputs,
                             size_t output_count);
void gd_program_free(gd_program *program);

/* The line of output i. */
size_t gd_program_output_at(const gd_program *program, size_t i);
size_t gd_program_input_count(const gd_program *program);
const gd_program_input *gd_program_input_at(const gd_program *program, size_t i);

/* One line of a listing: instruction `name` number `node` of `step`, joined with the others of the
 * step in one pass; false past the end. */
typedef struct {
    const char *name;
    size_t node, step, real_size, ndim, operand_count, param_count;
    const size_t *shape, *operand; /* numbers of lines; leaves have lines of their own */
    const double *param;
    size_t bytes; /* of memory for the result; 0 where it stays in L1 or is a view */
} gd_program_line;
bool gd_program_list(const gd_program *program, size_t i, gd_program_line *line);
/* Bytes that a run works in, and number of steps. */
size_t gd_program_room(const gd_program *program);
size_t gd_program_steps(const gd_program *program);

/* Whether a run takes longer than handing over a lock. */
bool gd_program_is_long(const gd_program *program);

/* ---- Runs ------------------------------------------------------------------------------------ */

/* The memory of one run at a time; several may be open for one program. NULL: memory is short. */
typedef struct gd_run gd_run;
gd_run *gd_run_open(const gd_program *program, size_t threads);
void gd_run_close(gd_run *run);
const gd_program *gd_run_program(const gd_run *run);

typedef enum {
    GD_RUN_DONE,
    GD_RUN_NO_MEMORY, /* in a long matrix product, which takes some of its own */
    GD_RUN_BAD_INDEX, /* indices outside the axis */
    GD_RUN_STOPPED,   /* of passes through a network: the caller's poll said so */
} gd_run_status;

/* Compute the outputs, C-contiguous, from the inputs, which they do not overlap. */
gd_run_status gd_run_once(gd_run *run, const void *const *inputs, void *const *outputs);

#endif
