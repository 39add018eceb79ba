/* module_walk.c: the containers in which parameters and gradients arrive: tuples, lists and dicts
 * of arrays, any depth. Walks two of them side by side, names the place of each array in errors,
 * and refuses structures that do not match. User code that changes a container meanwhile (a key's
 * comparison, a gradient's __float__) does no harm: what is at hand is held by a reference. */
#include "arrays.h"

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

int gd_refuse(PyObject *type, const char *root, const gd_path *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *name = gd_path_text(root, path);
    PyObject *message = name != NULL ? PyUnicode_FromFormatV(format, arguments) : NULL;
    va_end(arguments);
    if (message != NULL)
        PyErr_Format(type, "%U %U", name, message);
    Py_XDECREF(name);
    Py_XDECREF(message);
    return -1;
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

typedef struct {
    gd_leaf_fn *leaf;
    void *context;
} walker;

static int walk(const walker *w, PyObject *params, PyObject *grads, const gd_path *path);

/* One entry; both are held, because user code may drop them from their containers meanwhile. */
static int walk_item(const walker *w, PyObject *param, PyObject *grad, const gd_path *path)
{
    Py_INCREF(param);
    Py_XINCREF(grad);
    const int status = walk(w, param, grad, path);
    Py_DECREF(param);
    Py_XDECREF(grad);
    return status;
}

/* The i-th item, borrowed; NULL past the end. */
static PyObject *item_at(PyObject *sequence, Py_ssize_t i)
{
    return i < PySequence_Fast_GET_SIZE(sequence) ? PySequence_Fast_GET_ITEM(sequence, i) : NULL;
}

static int walk_sequence(const walker *w, PyObject *params, PyObject *grads, const gd_path *path)
{
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(params);
    if (grads != NULL && !is_sequence(grads))
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "is %.80s but its params are %.80s; a list or tuple with one gradient for "
                         "each of the %zd parameters, in the same order, is wanted",
                         Py_TYPE(grads)->tp_name, Py_TYPE(params)->tp_name, n);
    if (grads != NULL && PySequence_Fast_GET_SIZE(grads) != n)
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "holds %zd entries but its params hold %zd; one gradient for each "
                         "parameter, in the same order, is wanted",
                         PySequence_Fast_GET_SIZE(grads), n);
    for (Py_ssize_t i = 0; i < n; i++) {
        const gd_path here = {path, NULL, i};
        PyObject *param = item_at(params, i), *grad = grads != NULL ? item_at(grads, i) : NULL;
        if (param == NULL || (grads != NULL && grad == NULL))
            return gd_refuse(PyExc_ValueError, param == NULL ? "params" : "grads", &here,
                             "was taken out of its list while the list was read");
        if (walk_item(w, param, grad, &here) < 0)
            return -1;
    }
    return 0;
}

static int walk_dict(const walker *w, PyObject *params, PyObject *grads, const gd_path *path)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    const Py_ssize_t n = PyDict_Size(params);
    if (grads != NULL && !PyDict_Check(grads))
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "is %.80s but its params are %.80s; a dict with the same keys is wanted",
                         Py_TYPE(grads)->tp_name, Py_TYPE(params)->tp_name);
    if (grads != NULL && PyDict_Size(grads) != n)
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "holds %zd keys but its params hold %zd; the same keys are wanted",
                         PyDict_Size(grads), n);
    while (PyDict_Next(params, &position, &key, &value)) {
        const gd_path here = {path, key, 0};
        int status;
        Py_INCREF(key);
        Py_INCREF(value);
        PyObject *grad = grads != NULL ? PyDict_GetItemWithError(grads, key) : NULL;
        if (grads == NULL || grad != NULL)
            status = walk_item(w, value, grad, &here);
        else
            status = PyErr_Occurred() ? -1
                                      : gd_refuse(PyExc_ValueError, "grads", &here,
                                                  "is missing; the keys of params and grads must "
                                                  "agree");
        if (status == 0 && PyDict_Size(params) != n)
            status = gd_refuse(PyExc_ValueError, "params", path, "changed while it was read");
        Py_DECREF(key);
        Py_DECREF(value);
        if (status < 0)
            return -1;
    }
    return 0;
}

static int walk(const walker *w, PyObject *params, PyObject *grads, const gd_path *path)
{
    if (PyArray_Check(params) || !is_container(params))
        return w->leaf(w->context, params, grads, path);
    if (Py_EnterRecursiveCall(" in a container of parameters"))
        return -1;
    const int status = PyDict_Check(params) ? walk_dict(w, params, grads, path)
                                            : walk_sequence(w, params, grads, path);
    Py_LeaveRecursiveCall();
    return status;
}

int gd_walk(PyObject *params, PyObject *grads, gd_leaf_fn *leaf, void *context)
{
    const walker w = {leaf, context};
    return walk(&w, params, grads, NULL);
}

typedef struct {
    size_t left;
    const char *root;
    PyObject *name;
} named_leaf;

static int name_leaf(void *context, PyObject *param, PyObject *grad, const gd_path *path)
{
    named_leaf *wanted = context;
    (void)param, (void)grad;
    if (wanted->left-- > 0)
        return 0;
    wanted->name = gd_path_text(wanted->root, path);
    return -1;
}

PyObject *gd_leaf_name(PyObject *container, const char *root, size_t i)
{
    named_leaf wanted = {i, root, NULL};
    /* A walk that reaches the end has found less than was there before user code ran. */
    if (gd_walk(container, NULL, name_leaf, &wanted) == 0)
        return PyUnicode_FromFormat("array %zu of %s", i, root);
    return wanted.name;
}
