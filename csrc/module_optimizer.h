/* module_optimizer.h: the optimizer object and what its four binding files ask of one another:
 * settings (module_settings.c), the first step (module_bind.c), rates (module_rates.c), every step
 * (module_optimizer.c). */
#ifndef GD_MODULE_OPTIMIZER_H
#define GD_MODULE_OPTIMIZER_H

#include "module.h"
#include "optimizer.h"

typedef enum { IGNORE_NONFINITE, RAISE_NONFINITE, SKIP_NONFINITE } nonfinite_rule;

typedef struct {
    PyObject_HEAD
    gd_step step;
    PyObject *rates;  /* tuple, per group: what gives the learning rate, see gd_rates_read */
    PyObject *arrays; /* list of the bound parameter arrays, NULL while unbound */
    PyObject *state;  /* list of tuples of state arrays, NULL before the first step */
    double *factors;  /* of units, where a group needs them; gd_array.factor points here */
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

/* Give the bound arrays the room for factors that these groups need; -1 with a MemoryError, and
 * nothing has changed. */
int gd_optimizer_make_room(optimizer *self, const gd_group *groups);

/* Forget the arrays, keep state and t. Cannot fail. */
void gd_optimizer_unbind(optimizer *self);

/* Enter into the groups those rates that the engine computes from the gradient's norm; -1 with an
 * exception. */
int gd_rates_by_norm(gd_group *groups, size_t count, PyObject *rates);

/* Set the rates and momenta of the step to come. For each group `rates` holds None (a number, in
 * its place already), a schedule, i.e. a callable of t, or a pair: (schedule, schedule of
 * momentum), (by_gradient, None) or (plateau, its state), which is told the loss (NULL: not given).
 * Groups that share a schedule ask it once: a user's own may count its calls. *rates becomes what
 * is to stand in `rates` once the step is taken, new, or NULL where that is the same; -1 with an
 * exception. */
int gd_rates_read(const optimizer *self, PyObject *loss, PyObject **rates);

/* The loss as a double, from a number or an array of one element; -1 with an exception. */
int gd_loss_read(PyObject *loss, double *value);

/* Refuse params that are not the bound arrays as they were then: 0, or -1 with an exception. */
int gd_optimizer_refuse_others(optimizer *self, PyObject *params);

/* The i-th array of a list of arrays, borrowed. */
PyArrayObject *gd_array_at(PyObject *list, size_t i);

#endif
