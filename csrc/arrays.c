/* arrays.c: the only place that looks inside an array and says what is wrong with it.
 *
 * Whatever a binding takes comes through here: types, byte order, shape, alignment, layout,
 * writability, overlap, and the containers in which parameters and gradients arrive. Nothing is
 * converted silently: in-place arguments are used as they are or refused. */
#include "arrays.h"

#include <string.h>

void gd_shape_text(int ndim, const npy_intp *shape, char *text, size_t room)
{
    size_t used = (size_t)PyOS_snprintf(text, room, "(");
    for (int i = 0; i < ndim && used + 24 < room; i++)
        used += (size_t)PyOS_snprintf(text + used, room - used, i > 0 ? ", %zd" : "%zd",
                                      (Py_ssize_t)shape[i]);
    PyOS_snprintf(text + used, room - used, ndim == 1 ? ",)" : ")");
}

static bool is_real(int type)
{
    return type == NPY_FLOAT32 || type == NPY_FLOAT64;
}

static const char *type_text(int type)
{
    return type == NPY_FLOAT32 ? "float32" : "float64";
}

/* Native byte order and aligned, what every kernel needs; -1 with an exception. */
static int check_memory(PyArrayObject *array, const char *name)
{
    if (!PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_TypeError,
                     "%s has non-native byte order (%S); native float32 or float64 is accepted: "
                     "convert it once with %s.astype(%s.dtype.newbyteorder('='))",
                     name, (PyObject *)PyArray_DESCR(array), name, name);
        return -1;
    }
    if (!PyArray_ISALIGNED(array)) {
        PyErr_Format(PyExc_ValueError,
                     "%s is not aligned to its type (a view into packed bytes?); aligned memory is "
                     "accepted: %s.copy() gives it",
                     name, name);
        return -1;
    }
    return 0;
}

/* ---- Arguments that are read ------------------------------------------------------------------------ */

/* A new reference to an array of whatever the value is: itself, or through __array__, or through
 * __dlpack__ where it offers that alone. */
static PyArrayObject *as_array(PyObject *value)
{
    if (PyArray_Check(value))
        return (PyArrayObject *)Py_NewRef(value);
    if (PyObject_HasAttrString(value, "__dlpack__") &&
        !PyObject_HasAttrString(value, "__array__")) {
        PyObject *numpy = PyImport_ImportModule("numpy");
        PyObject *array =
            numpy != NULL ? PyObject_CallMethod(numpy, "from_dlpack", "O", value) : NULL;
        Py_XDECREF(numpy);
        return (PyArrayObject *)array;
    }
    return (PyArrayObject *)PyArray_FROM_O(value);
}

static PyArrayObject *refuse_type(PyArrayObject *array, const char *name)
{
    PyErr_Format(PyExc_TypeError,
                 "%s has dtype %S; float32, float64, integers and booleans are accepted: convert "
                 "it with .astype(np.float64) or .astype(np.float32)",
                 name, (PyObject *)PyArray_DESCR(array));
    Py_DECREF(array);
    return NULL;
}

static PyArrayObject *refuse_mix(PyArrayObject *array, const char *name, int type,
                                 const char *like)
{
    PyErr_Format(PyExc_TypeError,
                 "%s is %s but %s is %s; give both the same type, for example "
                 "%s.astype(np.%s) (nothing is upcast or copied silently)",
                 name, type_text(PyArray_TYPE(array)), like, type_text(type), name,
                 type_text(type));
    Py_DECREF(array);
    return NULL;
}

/* Whether strides are whole elements, so that C can walk them. */
static bool whole_strides(PyArrayObject *array)
{
    for (int i = 0; i < PyArray_NDIM(array); i++)
        if (PyArray_STRIDE(array, i) % PyArray_ITEMSIZE(array) != 0)
            return false;
    return true;
}

PyArrayObject *gd_array_input(PyObject *value, const char *name, int type, const char *like,
                              enum gd_layout layout)
{
    PyArrayObject *array = as_array(value);
    if (array == NULL)
        return NULL;
    const int found = PyArray_TYPE(array);
    if (!is_real(found) && !PyTypeNum_ISINTEGER(found) && found != NPY_BOOL)
        return refuse_type(array, name);
    /* Numbers and lists take the type that is asked for; everything with a type of its own keeps
     * it or is refused. */
    const bool typed = is_real(found) && !PyList_Check(value) && !PyTuple_Check(value) &&
                       !PyFloat_Check(value) && !PyArray_IsScalar(value, Generic);
    if (typed && type != NPY_NOTYPE && found != type)
        return refuse_mix(array, name, type, like);
    if (typed && check_memory(array, name) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    if (typed && (layout == GD_STRIDED ? whole_strides(array) : PyArray_IS_C_CONTIGUOUS(array)))
        return array;
    const int target = type != NPY_NOTYPE ? type : is_real(found) ? found : NPY_FLOAT64;
    PyArrayObject *real =
        (PyArrayObject *)PyArray_FROMANY((PyObject *)array, target, 0, 0,
                                         NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    Py_DECREF(array);
    return real;
}

static int check_labels(PyArrayObject *labels, const char *name, npy_intp classes)
{
    const npy_int64 *c = PyArray_DATA(labels);
    for (npy_intp i = 0; i < PyArray_SIZE(labels); i++)
        if (c[i] < 0 || c[i] >= classes) {
            PyErr_Format(PyExc_ValueError,
                         "%s holds the class number %lld at position %zd; numbers from 0 to %zd "
                         "are accepted, one per column of y_pred",
                         name, (long long)c[i], (Py_ssize_t)i, (Py_ssize_t)(classes - 1));
            return -1;
        }
    return 0;
}

/* Reals that are whole numbers become int64; a fraction, a NaN or a huge value is refused. */
static PyArrayObject *whole_numbers(PyArrayObject *array, const char *name)
{
    PyArrayObject *reals =
        (PyArrayObject *)PyArray_FROMANY((PyObject *)array, NPY_FLOAT64, 0, 0,
                                         NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    PyArrayObject *labels =
        reals != NULL ? (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(reals),
                                                           PyArray_DIMS(reals), NPY_INT64)
                      : NULL;
    for (npy_intp i = 0; labels != NULL && i < PyArray_SIZE(reals); i++) {
        const double x = ((const double *)PyArray_DATA(reals))[i];
        if (x > -9e15 && x < 9e15 && x == (double)(npy_int64)x) {
            ((npy_int64 *)PyArray_DATA(labels))[i] = (npy_int64)x;
            continue;
        }
        PyObject *number = PyFloat_FromDouble(x);
        if (number != NULL)
            PyErr_Format(PyExc_ValueError,
                         "%s holds %R at position %zd; class numbers are whole (one-hot rows or "
                         "probabilities go to categorical_crossentropy)",
                         name, number, (Py_ssize_t)i);
        Py_XDECREF(number);
        Py_CLEAR(labels);
    }
    Py_XDECREF(reals);
    return labels;
}

PyArrayObject *gd_array_labels(PyObject *value, const char *name, npy_intp classes)
{
    PyArrayObject *array = as_array(value), *labels = NULL;
    if (array == NULL)
        return NULL;
    if (is_real(PyArray_TYPE(array)))
        labels = whole_numbers(array, name);
    else if (PyTypeNum_ISINTEGER(PyArray_TYPE(array)) || PyTypeNum_ISBOOL(PyArray_TYPE(array)))
        labels = (PyArrayObject *)PyArray_FROMANY((PyObject *)array, NPY_INT64, 0, 0,
                                                  NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    else
        PyErr_Format(PyExc_TypeError, "%s has dtype %S; class numbers are integers", name,
                     (PyObject *)PyArray_DESCR(array));
    Py_DECREF(array);
    if (labels != NULL && check_labels(labels, name, classes) < 0)
        Py_CLEAR(labels);
    return labels;
}

/* ---- Arguments that are written ------------------------------------------------------------------- */

static int check_target(PyArrayObject *array, const char *name)
{
    if (!is_real(PyArray_TYPE(array))) {
        PyErr_Format(PyExc_TypeError,
                     "%s has dtype %S; float32 and float64 arrays are updated in place: create it "
                     "as one, for example %s.astype(np.float64)",
                     name, (PyObject *)PyArray_DESCR(array), name);
        return -1;
    }
    if (check_memory(array, name) < 0)
        return -1;
    if (!PyArray_ISWRITEABLE(array)) {
        PyErr_Format(PyExc_ValueError,
                     "%s is read-only and would be updated in place; a writeable array is "
                     "accepted: %s.copy() gives one",
                     name, name);
        return -1;
    }
    return 0;
}

static int refuse_shape(const char *name, PyArrayObject *array, int ndim, const npy_intp *shape)
{
    char found[128], wanted[128];
    gd_shape_text(PyArray_NDIM(array), PyArray_DIMS(array), found, sizeof found);
    gd_shape_text(ndim, shape, wanted, sizeof wanted);
    PyErr_Format(PyExc_ValueError, "%s has shape %s; %s is wanted", name, found, wanted);
    return -1;
}

static int check_output(PyArrayObject *array, const char *name, int type, int ndim,
                        const npy_intp *shape)
{
    if (check_target(array, name) < 0)
        return -1;
    if (PyArray_TYPE(array) != type) {
        PyErr_Format(PyExc_TypeError, "%s is %s; the result is %s: create it with dtype=np.%s",
                     name, type_text(PyArray_TYPE(array)), type_text(type), type_text(type));
        return -1;
    }
    if (PyArray_NDIM(array) != ndim || !PyArray_CompareLists(PyArray_DIMS(array), shape, ndim))
        return refuse_shape(name, array, ndim, shape);
    if (!PyArray_IS_C_CONTIGUOUS(array)) {
        PyErr_Format(PyExc_ValueError,
                     "%s is not C-contiguous; a contiguous array is accepted as target, for "
                     "example np.empty(shape, dtype)",
                     name);
        return -1;
    }
    return 0;
}

PyArrayObject *gd_array_output(PyObject *value, const char *name, int type, int ndim,
                               const npy_intp *shape)
{
    if (!PyArray_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s is %.80s; a NumPy array to write into is accepted", name,
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    if (check_output((PyArrayObject *)value, name, type, ndim, shape) < 0)
        return NULL;
    return (PyArrayObject *)Py_NewRef(value);
}

/* First and one past the last byte that the array touches, whatever its strides. */
static void extent(PyArrayObject *array, const char **low, const char **high)
{
    *low = *high = PyArray_BYTES(array);
    if (PyArray_SIZE(array) == 0)
        return;
    for (int i = 0; i < PyArray_NDIM(array); i++) {
        const npy_intp reach = (PyArray_DIM(array, i) - 1) * PyArray_STRIDE(array, i);
        if (reach < 0)
            *low += reach;
        else
            *high += reach;
    }
    *high += PyArray_ITEMSIZE(array);
}

int gd_array_disjoint(PyArrayObject *a, const char *a_name, PyArrayObject *b, const char *b_name)
{
    const char *a_low, *a_high, *b_low, *b_high;
    extent(a, &a_low, &a_high);
    extent(b, &b_low, &b_high);
    if (a_high <= b_low || b_high <= a_low)
        return 0;
    PyErr_Format(PyExc_ValueError,
                 "%s shares memory with %s; memory of its own is accepted: pass %s.copy()", a_name,
                 b_name, b_name);
    return -1;
}

/* ---- Arrays of a step ------------------------------------------------------------------------------- */

/* Raise with "params[0]['W']" (or grads...) in front; always -1. */
static int refuse(PyObject *type, const char *root, const gd_path *path, const char *message)
{
    PyObject *name = gd_path_text(root, path);
    if (name != NULL)
        PyErr_Format(type, "%U %s", name, message);
    Py_XDECREF(name);
    return -1;
}

static bool one_segment(PyArrayObject *array)
{
    return PyArray_IS_C_CONTIGUOUS(array) || PyArray_IS_F_CONTIGUOUS(array);
}

static int check_step_target(PyArrayObject *array, const char *root, const gd_path *path)
{
    PyObject *name = gd_path_text(root, path);
    const char *text = name != NULL ? PyUnicode_AsUTF8(name) : NULL;
    const int status = text != NULL ? check_target(array, text) : -1;
    Py_XDECREF(name);
    return status;
}

int gd_step_param(PyObject *value, const gd_path *path, gd_buffer *buffer)
{
    if (PyNumber_Check(value) && !PyArray_Check(value))
        return refuse(PyExc_TypeError, "params", path,
                      "is a number, which is immutable and cannot be updated in place; write "
                      "np.array(value, dtype=float) and step that 0-d array");
    if (!PyArray_Check(value))
        return refuse(PyExc_TypeError, "params", path,
                      "is not a NumPy array; float32 and float64 arrays (in tuples, lists or "
                      "dicts) are updated in place: use np.array(...) once, before the loop");
    PyArrayObject *array = (PyArrayObject *)value;
    /* The whole check costs a name; only what fails the cheap one pays it. */
    if (!is_real(PyArray_TYPE(array)) || !PyArray_ISBEHAVED(array))
        return check_step_target(array, "params", path);
    if (!one_segment(array))
        return refuse(PyExc_ValueError, "params", path,
                      "is not contiguous (a strided view); C- or Fortran-contiguous arrays are "
                      "updated in place: step the whole array, or np.ascontiguousarray(...)");
    *buffer = (gd_buffer){PyArray_DATA(array), (size_t)PyArray_SIZE(array), PyArray_TYPE(array)};
    return 0;
}

static int number_grad(PyObject *value, PyArrayObject *param, const gd_path *path,
                       gd_buffer *buffer, double *number)
{
    if (PyArray_SIZE(param) != 1)
        return refuse(PyExc_ValueError, "grads", path,
                      "is a number but its parameter has more than one element; an array of the "
                      "parameter's shape is accepted");
    const double x = PyFloat_AsDouble(value);
    if (x == -1.0 && PyErr_Occurred())
        return -1;
    if (PyArray_TYPE(param) == NPY_FLOAT32)
        *(float *)number = (float)x;
    else
        *number = x;
    *buffer = (gd_buffer){number, 1, PyArray_TYPE(param)};
    return 0;
}

static int refuse_grad(PyArrayObject *grad, PyArrayObject *param, const gd_path *path)
{
    char text[320], found[96], wanted[96];
    gd_shape_text(PyArray_NDIM(grad), PyArray_DIMS(grad), found, sizeof found);
    gd_shape_text(PyArray_NDIM(param), PyArray_DIMS(param), wanted, sizeof wanted);
    if (PyArray_TYPE(grad) != PyArray_TYPE(param) || !PyArray_ISNOTSWAPPED(grad)) {
        PyOS_snprintf(text, sizeof text,
                      "has another dtype than its parameter, which is %s; convert it with "
                      ".astype(np.%s)",
                      type_text(PyArray_TYPE(param)), type_text(PyArray_TYPE(param)));
        return refuse(PyExc_TypeError, "grads", path, text);
    }
    if (PyArray_NDIM(grad) != PyArray_NDIM(param) ||
        !PyArray_CompareLists(PyArray_DIMS(grad), PyArray_DIMS(param), PyArray_NDIM(param)))
        PyOS_snprintf(text, sizeof text, "has shape %s but its parameter has %s", found, wanted);
    else if (!PyArray_ISALIGNED(grad))
        PyOS_snprintf(text, sizeof text, "is not aligned to its type; .copy() gives aligned memory");
    else
        PyOS_snprintf(text, sizeof text,
                      "lies in another memory order than its parameter (strided, or Fortran "
                      "against C); np.ascontiguousarray(...) puts it right");
    return refuse(PyExc_ValueError, "grads", path, text);
}

int gd_step_grad(PyObject *value, PyArrayObject *param, const gd_path *path, gd_buffer *buffer,
                 double *number)
{
    if (!PyArray_Check(value)) {
        if (PyNumber_Check(value) && !PyComplex_Check(value))
            return number_grad(value, param, path, buffer, number);
        return refuse(PyExc_TypeError, "grads", path,
                      "is not a NumPy array; an array of its parameter's dtype and shape is "
                      "accepted, or a number for a parameter of one element");
    }
    PyArrayObject *grad = (PyArrayObject *)value;
    const bool same_order =
        (PyArray_IS_C_CONTIGUOUS(grad) && PyArray_IS_C_CONTIGUOUS(param)) ||
        (PyArray_IS_F_CONTIGUOUS(grad) && PyArray_IS_F_CONTIGUOUS(param));
    if (PyArray_TYPE(grad) != PyArray_TYPE(param) || !PyArray_ISBEHAVED_RO(grad) || !same_order ||
        PyArray_NDIM(grad) != PyArray_NDIM(param) ||
        !PyArray_CompareLists(PyArray_DIMS(grad), PyArray_DIMS(param), PyArray_NDIM(param)))
        return refuse_grad(grad, param, path);
    *buffer = (gd_buffer){PyArray_DATA(grad), (size_t)PyArray_SIZE(grad), PyArray_TYPE(grad)};
    return 0;
}

/* ---- Containers --------------------------------------------------------------------------------------- */

PyObject *gd_path_text(const char *name, const gd_path *path)
{
    if (path == NULL)
        return PyUnicode_FromString(name);
    PyObject *parent = gd_path_text(name, path->parent);
    if (parent == NULL)
        return NULL;
    PyObject *text = path->key != NULL
                         ? PyUnicode_FromFormat("%U[%R]", parent, path->key)
                         : PyUnicode_FromFormat("%U[%zd]", parent, path->index);
    Py_DECREF(parent);
    return text;
}

static bool is_sequence(PyObject *value)
{
    return PyList_Check(value) || PyTuple_Check(value);
}

/* A list is a container where it is empty or holds an array, a dict, a tuple or a list; a list of
 * numbers is array-like, and so a leaf. */
static bool is_container(PyObject *value)
{
    if (PyDict_Check(value) || PyTuple_Check(value))
        return true;
    if (!PyList_Check(value))
        return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); i++) {
        PyObject *item = PyList_GET_ITEM(value, i);
        if (PyArray_Check(item) || PyDict_Check(item) || is_sequence(item))
            return true;
    }
    return PyList_GET_SIZE(value) == 0;
}

static int walk(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context,
                const gd_path *path);

static int walk_sequence(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context,
                         const gd_path *path)
{
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(params);
    if (grads != NULL && (!is_sequence(grads) || PySequence_Fast_GET_SIZE(grads) != n))
        return refuse(PyExc_ValueError, "grads", path,
                      "does not match its params; a list or tuple with one gradient for each "
                      "parameter, in the same order, is wanted");
    for (Py_ssize_t i = 0; i < n && i < PySequence_Fast_GET_SIZE(params); i++) {
        const gd_path here = {path, NULL, i};
        PyObject *grad = grads != NULL ? PySequence_Fast_GET_ITEM(grads, i) : NULL;
        if (walk(PySequence_Fast_GET_ITEM(params, i), grad, leaf, context, &here) < 0)
            return -1;
    }
    return 0;
}

static int walk_dict(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context,
                     const gd_path *path)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    if (grads != NULL && (!PyDict_Check(grads) || PyDict_Size(grads) != PyDict_Size(params)))
        return refuse(PyExc_ValueError, "grads", path,
                      "does not match its params; a dict with exactly the same keys is wanted");
    while (PyDict_Next(params, &position, &key, &value)) {
        const gd_path here = {path, key, 0};
        PyObject *grad = grads != NULL ? PyDict_GetItemWithError(grads, key) : NULL;
        if (grads != NULL && grad == NULL)
            return PyErr_Occurred() ? -1
                                    : refuse(PyExc_ValueError, "grads", &here,
                                             "is missing; the keys of params and grads must agree");
        if (walk(value, grad, leaf, context, &here) < 0)
            return -1;
    }
    return 0;
}

static int walk(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context,
                const gd_path *path)
{
    if (PyArray_Check(params) || !is_container(params))
        return leaf(context, params, grads, path);
    if (Py_EnterRecursiveCall(" in a container of parameters"))
        return -1;
    const int status = PyDict_Check(params)
                           ? walk_dict(params, grads, leaf, context, path)
                           : walk_sequence(params, grads, leaf, context, path);
    Py_LeaveRecursiveCall();
    return status;
}

int gd_walk(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context)
{
    return walk(params, grads, leaf, context, NULL);
}
