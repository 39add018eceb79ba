/* module.h: what the binding files share: the module's state and the parsing of arguments. */
#ifndef GD_MODULE_H
#define GD_MODULE_H

#include "arrays.h"
#include "linear.h"
#include "rules.h"

typedef struct {
    PyObject *optimizer_type;
    PyObject *program_type, *call_type, *network_type, *trainer_type;
    PyObject *nonfinite_error;
} gd_module_state;

extern struct PyModuleDef gd_module_def;

/* Arguments of a vectorcall function by position and keyword, into out[0 .. number of names) as
 * borrowed references, NULL where not given. The first `positional` may come by position, the
 * first `required` must come. `names` ends with NULL. 0, or -1 with a TypeError. */
int gd_parse(const char *function, const char *const *names, Py_ssize_t positional,
             Py_ssize_t required, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
             PyObject **out);

/* An activation or loss from the tuple (id, parameters...) that Python keeps in its `_spec`;
 * `count` is the number of rows of the family. 0, or -1 with an exception. */
int gd_function_from(PyObject *spec, int count, gd_function *function);

/* A NumPy scalar of the type (NPY_FLOAT32 or NPY_FLOAT64). */
PyObject *gd_scalar(double value, int type);

/* A C-contiguous, writeable array of that type with at least n elements, borrowed; or NULL with an
 * exception. */
PyArrayObject *gd_plain_array(PyObject *value, const char *name, int type, size_t n);
/* The doubles of such an array. */
double *gd_plain_doubles(PyObject *value, const char *name, size_t n);

/* Whether signals have raised an exception; asked with the GIL released. */
typedef struct {
    PyThreadState *saved;
} gd_waiting;
bool gd_look_at_signals(void *waiting);

/* What each binding file adds to the module. */
extern PyMethodDef gd_function_methods[];
extern PyMethodDef gd_linear_methods[];
extern PyMethodDef gd_constraint_methods[];
extern PyMethodDef gd_data_methods[];
extern PyType_Spec gd_optimizer_spec;
int gd_add_ufuncs(PyObject *module);
int gd_add_tables(PyObject *module);

#endif
