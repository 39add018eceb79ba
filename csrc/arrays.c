/* arrays.c: the only place that looks inside an array and says what is wrong with it.
 *
 * Whatever a binding takes comes through here: types, byte order, shape, alignment, layout,
 * writability, masks and overlap. Nothing is converted silently: in-place arguments are used as
 * they are or refused. The containers of parameters and gradients are walked in module_walk.c. */
#include "arrays.h"

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

/* By an interned name: a new string at every call would drive others out of the cache of types. */
static bool has_attribute(PyObject *value, const char *name)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    const bool found = interned != NULL && PyObject_HasAttr(value, interned);
    Py_XDECREF(interned);
    return found;
}

/* Whether elements are hidden that a kernel would count: a masked array's. Attributes are asked of
 * subclasses alone. */
static bool is_masked(PyArrayObject *array)
{
    return !PyArray_CheckExact(array) && has_attribute((PyObject *)array, "mask");
}

int gd_array_unmasked(PyArrayObject *array, const char *name)
{
    if (PyArray_CheckExact(array))
        return 0;
    PyObject *interned = PyUnicode_InternFromString("mask");
    PyObject *mask = interned != NULL ? PyObject_GetAttr((PyObject *)array, interned) : NULL;
    Py_XDECREF(interned);
    if (mask == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    if (mask == NULL)
        return 0;
    Py_DECREF(mask);
    PyErr_Format(PyExc_TypeError,
                 "%s is a masked array, whose mask would be ignored; a plain array is accepted: "
                 "%s.filled(0) gives one",
                 name, name);
    return -1;
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

/* A C-contiguous, aligned, native array of exactly NumPy's class, itself where it is one. */
enum { PLAIN_COPY = NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY };

/* ---- Arguments that are read ----------------------------------------------------------------- */

/* A ragged list is refused by NumPy, which does not know the argument's name: put it in front. */
static void name_failure(const char *name)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_Format(PyErr_GivenExceptionMatches(type, PyExc_TypeError) ? PyExc_TypeError
                                                                    : PyExc_ValueError,
                 "%s cannot be read as an array of numbers: %S", name,
                 value != NULL ? value : type);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* A new reference to an array of whatever the value is: itself, or through __array__, or through
 * __dlpack__ where it offers that alone. */
static PyArrayObject *convert(PyObject *value, const char *name)
{
    if (PyArray_Check(value))
        return (PyArrayObject *)Py_NewRef(value);
    const bool sequence = PyList_Check(value) || PyTuple_Check(value);
    if (!sequence && !PyArray_CheckAnyScalar(value) && has_attribute(value, "__dlpack__") &&
        !has_attribute(value, "__array__")) {
        PyObject *numpy = PyImport_ImportModule("numpy");
        PyObject *array =
            numpy != NULL ? PyObject_CallMethod(numpy, "from_dlpack", "O", value) : NULL;
        Py_XDECREF(numpy);
        return (PyArrayObject *)array;
    }
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_O(value);
    if (array == NULL && sequence &&
        (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError)))
        name_failure(name);
    return array;
}

/* As above, and no masked array. */
static PyArrayObject *as_array(PyObject *value, const char *name)
{
    PyArrayObject *array = convert(value, name);
    if (array != NULL && gd_array_unmasked(array, name) < 0)
        Py_CLEAR(array);
    return array;
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
    PyArrayObject *array = as_array(value, name);
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
        (PyArrayObject *)PyArray_FROMANY((PyObject *)array, target, 0, 0, PLAIN_COPY);
    Py_DECREF(array);
    return real;
}

/* large: unsigned numbers beyond int64 have become negative ones, and are named as they were. */
static int check_labels(PyArrayObject *labels, bool large, const char *name, npy_intp classes)
{
    const npy_int64 *c = PyArray_DATA(labels);
    npy_intp i = 0;
    while (i < PyArray_SIZE(labels) && c[i] >= 0 && c[i] < classes)
        i++;
    if (i == PyArray_SIZE(labels))
        return 0;
    char number[24];
    PyOS_snprintf(number, sizeof number, large ? "%llu" : "%lld", (long long)c[i]);
    PyErr_Format(PyExc_ValueError,
                 "%s holds the class number %s at position %zd; numbers in [0, %zd) are accepted, "
                 "one for each column of y_pred",
                 name, number, (Py_ssize_t)i, (Py_ssize_t)classes);
    return -1;
}

/* Reals that are whole numbers become int64; a fraction, a NaN or a huge value is refused. */
static PyArrayObject *whole_numbers(PyArrayObject *array, const char *name)
{
    PyArrayObject *reals =
        (PyArrayObject *)PyArray_FROMANY((PyObject *)array, NPY_FLOAT64, 0, 0, PLAIN_COPY);
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
    PyArrayObject *array = as_array(value, name), *labels = NULL;
    if (array == NULL)
        return NULL;
    const bool large = PyTypeNum_ISUNSIGNED(PyArray_TYPE(array));
    if (is_real(PyArray_TYPE(array)))
        labels = whole_numbers(array, name);
    else if (PyTypeNum_ISINTEGER(PyArray_TYPE(array)) || PyTypeNum_ISBOOL(PyArray_TYPE(array)))
        labels = (PyArrayObject *)PyArray_FROMANY((PyObject *)array, NPY_INT64, 0, 0, PLAIN_COPY);
    else
        PyErr_Format(PyExc_TypeError, "%s has dtype %S; class numbers are integers", name,
                     (PyObject *)PyArray_DESCR(array));
    Py_DECREF(array);
    if (labels != NULL && check_labels(labels, large, name, classes) < 0)
        Py_CLEAR(labels);
    return labels;
}

/* ---- Arguments that are written -------------------------------------------------------------- */

static int check_target(PyArrayObject *array, const char *name)
{
    if (gd_array_unmasked(array, name) < 0)
        return -1;
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

bool gd_array_agrees(PyArrayObject *array, int ndim, const npy_intp *shape)
{
    int i = 0, k = 0;
    for (;; i++, k++) {
        while (i < PyArray_NDIM(array) && PyArray_DIM(array, i) == 1)
            i++;
        while (k < ndim && shape[k] == 1)
            k++;
        if (i == PyArray_NDIM(array) || k == ndim || PyArray_DIM(array, i) != shape[k])
            return i == PyArray_NDIM(array) && k == ndim;
    }
}

gd_units gd_array_units(PyArrayObject *array)
{
    const size_t size = (size_t)PyArray_SIZE(array);
    const int ndim = PyArray_NDIM(array);
    const size_t count = size == 0 ? 0 : ndim > 1 ? (size_t)PyArray_DIM(array, ndim - 1) : 1;
    return (gd_units){count, count > 0 ? size / count : 0,
                      count > 1 && PyArray_IS_C_CONTIGUOUS(array)};
}

void gd_array_extent(PyArrayObject *array, const char **low, const char **high)
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
    gd_array_extent(a, &a_low, &a_high);
    gd_array_extent(b, &b_low, &b_high);
    if (a_high <= b_low || b_high <= a_low || a_low == a_high || b_low == b_high)
        return 0;
    PyErr_Format(PyExc_ValueError,
                 "%s shares memory with %s; memory of its own is accepted: pass %s.copy()", a_name,
                 b_name, b_name);
    return -1;
}

/* ---- Arrays of a step ------------------------------------------------------------------------ */

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

/* A Python or NumPy number, or what stands for one (a Fraction); an array in disguise is none. */
static bool is_number(PyObject *value)
{
    return PyArray_IsPythonNumber(value) || PyArray_IsScalar(value, Number) ||
           PyArray_IsScalar(value, Bool) ||
           (PyNumber_Check(value) && !has_attribute(value, "__array__"));
}

int gd_step_param(PyObject *value, const char *root, const gd_path *path, gd_buffer *buffer)
{
    if (!PyArray_Check(value))
        return is_number(value)
                   ? gd_refuse(PyExc_TypeError, root, path,
                               "is a number (%.80s), which is immutable and cannot be updated in "
                               "place; write np.array(value, dtype=float) and use that 0-d array",
                               Py_TYPE(value)->tp_name)
                   : gd_refuse(PyExc_TypeError, root, path,
                               "is %.80s, not a NumPy array; float32 and float64 arrays (in "
                               "tuples, lists or dicts) are updated in place: use np.array(...) "
                               "once, before the loop",
                               Py_TYPE(value)->tp_name);
    PyArrayObject *array = (PyArrayObject *)value;
    /* The whole check costs a name; only what fails the cheap one pays it. */
    if ((!PyArray_CheckExact(value) || !is_real(PyArray_TYPE(array)) ||
         !PyArray_ISBEHAVED(array)) &&
        check_step_target(array, root, path) < 0)
        return -1;
    if (!one_segment(array))
        return gd_refuse(PyExc_ValueError, root, path,
                         "is not contiguous (a strided view); C- or Fortran-contiguous arrays are "
                         "updated in place: use the whole array, or np.ascontiguousarray(...)");
    *buffer = (gd_buffer){PyArray_DATA(array), (size_t)PyArray_SIZE(array), PyArray_TYPE(array)};
    return 0;
}

static int number_grad(PyObject *value, PyArrayObject *param, const gd_path *path,
                       gd_buffer *buffer, double *number)
{
    if (PyArray_SIZE(param) != 1)
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "is a number but its parameter has %zd elements; an array of the "
                         "parameter's shape is accepted",
                         (Py_ssize_t)PyArray_SIZE(param));
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

static bool same_dims(PyArrayObject *a, PyArrayObject *b)
{
    return PyArray_NDIM(a) == PyArray_NDIM(b) &&
           PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), PyArray_NDIM(a));
}

static int refuse_grad(PyArrayObject *grad, PyArrayObject *param, const gd_path *path)
{
    char found[96], wanted[96];
    if (is_masked(grad))
        return gd_refuse(PyExc_TypeError, "grads", path,
                         "is a masked array, whose mask would be ignored; a plain array is "
                         "accepted: .filled(0) gives one");
    if (PyArray_TYPE(grad) != PyArray_TYPE(param) || !PyArray_ISNOTSWAPPED(grad))
        return gd_refuse(PyExc_TypeError, "grads", path,
                         "has dtype %S but its parameter is %s; convert it with .astype(np.%s)",
                         (PyObject *)PyArray_DESCR(grad), type_text(PyArray_TYPE(param)),
                         type_text(PyArray_TYPE(param)));
    gd_shape_text(PyArray_NDIM(grad), PyArray_DIMS(grad), found, sizeof found);
    gd_shape_text(PyArray_NDIM(param), PyArray_DIMS(param), wanted, sizeof wanted);
    if (!same_dims(grad, param))
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "has shape %s but its parameter has %s; equal shapes are wanted", found,
                         wanted);
    if (!PyArray_ISALIGNED(grad))
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "is not aligned to its type; .copy() gives aligned memory");
    return gd_refuse(PyExc_ValueError, "grads", path,
                     "lies in another memory order than its parameter (strided, or Fortran "
                     "against C); np.copyto(np.empty_like(parameter), gradient) puts it right");
}

int gd_step_grad(PyObject *value, PyArrayObject *param, const gd_path *path, gd_buffer *buffer,
                 double *number)
{
    if (!PyArray_Check(value)) {
        if (is_number(value) && !PyComplex_Check(value) &&
            !PyArray_IsScalar(value, ComplexFloating))
            return number_grad(value, param, path, buffer, number);
        return gd_refuse(PyExc_TypeError, "grads", path,
                         "is %.80s, not a NumPy array; an array of its parameter's dtype and shape "
                         "is accepted, or a number for a parameter of one element",
                         Py_TYPE(value)->tp_name);
    }
    PyArrayObject *grad = (PyArrayObject *)value;
    const bool same_order =
        (PyArray_IS_C_CONTIGUOUS(grad) && PyArray_IS_C_CONTIGUOUS(param)) ||
        (PyArray_IS_F_CONTIGUOUS(grad) && PyArray_IS_F_CONTIGUOUS(param));
    if (PyArray_TYPE(grad) != PyArray_TYPE(param) || !PyArray_ISBEHAVED_RO(grad) || !same_order ||
        !same_dims(grad, param) || is_masked(grad))
        return refuse_grad(grad, param, path);
    *buffer = (gd_buffer){PyArray_DATA(grad), (size_t)PyArray_SIZE(grad), PyArray_TYPE(grad)};
    return 0;
}
