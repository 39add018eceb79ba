/* module_network.h: the network object, and what its binding files ask of one another: networks,
 * their functions, predictions (module_network.c), what a call is given (module_given.c), training
 * (module_train.c). */
#ifndef GD_MODULE_NETWORK_H
#define GD_MODULE_NETWORK_H

#include "module_program.h"
#include "pass.h"

typedef struct {
    PyObject_HEAD
    gd_network network;
    void *memory;
} network_object;

/* Everything that passes read and that is the caller's: arrays by reference, their addresses. */
typedef struct {
    gd_network network;  /* with the parts of this call */
    gd_data data;
    gd_objective objective;
    bool has_objective;
    void **param, **buffer;
    PyObject *held;      /* list of all that is borrowed */
    int64_t *index;      /* a copy: another thread may write to the caller's */
    gd_part *part;
    const void **captured;
    void *memory;
} given;

/* Read (params, buffers, X, y, weights, index, objective, parts, whole) for a network; -1 with an
 * exception, and gd_given_release is due all the same. y, weights, index and objective may be None.
 * whole: the programs of the parts look at all rows of a batch together. */
int gd_given_read(const network_object *network, PyObject *arguments, given *g);
void gd_given_release(given *g);

/* The addresses of a list of writeable C-contiguous arrays of the network's type and these sizes;
 * -1 with an exception. */
int gd_given_arrays(PyObject *list, const char *name, size_t real_size, const size_t *size,
                    size_t count, void **data);

/* Raise what became of a pass; -1, or 0 where all went well. */
int gd_pass_raise(gd_run_status status);

extern PyType_Spec gd_network_spec, gd_trainer_spec;
extern PyMethodDef gd_train_methods[];

#endif
