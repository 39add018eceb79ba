/* module_bind.c: the first step of an optimizer: which arrays it belongs to, their groups, their
 * state. Refuses arrays that share memory and loaded state that does not fit. */
#include <string.h>

#include "module_optimizer.h"

void gd_optimizer_unbind(optimizer *self)
{
    gd_free(self->step.arrays);
    gd_free(self->numbers);
    gd_free(self->grads);
    gd_free(self->taken);
    gd_free(self->factors);
    gd_free(self->step.task_sums);
    self->step.arrays = NULL;
    self->factors = NULL;
    self->step.task_sums = NULL;
    self->numbers = NULL;
    self->grads = NULL;
    self->taken = NULL;
    self->step.array_count = self->taken_count = 0;
    Py_CLEAR(self->arrays);
}

typedef struct {
    PyObject *params; /* the container, borrowed */
    PyObject *arrays, *paths; /* lists, owned */
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
    if (gd_step_param(param, "params", path, &buffer) < 0)
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

/* A state of one parameter: a copy of the loaded one, which may lie in another order, be read-only
 * or belong to somebody else; else what the row says. */
static PyObject *new_state(PyArrayObject *param, PyArrayObject *loaded, const gd_state *row)
{
    PyObject *array = row->kind == GD_NUMBER ? PyArray_SimpleNew(0, NULL, NPY_FLOAT64)
                                             : PyArray_NewLikeArray(param, NPY_KEEPORDER, NULL, 0);
    PyObject *value = NULL;
    PyArrayObject *const from = loaded != NULL ? loaded : row->kind == GD_COPIED ? param : NULL;
    int status = array != NULL ? 0 : -1;
    if (status == 0 && from != NULL)
        status = PyArray_CopyInto((PyArrayObject *)array, from);
    else if (status == 0)
        status = (value = PyFloat_FromDouble(row->initial)) != NULL
                     ? PyArray_FillWithScalar((PyArrayObject *)array, value)
                     : -1;
    Py_XDECREF(value);
    if (status < 0)
        Py_CLEAR(array);
    return array;
}

/* Whether a loaded state is what the row wants: one double, or an array like the parameter. */
static bool state_fits(const gd_state *row, PyArrayObject *param, PyArrayObject *loaded)
{
    if (row->kind == GD_NUMBER)
        return PyArray_TYPE(loaded) == NPY_FLOAT64 && PyArray_NDIM(loaded) == 0;
    return PyArray_TYPE(loaded) == PyArray_TYPE(param) && PyArray_SAMESHAPE(loaded, param);
}

static int refuse_state(PyArrayObject *param, PyArrayObject *loaded, PyObject *name)
{
    char had[96], now[96];
    gd_shape_text(PyArray_NDIM(loaded), PyArray_DIMS(loaded), had, sizeof had);
    gd_shape_text(PyArray_NDIM(param), PyArray_DIMS(param), now, sizeof now);
    if (name != NULL)
        PyErr_Format(PyExc_ValueError,
                     "%U is %S %s but the state is for %S %s; the arrays that the state was saved "
                     "with are wanted, or reset() to start anew",
                     name, (PyObject *)PyArray_DESCR(param), now, (PyObject *)PyArray_DESCR(loaded),
                     had);
    return -1;
}

/* Loaded state must have the arrays that the variant of the rule reads, of the parameter's type and
 * shape. */
static int check_state(const gd_variant *variant, PyArrayObject *param, PyObject *loaded,
                       const collected *found, size_t i)
{
    PyArrayObject *misfit = NULL;
    const bool counted = (size_t)PyTuple_GET_SIZE(loaded) == variant->state_count;
    for (size_t k = counted ? variant->state_count : 0; k > 0; k--) {
        PyArrayObject *state = (PyArrayObject *)PyTuple_GET_ITEM(loaded, (Py_ssize_t)(k - 1));
        if (!state_fits(&variant->state[k - 1], param, state))
            misfit = state;
    }
    if (misfit == NULL && counted)
        return 0;
    PyObject *name = gd_leaf_name(found->params, "params", i);
    if (name != NULL && misfit != NULL)
        refuse_state(param, misfit, name);
    else if (name != NULL)
        PyErr_Format(PyExc_ValueError,
                     "%U needs %zu state arrays with its group's settings but the state holds %zd; "
                     "the groups that the state was saved with are wanted, or reset() to start "
                     "anew",
                     name, variant->state_count, PyTuple_GET_SIZE(loaded));
    Py_XDECREF(name);
    return -1;
}

/* The tuple of the state arrays of the i-th parameter, new, whose memory is entered in its
 * gd_array. */
static PyObject *bind_state(const optimizer *self, size_t i, const collected *found)
{
    gd_variant variant;
    gd_array *a = &self->step.arrays[i];
    PyArrayObject *param = gd_array_at(found->arrays, i);
    PyObject *loaded = self->state != NULL ? PyList_GET_ITEM(self->state, (Py_ssize_t)i) : NULL;
    gd_rules[self->step.rule].variant(self->step.groups[a->group].hyper, &variant);
    if (loaded != NULL && check_state(&variant, param, loaded, found, i) < 0)
        return NULL;
    PyObject *states = PyTuple_New((Py_ssize_t)variant.state_count);
    size_t numbers = 0;
    for (size_t k = 0; states != NULL && k < variant.state_count; k++) {
        PyObject *from = loaded != NULL ? PyTuple_GET_ITEM(loaded, (Py_ssize_t)k) : NULL;
        PyObject *array = new_state(param, (PyArrayObject *)from, &variant.state[k]);
        if (array == NULL) {
            Py_CLEAR(states);
            continue;
        }
        PyTuple_SET_ITEM(states, (Py_ssize_t)k, array);
        if (variant.state[k].kind == GD_NUMBER)
            a->number[numbers++] = PyArray_DATA((PyArrayObject *)array);
        else
            a->state[k - numbers] = PyArray_DATA((PyArrayObject *)array);
    }
    return states;
}

static int bind_states(optimizer *self, const collected *found)
{
    const size_t n = self->step.array_count;
    if (self->state != NULL && (size_t)PyList_GET_SIZE(self->state) != n) {
        PyErr_Format(PyExc_ValueError,
                     "params holds %zu arrays but the state is for %zd; the arrays that the state "
                     "was saved with are wanted, or reset() to start anew",
                     n, PyList_GET_SIZE(self->state));
        return -1;
    }
    PyObject *all = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; all != NULL && i < n; i++) {
        PyObject *states = bind_state(self, i, found);
        if (states == NULL)
            Py_CLEAR(all);
        else
            PyList_SET_ITEM(all, (Py_ssize_t)i, states);
    }
    if (all != NULL)
        Py_XSETREF(self->state, all);
    return all != NULL ? 0 : -1;
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

static void take_span(optimizer *self, const void *memory, size_t i)
{
    const gd_array *a = &self->step.arrays[i];
    const char *low = memory;
    self->taken[self->taken_count++] = (gd_span){low, low + a->size * a->real_size, i};
}

/* Enter the memory of the arrays, and refuse two that share some. */
static int take_params(optimizer *self, PyObject *params)
{
    for (size_t i = 0; i < self->step.array_count; i++)
        take_span(self, self->step.arrays[i].p, i);
    self->taken_count = gd_sort_spans(self->taken, self->taken_count);
    const gd_span *twice = gd_spans_overlap(self->taken, self->taken_count);
    if (twice == NULL)
        return 0;
    PyObject *first = gd_leaf_name(params, "params", twice[0].index);
    PyObject *second = first != NULL ? gd_leaf_name(params, "params", twice[1].index) : NULL;
    if (second != NULL)
        PyErr_Format(PyExc_ValueError,
                     "%U and %U are the same array or share memory; each parameter is stepped "
                     "once: pass it once, or a copy",
                     first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return -1;
}

/* Enter the memory of the state too, which is new and meets nothing. */
static void take_states(optimizer *self)
{
    for (size_t i = 0; i < self->step.array_count; i++)
        for (size_t k = 0; k < GD_MAX_STATES; k++)
            if (self->step.arrays[i].state[k] != NULL)
                take_span(self, self->step.arrays[i].state[k], i);
    self->taken_count = gd_sort_spans(self->taken, self->taken_count);
}

int gd_optimizer_make_room(optimizer *self, const gd_group *groups)
{
    size_t total = 0;
    bool missing = false;
    for (size_t i = 0; i < self->step.array_count; i++) {
        const gd_array *a = &self->step.arrays[i];
        if (gd_group_needs_factors(&groups[a->group])) {
            total += a->units.count;
            missing = missing || (a->factor == NULL && a->units.count > 0);
        }
    }
    if (!missing)
        return 0;
    double *room = gd_alloc(total, sizeof *room);
    if (room == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    gd_free(self->factors);
    self->factors = room;
    for (size_t i = 0; i < self->step.array_count; i++) {
        gd_array *a = &self->step.arrays[i];
        const bool needed = gd_group_needs_factors(&groups[a->group]);
        a->factor = needed ? room : NULL;
        room += needed ? a->units.count : 0;
    }
    return 0;
}

static int bind_arrays(optimizer *self, const collected *found)
{
    const size_t n = (size_t)PyList_GET_SIZE(found->arrays);
    self->step.arrays = gd_alloc(n, sizeof *self->step.arrays);
    self->numbers = gd_alloc(n, sizeof *self->numbers);
    self->grads = gd_alloc(n, sizeof *self->grads);
    self->taken = gd_alloc(n, (1 + GD_MAX_STATES) * sizeof *self->taken);
    if (self->step.arrays == NULL || self->numbers == NULL || self->grads == NULL ||
        self->taken == NULL) {
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
        a->units = gd_array_units(array);
        self->elements += a->size;
    }
    self->step.task_sums =
        gd_alloc(gd_optimizer_tasks(self->step.arrays, n), GD_SUMS * sizeof(double));
    if (self->step.task_sums == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (take_params(self, found->params) < 0 || bind_groups(self, found->paths) < 0 ||
        bind_states(self, found) < 0 || gd_optimizer_make_room(self, self->step.groups) < 0)
        return -1;
    take_states(self);
    self->arrays = Py_NewRef(found->arrays);
    return 0;
}

int gd_optimizer_bind(optimizer *self, PyObject *params)
{
    collected found = {params, PyList_New(0), PyList_New(0)};
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
