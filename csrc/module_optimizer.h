/* module_optimizer.h: the optimizer object and what its three binding files ask of one another:
 * settings (module_settings.c), the first step (module_bind.c), every step (module_optimizer.c). */
#ifndef GD_MODULE_OPTIMIZER_H
#define GD_MODULE_OPTIMIZER_H

#include "module.h"
#include "optimizer.h"

typedef enum { IGNORE_NONFINITE, RAISE_NONFINITE, SKIP_NONFINITE } nonfinite_rule;

typedef struct {
    PyObject_HEAD
    gd_step step;
    PyObject *rates;  /* tuple, per group: a callable t -> learning rate, or None */
    PyObject *arrays; /* list of the bound parameter arrays, NULL while unbound */
    PyObject *state;  /* list of tuples of state arrays, NULL before the first step */
    double *numbers;  /* per array: room for a gradient that is a number */
    PyObject **grads; /* the gradients of the step under way, owned */
    gd_span *taken;   /* memory of the bound arrays and of their state, by address */
    size_t taken_count;
    int64_t t;
    size_t elements;
    nonfinite_rule on_nonfinite;
    bool busy;
} optimizer;

/* Raise RuntimeError and return -1 while a step is under way, else 0. */
int gd_optimizer_refuse_busy(const optimizer *self);

/* The method _configure: take the settings; on an error the old ones stay. */
PyObject *gd_optimizer_configure(PyObject *object, PyObject *args);

/* Bind to the arrays of params and make their state, from the loaded one where there is one; -1
 * with an exception, and unbound. */
int gd_optimizer_bind(optimizer *self, PyObject *params);

/* Forget the arrays, keep state and t. Cannot fail. */
void gd_optimizer_unbind(optimizer *self);

/* The i-th array of a list of arrays, borrowed. */
PyArrayObject *gd_array_at(PyObject *list, size_t i);

#endif
