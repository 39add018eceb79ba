/* arrays.h: what the bindings may ask of NumPy arrays; arrays.c and, of data to train on,
 * arrays_data.c answer, and raise for them. Containers of arrays are walked in module_walk.c.
 *
 * Every function that returns NULL or -1 has set an exception that names the argument, what was
 * found, what is accepted and the way out. Arrays are returned as new references. */
#ifndef GD_ARRAYS_H
#define GD_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL gdcore_ARRAY_API
#define PY_UFUNC_UNIQUE_SYMBOL gdcore_UFUNC_API
#ifndef GD_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#define NO_IMPORT_UFUNC
#endif
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include "gather.h"

enum gd_layout {
    GD_CONTIGUOUS, /* C-contiguous; anything else is copied into that order (pure functions) */
    GD_STRIDED,    /* any non-overlapping strides of whole elements, read in place */
};

/* An argument that is only read. float32 and float64 arrays are borrowed as they are; numbers,
 * lists, booleans and integers become `type`, or float64 where type is NPY_NOTYPE; a real array
 * of another type than `type` is a TypeError that names `like`, the argument which fixed it. */
PyArrayObject *gd_array_input(PyObject *value, const char *name, int type, const char *like,
                              enum gd_layout layout);

/* Class numbers in [0, classes) as a C-contiguous int64 array; whole-numbered reals are taken. */
PyArrayObject *gd_array_labels(PyObject *value, const char *name, npy_intp classes);

/* An array to be written: exactly `type`, exactly this shape, C-contiguous, aligned, writeable. */
PyArrayObject *gd_array_output(PyObject *value, const char *name, int type, int ndim,
                               const npy_intp *shape);

/* 0, or -1 with a TypeError where it is a masked array, whose mask a kernel would not see. */
int gd_array_unmasked(PyArrayObject *array, const char *name);

/* Data to train on, read where they are: an array of one or two dimensions (one: a column), of
 * reals, whole numbers or booleans, native and aligned; any strides, read-only or not. The source
 * borrows it: the caller keeps the reference. Strides that nothing is reached by (an axis of length
 * 1, no elements) are what they would be in a contiguous array. 0, or -1 with an exception. */
int gd_array_source(PyObject *value, const char *name, gd_source *source);

/* How the elements of a C- or Fortran-contiguous array fall into units. */
gd_units gd_array_units(PyArrayObject *array);

/* First and one past the last byte that the array touches, whatever its strides. */
void gd_array_extent(PyArrayObject *array, const char **low, const char **high);

/* 0 where the two share no byte, else -1 with a ValueError. */
int gd_array_disjoint(PyArrayObject *a, const char *a_name, PyArrayObject *b, const char *b_name);

/* Whether the shapes are equal without their axes of length 1: (n,) and (n, 1) are, and n x n never
 * comes of them. */
bool gd_array_agrees(PyArrayObject *array, int ndim, const npy_intp *shape);

/* "(3, 4)" into text; cannot fail, cuts what does not fit. */
void gd_shape_text(int ndim, const npy_intp *shape, char *text, size_t room);

/* ---- Containers: tuples, lists and dicts of arrays, any depth ------------------------------- */

/* Where an array stands in a container: a chain from the leaf up to the argument's name. */
typedef struct gd_path {
    const struct gd_path *parent;
    PyObject *key;    /* dict key, borrowed, or NULL */
    Py_ssize_t index; /* position in a list or tuple */
} gd_path;

/* Called for each leaf, in order; `grad` is NULL where no gradients are walked. Non-zero stops. */
typedef int gd_leaf_fn(void *context, PyObject *param, PyObject *grad, const gd_path *path);

/* Walk params and, beside it, grads (or NULL). List and tuple are interchangeable between the
 * two, dict keys must agree. 0, or -1 with an exception. */
int gd_walk(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context);

/* The name of the i-th array of a container, in the order of the walk, as a new str. */
PyObject *gd_leaf_name(PyObject *container, const char *root, size_t i);

/* "params[0]['W']" as a new str; name is the root. */
PyObject *gd_path_text(const char *name, const gd_path *path);

/* Raise "params[0]['W'] " and the message, formatted as by PyErr_Format; always -1. */
int gd_refuse(PyObject *type, const char *root, const gd_path *path, const char *format, ...);

/* What a step needs of one array. */
typedef struct {
    void *data;
    size_t size;
    int type; /* NPY_FLOAT32 or NPY_FLOAT64 */
} gd_buffer;

/* Check an array that is to be updated in place (float32 or float64, native, aligned, writeable,
 * C- or Fortran-contiguous); -1 with an exception that names root + path. */
int gd_step_param(PyObject *value, const char *root, const gd_path *path, gd_buffer *buffer);

/* Check the gradient of `param`: same type, shape and order; a number for one element is written
 * to *number and the buffer points there. */
int gd_step_grad(PyObject *value, PyArrayObject *param, const gd_path *path, gd_buffer *buffer,
                 double *number);

#endif
