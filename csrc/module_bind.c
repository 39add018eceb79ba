/* module_bind.c: the first step of an optimizer: which arrays it belongs to, their groups, their
 * state. Refuses arrays that share memory and loaded state that does not fit. */
#include <string.h>

#include "module_optimizer.h"

void gd_optimizer_unbind(optimizer *self)
{
    Py_CLEAR(self->arrays);
    gd_free(self->step.arrays);
    gd_free(self->numbers);
    gd_free(self->by_address);
    gd_free(self->grads);
    self->step.arrays = NULL;
    self->numbers = NULL;
    self->by_address = NULL;
    self->grads = NULL;
    self->step.array_count = self->addressed = 0;
}

typedef struct {
    PyObject *arrays, *paths;
} collected;

static PyObject *path_keys(const gd_path *path)
{
    PyObject *keys = PyList_New(0);
    for (; keys != NULL && path != NULL; path = path->parent) {
        PyObject *key = path->key != NULL ? Py_NewRef(path->key) : PyLong_FromSsize_t(path->index);
        if (key == NULL || PyList_Insert(keys, 0, key) < 0)
            Py_CLEAR(keys);
        Py_XDECREF(key);
    }
    PyObject *tuple = keys != NULL ? PyList_AsTuple(keys) : NULL;
    Py_XDECREF(keys);
    return tuple;
}

static int collect_leaf(void *context, PyObject *param, PyObject *grad, const gd_path *path)
{
    collected *found = context;
    gd_buffer buffer;
    (void)grad;
    if (gd_step_param(param, path, &buffer) < 0)
        return -1;
    PyObject *keys = path_keys(path);
    const int status = keys != NULL && PyList_Append(found->arrays, param) == 0
                           ? PyList_Append(found->paths, keys)
                           : -1;
    Py_XDECREF(keys);
    return status;
}

PyArrayObject *gd_array_at(PyObject *list, size_t i)
{
    return (PyArrayObject *)PyList_GET_ITEM(list, (Py_ssize_t)i);
}

/* New state arrays of one parameter, filled with the variant's initial values. */
static PyObject *new_state(const optimizer *self, const gd_array *a, PyArrayObject *param)
{
    gd_variant variant;
    gd_rules[self->step.rule].variant(self->step.groups[a->group].hyper, &variant);
    PyObject *states = PyTuple_New((Py_ssize_t)variant.state_count);
    for (size_t k = 0; states != NULL && k < variant.state_count; k++) {
        PyObject *array = PyArray_NewLikeArray(param, NPY_KEEPORDER, NULL, 0);
        PyObject *value = PyFloat_FromDouble(variant.state[k].initial);
        if (array == NULL || value == NULL ||
            PyArray_FillWithScalar((PyArrayObject *)array, value) < 0)
            Py_CLEAR(states);
        Py_XDECREF(value);
        if (states != NULL)
            PyTuple_SET_ITEM(states, (Py_ssize_t)k, array);
        else
            Py_XDECREF(array);
    }
    return states;
}

static const char *order_of(PyArrayObject *array)
{
    return PyArray_IS_C_CONTIGUOUS(array) ? "C" : PyArray_IS_F_CONTIGUOUS(array) ? "F" : "strided";
}

/* State arrays are walked with the parameter's flat index, so the memory order counts too. */
static bool same_layout(PyArrayObject *state, PyArrayObject *param)
{
    return PyArray_TYPE(state) == PyArray_TYPE(param) && PyArray_ISBEHAVED(state) &&
           PyArray_NDIM(state) == PyArray_NDIM(param) &&
           PyArray_CompareLists(PyArray_DIMS(state), PyArray_DIMS(param), PyArray_NDIM(param)) &&
           ((PyArray_IS_C_CONTIGUOUS(state) && PyArray_IS_C_CONTIGUOUS(param)) ||
            (PyArray_IS_F_CONTIGUOUS(state) && PyArray_IS_F_CONTIGUOUS(param)));
}

/* Loaded state must have the arrays that the variant of the rule reads, and the number, shapes,
 * types and memory order of the parameters that come now. */
static int check_state(const optimizer *self, PyObject *states, PyArrayObject *param, size_t i)
{
    gd_variant variant;
    gd_rules[self->step.rule].variant(self->step.groups[self->step.arrays[i].group].hyper,
                                      &variant);
    if ((size_t)PyTuple_GET_SIZE(states) != variant.state_count) {
        PyErr_Format(PyExc_ValueError,
                     "parameter array %zu needs %zu state arrays with its group's settings but the "
                     "state holds %zd; the groups that the state was saved with are wanted, or "
                     "reset() to start anew",
                     i, variant.state_count, PyTuple_GET_SIZE(states));
        return -1;
    }
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(states); k++) {
        PyArrayObject *state = (PyArrayObject *)PyTuple_GET_ITEM(states, k);
        if (same_layout(state, param))
            continue;
        char had[96], now[96];
        gd_shape_text(PyArray_NDIM(state), PyArray_DIMS(state), had, sizeof had);
        gd_shape_text(PyArray_NDIM(param), PyArray_DIMS(param), now, sizeof now);
        PyErr_Format(PyExc_ValueError,
                     "parameter array %zu is %S %s in %s order but the state is for %S %s in %s "
                     "order; the arrays that the state was saved with are wanted, or reset() to "
                     "start anew",
                     i, (PyObject *)PyArray_DESCR(param), now, order_of(param),
                     (PyObject *)PyArray_DESCR(state), had, order_of(state));
        return -1;
    }
    return 0;
}

static int bind_states(optimizer *self, PyObject *arrays)
{
    const size_t n = self->step.array_count;
    PyObject *all = self->state != NULL ? Py_NewRef(self->state) : PyList_New((Py_ssize_t)n);
    if (all == NULL)
        return -1;
    if ((size_t)PyList_GET_SIZE(all) != n) {
        PyErr_Format(PyExc_ValueError,
                     "params holds %zu arrays but the state is for %zd; the arrays that the state "
                     "was saved with are wanted, or reset() to start anew",
                     n, PyList_GET_SIZE(all));
        Py_DECREF(all);
        return -1;
    }
    int status = 0;
    for (size_t i = 0; status == 0 && i < n; i++) {
        gd_array *a = &self->step.arrays[i];
        PyObject *states = PyList_GET_ITEM(all, (Py_ssize_t)i);
        if (self->state == NULL) {
            states = new_state(self, a, gd_array_at(arrays, i));
            if (states != NULL)
                PyList_SET_ITEM(all, (Py_ssize_t)i, states);
        }
        status = states != NULL ? check_state(self, states, gd_array_at(arrays, i), i) : -1;
        for (Py_ssize_t k = 0; status == 0 && k < PyTuple_GET_SIZE(states); k++)
            a->state[k] = PyArray_DATA((PyArrayObject *)PyTuple_GET_ITEM(states, k));
    }
    if (status == 0)
        Py_XSETREF(self->state, Py_NewRef(all));
    Py_DECREF(all);
    return status;
}

/* The group of each array, asked of Python where there is more than one. */
static int bind_groups(optimizer *self, PyObject *paths)
{
    if (self->step.group_count == 1)
        return 0;
    PyObject *numbers = PyObject_CallMethod((PyObject *)self, "_group_numbers", "O", paths);
    int status = numbers != NULL ? 0 : -1;
    for (size_t i = 0; status == 0 && i < self->step.array_count; i++) {
        PyObject *number = PySequence_GetItem(numbers, (Py_ssize_t)i);
        const size_t group = number != NULL ? PyLong_AsSize_t(number) : 0;
        Py_XDECREF(number);
        self->step.arrays[i].group = group;
        if (PyErr_Occurred())
            status = -1;
        else if (group >= self->step.group_count) {
            PyErr_Format(PyExc_ValueError, "_group_numbers: there is no group %zu", group);
            status = -1;
        }
    }
    Py_XDECREF(numbers);
    return status;
}

/* Sort the arrays by address (insertion sort: lists are short and mostly in order) and refuse two
 * that share memory. Empty arrays share none. */
static int sort_by_address(optimizer *self, PyObject *paths)
{
    const gd_array *a = self->step.arrays;
    size_t *order = self->by_address, count = 0;
    for (size_t i = 0; i < self->step.array_count; i++) {
        if (a[i].size == 0)
            continue;
        size_t k = count++;
        for (; k > 0 && (char *)a[order[k - 1]].p > (char *)a[i].p; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t k = 1; k < count; k++) {
        const size_t i = order[k - 1], j = order[k];
        if ((char *)a[i].p + a[i].size * a[i].real_size <= (char *)a[j].p)
            continue;
        PyErr_Format(PyExc_ValueError,
                     "params hold the same memory twice: the arrays at %R and %R overlap; each "
                     "parameter is stepped once, so pass it once (or a copy)",
                     PyList_GET_ITEM(paths, (Py_ssize_t)i), PyList_GET_ITEM(paths, (Py_ssize_t)j));
        return -1;
    }
    self->addressed = count;
    return 0;
}

static int bind_arrays(optimizer *self, const collected *found)
{
    const size_t n = (size_t)PyList_GET_SIZE(found->arrays);
    self->step.arrays = gd_alloc(n, sizeof *self->step.arrays);
    self->numbers = gd_alloc(n, sizeof *self->numbers);
    self->by_address = gd_alloc(n, sizeof *self->by_address);
    self->grads = gd_alloc(n, sizeof *self->grads);
    if (self->step.arrays == NULL || self->numbers == NULL || self->by_address == NULL ||
        self->grads == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(self->step.arrays, 0, n * sizeof *self->step.arrays);
    self->step.array_count = n;
    self->elements = 0;
    for (size_t i = 0; i < n; i++) {
        PyArrayObject *array = gd_array_at(found->arrays, i);
        gd_array *a = &self->step.arrays[i];
        a->p = PyArray_DATA(array);
        a->size = (size_t)PyArray_SIZE(array);
        a->real_size = (size_t)PyArray_ITEMSIZE(array);
        self->elements += a->size;
    }
    if (sort_by_address(self, found->paths) < 0 ||
        bind_groups(self, found->paths) < 0 || bind_states(self, found->arrays) < 0)
        return -1;
    self->arrays = Py_NewRef(found->arrays);
    return 0;
}

int gd_optimizer_bind(optimizer *self, PyObject *params)
{
    collected found = {PyList_New(0), PyList_New(0)};
    int status = found.arrays != NULL && found.paths != NULL
                     ? gd_walk(params, NULL, collect_leaf, &found)
                     : -1;
    if (status == 0)
        status = bind_arrays(self, &found);
    if (status < 0)
        gd_optimizer_unbind(self);
    Py_XDECREF(found.arrays);
    Py_XDECREF(found.paths);
    return status;
}
