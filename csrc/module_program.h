/* module_program.h: the program object, and what its binding files ask of one another: life and
 * runs (module_program.c), the arrays of a run (module_inputs.c). */
#ifndef GD_MODULE_PROGRAM_H
#define GD_MODULE_PROGRAM_H

#include <stdatomic.h>

#include "module.h"
#include "program.h"

typedef struct {
    PyObject_HEAD
    gd_program *program;
    gd_run *run;      /* kept from run to run */
    size_t threads;   /* in force when it was opened */
    atomic_flag busy; /* of that run; a second thread opens one of its own */
    size_t slots;     /* arrays that a run takes */
    size_t output_count;
    int *output_type;       /* of each output: NPY_FLOAT32 or NPY_FLOAT64 */
    int *output_ndim;
    npy_intp *output_shape; /* GD_MAX_AXES numbers each */
} program_object;

/* The arrays of one run, owned until gd_inputs_release. */
typedef struct {
    const void **data;     /* one for each input of the program */
    PyArrayObject **array; /* the same, by reference; NULL for numbers */
    float *narrow;         /* numbers that are read as float32 */
    size_t count;
    void *kept;            /* where the numbers stand, if that is theirs to free */
    void *memory;          /* NULL: the three stand in `small` */
    const void *small[48];
} gd_inputs;

/* Borrow what the program reads from arrays by slot: float32 and float64 arrays of the declared
 * shape and strides as they are, other numbers converted. Where the array of a slot is NULL its
 * number stands in `numbers` (NULL: none), which must live as long as the inputs. -1 with an
 * exception, a ValueError for another shape or type, and nothing is held. */
int gd_inputs_take(const program_object *self, PyObject *const *arrays, const double *numbers,
                   size_t count, gd_inputs *inputs);
void gd_inputs_release(gd_inputs *inputs);

/* A run for one caller at a time, and back; NULL with a MemoryError. */
gd_run *gd_program_run_take(program_object *self);
void gd_program_run_give(program_object *self, gd_run *run);

/* Raise what a run's status says; -1, or 0 where all went well. */
int gd_program_raise(gd_run_status status);

/* Of a Call: its program; and the inputs for a tuple of arguments: 1, 0 where they differ from
 * those of the trace and nothing is held, -1 with an exception. */
program_object *gd_call_program(PyObject *call);
int gd_call_inputs(PyObject *call, PyObject *args, gd_inputs *inputs);

/* A new array for output i. */
PyArrayObject *gd_program_output(const program_object *self, size_t i);

extern PyType_Spec gd_program_spec, gd_call_spec;
extern PyMethodDef gd_program_methods[], gd_descent_methods[];

#endif
