/* module_constraints.c: what follows a step, for Python: the projections of gdcore/constraints.py
 * on an array of its own, the average of gdcore/_ema.py in place; in its loops the engine does the
 * same. Refuses what is not an array of reals or cannot be read as one. */
#include "module.h"
#include "optimizer.h"
#include "threads.h"
#include "units.h"

enum {
    RELEASE_GIL = 4096,  /* elements from which the work is longer than handing over the GIL */
    THREADED = 48 * 1024 /* elements from which threads pay, as in a step without state */
};

/* A new array with the elements of x, in Fortran order where x is in that alone. */
static PyArrayObject *copy_of(PyArrayObject *x)
{
    PyArrayObject *copy = (PyArrayObject *)PyArray_NewLikeArray(x, NPY_ANYORDER, NULL, 0);
    if (copy != NULL && PyArray_CopyInto(copy, x) < 0)
        Py_CLEAR(copy);
    return copy;
}

static void project_array(const gd_constraint *constraint, PyArrayObject *x, double *factor)
{
    const size_t real_size = (size_t)PyArray_ITEMSIZE(x), size = (size_t)PyArray_SIZE(x);
    const gd_units units = gd_array_units(x);
    const size_t threads = size < THREADED ? 1 : gd_threads_get();
    void *data = PyArray_DATA(x);
    if (size < RELEASE_GIL) {
        gd_project(constraint, real_size, &units, data, factor, threads);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    gd_project(constraint, real_size, &units, data, factor, threads);
    Py_END_ALLOW_THREADS
}

PyDoc_STRVAR(project_doc, "project(constraint, x)\n--\n\nA new array: the point that keeps the "
                          "constraint (kind, low, high) and is nearest to x.");

static PyObject *project(PyObject *module, PyObject *args)
{
    PyObject *value;
    gd_constraint constraint;
    int kind;
    (void)module;
    if (!PyArg_ParseTuple(args, "(idd)O", &kind, &constraint.low, &constraint.high, &value))
        return NULL;
    if (kind < GD_FREE || kind >= GD_CONSTRAINTS)
        return PyErr_Format(PyExc_ValueError, "project: there is no constraint %d", kind);
    constraint.kind = (gd_constraint_kind)kind;
    PyArrayObject *x = gd_array_input(value, "x", NPY_NOTYPE, NULL, GD_STRIDED);
    PyArrayObject *copy = x != NULL ? copy_of(x) : NULL;
    Py_XDECREF(x);
    if (copy == NULL)
        return NULL;
    double *factor = NULL;
    if (gd_projects_by_factors(&constraint)) {
        factor = gd_alloc(gd_array_units(copy).count, sizeof *factor);
        if (factor == NULL) {
            Py_DECREF(copy);
            return PyErr_NoMemory();
        }
    }
    project_array(&constraint, copy, factor);
    gd_free(factor);
    return PyArray_Check(value) ? (PyObject *)copy : PyArray_Return(copy);
}

PyDoc_STRVAR(average_doc, "average(average, p, share, /)\n--\n\nMove the average toward p, in "
                          "place: average += share (p - average).");

/* Whether the elements of the two follow one another alike. */
static bool are_alike(PyArrayObject *a, PyArrayObject *b)
{
    return PyArray_TYPE(a) == PyArray_TYPE(b) && PyArray_SAMESHAPE(a, b) &&
           ((PyArray_IS_C_CONTIGUOUS(a) && PyArray_IS_C_CONTIGUOUS(b)) ||
            (PyArray_IS_F_CONTIGUOUS(a) && PyArray_IS_F_CONTIGUOUS(b)));
}

static PyObject *average(PyObject *module, PyObject *args)
{
    PyObject *value, *param;
    double share;
    gd_buffer kept, p;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOd", &value, &param, &share) ||
        gd_step_param(value, "average", NULL, &kept) < 0 ||
        gd_step_param(param, "p", NULL, &p) < 0)
        return NULL;
    if (!are_alike((PyArrayObject *)value, (PyArrayObject *)param))
        return PyErr_Format(PyExc_ValueError, "average and p differ in type, shape or order");
    const size_t real_size = p.type == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    if (p.size < RELEASE_GIL) {
        gd_average(real_size, p.size, p.data, kept.data, share);
        Py_RETURN_NONE;
    }
    Py_BEGIN_ALLOW_THREADS
    gd_average(real_size, p.size, p.data, kept.data, share);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyMethodDef gd_constraint_methods[] = {
    {"project", project, METH_VARARGS, project_doc},
    {"average", average, METH_VARARGS, average_doc},
    {NULL, NULL, 0, NULL},
};
