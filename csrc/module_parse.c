/* module_parse.c: arguments of vectorcall functions, and small conversions that bindings share. */
#include "module.h"

static Py_ssize_t find_name(const char *const *names, PyObject *name)
{
    for (Py_ssize_t i = 0; names[i] != NULL; i++)
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0)
            return i;
    return -1;
}

int gd_parse(const char *function, const char *const *names, Py_ssize_t positional,
             Py_ssize_t required, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
             PyObject **out)
{
    const Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; names[i] != NULL; i++)
        out[i] = i < nargs && i < positional ? args[i] : NULL;
    if (nargs > positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments, not %zd",
                     function, positional, nargs);
        return -1;
    }
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        const Py_ssize_t i = find_name(names, name);
        if (i < 0 || out[i] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         i < 0 ? "%s() has no argument %R" : "%s() got %R twice", function, name);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    for (Py_ssize_t i = 0; i < required; i++)
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() is missing its argument '%s'", function, names[i]);
            return -1;
        }
    return 0;
}

int gd_function_from(PyObject *spec, int count, gd_function *function)
{
    const Py_ssize_t size = PyTuple_Check(spec) ? PyTuple_GET_SIZE(spec) : 0;
    if (size < 1 || size > 1 + GD_MAX_PARAMS) {
        PyErr_Format(PyExc_TypeError, "a row of the table is (id, parameters...), not %R", spec);
        return -1;
    }
    const long id = PyLong_AsLong(PyTuple_GET_ITEM(spec, 0));
    if (id < 0 || id >= count) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "the table has no row %ld", id);
        return -1;
    }
    *function = (gd_function){.id = (int)id};
    for (Py_ssize_t i = 1; i < size; i++) {
        function->param[i - 1] = PyFloat_AsDouble(PyTuple_GET_ITEM(spec, i));
        if (function->param[i - 1] == -1.0 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

PyObject *gd_scalar(double value, int type)
{
    const float narrow = (float)value;
    PyArray_Descr *descr = PyArray_DescrFromType(type);
    if (descr == NULL)
        return NULL;
    PyObject *scalar = PyArray_Scalar(type == NPY_FLOAT32 ? (void *)&narrow : (void *)&value,
                                      descr, NULL);
    Py_DECREF(descr);
    return scalar;
}

bool gd_look_at_signals(void *context)
{
    gd_waiting *w = context;
    PyEval_RestoreThread(w->saved);
    const bool raised = PyErr_CheckSignals() < 0;
    w->saved = PyEval_SaveThread();
    return raised;
}

PyArrayObject *gd_plain_array(PyObject *value, const char *name, int type, size_t n)
{
    if (PyArray_Check(value)) {
        PyArrayObject *array = (PyArrayObject *)value;
        if (PyArray_TYPE(array) == type && PyArray_ISCARRAY(array) &&
            (size_t)PyArray_SIZE(array) >= n)
            return array;
    }
    PyErr_Format(PyExc_ValueError, "%s is no writeable C-contiguous array of %zu elements", name,
                 n);
    return NULL;
}

double *gd_plain_doubles(PyObject *value, const char *name, size_t n)
{
    PyArrayObject *array = gd_plain_array(value, name, NPY_FLOAT64, n);
    return array != NULL ? PyArray_DATA(array) : NULL;
}
