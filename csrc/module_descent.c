/* module_descent.c: descent and sweeps on a compiled function, from Python: arrays are borrowed,
 * the optimizer is bound, the GIL is released for the whole loop but for a look at signals. What
 * the arguments mean stands in gdcore/_native.py. */
#include <math.h>

#include "descend.h"
#include "module_optimizer.h"
#include "module_program.h"
#include "sweep.h"

/* ---- Arguments ------------------------------------------------------------------------------- */

/* A C-contiguous, writeable array of that type with at least n elements, borrowed; or NULL with an
 * exception. */
static PyArrayObject *array_of(PyObject *value, const char *name, int type, size_t n)
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

/* The addresses of a list of arrays like the outputs of a program. */
static int read_outputs(PyObject *list, const program_object *program, void **data)
{
    if (!PyList_Check(list) || (size_t)PyList_GET_SIZE(list) != program->output_count) {
        PyErr_SetString(PyExc_ValueError, "outputs: an array for each output is wanted");
        return -1;
    }
    for (size_t i = 0; i < program->output_count; i++) {
        size_t n = 1;
        for (int k = 0; k < program->output_ndim[i]; k++)
            n *= (size_t)program->output_shape[i * GD_MAX_AXES + (size_t)k];
        PyArrayObject *array = array_of(PyList_GET_ITEM(list, (Py_ssize_t)i), "an output",
                                        program->output_type[i], n);
        if (array == NULL)
            return -1;
        data[i] = PyArray_DATA(array);
    }
    return 0;
}

/* The addresses of a list of arrays like those of the optimizer, with room for `rows` of each. */
static int read_like(PyObject *list, const char *name, const gd_step *step, size_t rows,
                     void **data)
{
    if (!PyList_Check(list) || (size_t)PyList_GET_SIZE(list) != step->array_count) {
        PyErr_Format(PyExc_ValueError, "%s: an array for each parameter is wanted", name);
        return -1;
    }
    for (size_t i = 0; i < step->array_count; i++) {
        const gd_array *a = &step->arrays[i];
        const int type = a->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
        PyArrayObject *array =
            array_of(PyList_GET_ITEM(list, (Py_ssize_t)i), name, type, rows * a->size);
        if (array == NULL)
            return -1;
        data[i] = PyArray_DATA(array);
    }
    return 0;
}

/* The doubles of an array; NULL for None, or with an exception. */
static double *doubles_of(PyObject *value, const char *name, size_t n)
{
    if (value == Py_None)
        return NULL;
    PyArrayObject *array = array_of(value, name, NPY_FLOAT64, n);
    return array != NULL ? PyArray_DATA(array) : NULL;
}

/* Where the setting that a schedule's momentum overrides stands; 0 where there is none. */
static size_t momentum_at(const gd_step *step)
{
    size_t offset = 0;
    if (gd_find_hyper(&gd_rules[step->rule], "momentum", &offset) == NULL &&
        gd_find_hyper(&gd_rules[step->rule], "betas", &offset) == NULL)
        return 0;
    return offset;
}

/* ---- Descent --------------------------------------------------------------------------------- */

typedef struct {
    PyThreadState *saved;
} waiting;

/* Whether a signal has raised an exception. */
static bool look_at_signals(void *context)
{
    waiting *w = context;
    PyEval_RestoreThread(w->saved);
    const bool raised = PyErr_CheckSignals() < 0;
    w->saved = PyEval_SaveThread();
    return raised;
}

/* Whether the program gives a gradient of the type and size of each array that is stepped. */
static int check_arrays(const optimizer *self, const program_object *program)
{
    if (program->output_count != 1 + self->step.array_count) {
        PyErr_SetString(PyExc_ValueError, "the program gives f and the gradient of each array");
        return -1;
    }
    for (size_t i = 0; i < self->step.array_count; i++) {
        const gd_array *a = &self->step.arrays[i];
        const int type = a->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
        size_t n = 1;
        for (int k = 0; k < program->output_ndim[i + 1]; k++)
            n *= (size_t)program->output_shape[(i + 1) * GD_MAX_AXES + (size_t)k];
        if (n != a->size || program->output_type[i + 1] != type) {
            PyErr_SetString(PyExc_ValueError, "a gradient of another type or size");
            return -1;
        }
    }
    return 0;
}

/* Everything that a call of descend holds while it runs. */
typedef struct {
    optimizer *self;
    program_object *program;
    gd_inputs inputs;
    void **outputs, **start, **path;
    PyObject *progress;
} descent_arguments;

/* Set where the descent reads and writes; -1 with an exception. */
static int read_descent(descent_arguments *a, PyObject *outputs, PyObject *start, PyObject *path,
                        gd_descent *d)
{
    const gd_step *step = &a->self->step;
    const size_t arrays = step->array_count, rows = d->record > 0 ? d->steps / d->record + 1 : 0;
    a->outputs = gd_alloc(1 + 3 * arrays, sizeof(void *));
    if (a->outputs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    a->start = a->outputs + 1 + arrays;
    a->path = a->start + arrays;
    if (read_outputs(outputs, a->program, a->outputs) < 0 ||
        (start != Py_None && read_like(start, "start", step, 1, a->start) < 0) ||
        (rows > 0 && read_like(path, "path", step, rows, a->path) < 0))
        return -1;
    d->outputs = a->outputs;
    d->inputs = a->inputs.data;
    d->start = start != Py_None ? (const void *const *)a->start : NULL;
    d->moved = start == Py_None;
    d->path = a->path;
    d->value_size = a->program->output_type[0] == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    for (size_t i = 0; i < arrays; i++)
        a->self->step.arrays[i].g = a->outputs[1 + i];
    return 0;
}

static int run_descent(descent_arguments *a, gd_descent *d)
{
    waiting w;
    npy_int64 *progress = PyArray_DATA((PyArrayObject *)a->progress);
    d->run = gd_program_run_take(a->program);
    if (d->run == NULL)
        return -1;
    d->step = &a->self->step;
    d->step->t = a->self->t;
    d->poll = look_at_signals;
    d->context = &w;
    w.saved = PyEval_SaveThread();
    gd_descend(d);
    PyEval_RestoreThread(w.saved);
    gd_program_run_give(a->program, d->run);
    a->self->t += (int64_t)d->done;
    progress[0] = d->end;
    progress[1] = (npy_int64)d->done;
    progress[2] = (npy_int64)d->recorded;
    progress[3] = d->moved;
    return PyErr_Occurred() ? -1 : gd_program_raise(d->status);
}

PyDoc_STRVAR(descend_doc,
             "descend(optimizer, call, args, params, outputs, start, limits, rates, losses, norms, "
             "lrs, path, progress, /)\n--\n\nDescend in C, see gdcore/_native.py; False where the "
             "program is not for these arguments.");

static PyObject *descend(PyObject *module, PyObject *args)
{
    PyObject *opt, *call, *arguments, *params, *outputs, *start, *rates, *losses, *norms, *lrs;
    PyObject *path, *result = NULL;
    descent_arguments a = {.outputs = NULL};
    gd_descent d = {.record = 0};
    Py_ssize_t steps, record, first;
    const gd_module_state *state = PyModule_GetState(module);
    if (!PyArg_ParseTuple(args, "O!O!O!OOO(nnndddd)OOOOOO!", state->optimizer_type, &opt,
                          state->call_type, &call, &PyTuple_Type, &arguments, &params, &outputs,
                          &start, &steps, &record, &first, &d.gtol, &d.ftol, &d.seconds, &d.before,
                          &rates, &losses, &norms, &lrs, &path, &PyArray_Type, &a.progress))
        return NULL;
    a.self = (optimizer *)opt;
    if (gd_optimizer_refuse_busy(a.self) < 0 ||
        array_of(a.progress, "progress", NPY_INT64, 4) == NULL)
        return NULL;
    if (steps < 0 || record < 0 || first < 0 || (uint64_t)steps > (1u << 30))
        return PyErr_Format(PyExc_ValueError, "numbers of steps are >= 0");
    d.steps = (size_t)steps;
    d.record = (size_t)record;
    d.first = (size_t)first;
    a.program = gd_call_program(call);
    const int known = gd_call_inputs(call, arguments, &a.inputs);
    if (known <= 0)
        return known < 0 ? NULL : Py_NewRef(Py_False);
    a.self->busy = true;
    const bool first_step = a.self->arrays == NULL, stateless = a.self->state == NULL;
    if (first_step && gd_optimizer_bind(a.self, params) < 0)
        goto done;
    if (check_arrays(a.self, a.program) < 0 ||
        read_descent(&a, outputs, start, path, &d) < 0)
        goto done;
    d.momentum_at = momentum_at(&a.self->step);
    d.rates = doubles_of(rates, "rates", 2 * d.steps * a.self->step.group_count);
    d.losses = doubles_of(losses, "losses", d.steps + 1);
    d.norms = doubles_of(norms, "norms", d.steps + 1);
    d.lrs = doubles_of(lrs, "lrs", d.steps);
    if (PyErr_Occurred() || run_descent(&a, &d) < 0)
        goto done;
    result = Py_NewRef(Py_True);
done:
    if (first_step && d.done == 0) { /* no step was taken: the optimizer belongs to nobody yet */
        gd_optimizer_unbind(a.self);
        if (stateless)
            Py_CLEAR(a.self->state);
    }
    a.self->busy = false;
    gd_free(a.outputs);
    gd_inputs_release(&a.inputs);
    return result;
}

/* ---- Sweeps ---------------------------------------------------------------------------------- */

/* The input of the program that reads a slot; SIZE_MAX where none does. */
static size_t input_of(const program_object *program, size_t slot)
{
    for (size_t i = 0; i < gd_program_input_count(program->program); i++)
        if (gd_program_input_at(program->program, i)->slot == slot)
            return i;
    return SIZE_MAX;
}

/* Whether what reads the slot, if anything does, has so many elements. */
static bool has_elements(const program_object *program, size_t slot, size_t n)
{
    const size_t i = input_of(program, slot);
    if (i == SIZE_MAX)
        return true;
    const gd_program_input *input = gd_program_input_at(program->program, i);
    size_t size = 1;
    for (size_t k = 0; k < input->ndim; k++)
        size *= input->shape[k];
    return size == n && !input->indices;
}

/* (slot, starts, ends) of an array; -1 with an exception. */
static int read_swept(PyObject *triple, const program_object *program, size_t lanes, size_t starts,
                      size_t runs, size_t output, gd_sweep_array *a)
{
    Py_ssize_t slot;
    PyObject *from, *to;
    if (!PyTuple_Check(triple) || !PyArg_ParseTuple(triple, "nOO", &slot, &from, &to))
        return -1;
    const int type = program->output_type[output];
    size_t n = 1;
    for (int k = 0; k < program->output_ndim[output]; k++)
        n *= (size_t)program->output_shape[output * GD_MAX_AXES + (size_t)k];
    if (n % lanes != 0 || n == 0 || !has_elements(program, (size_t)slot, n)) {
        PyErr_SetString(PyExc_ValueError, "arrays of the program have the lanes as last axis");
        return -1;
    }
    *a = (gd_sweep_array){.input = input_of(program, (size_t)slot),
                          .size = n / lanes,
                          .real_size = type == NPY_FLOAT32 ? sizeof(float) : sizeof(double)};
    PyArrayObject *first = array_of(from, "starts", type, starts * a->size);
    PyArrayObject *last = first != NULL ? array_of(to, "ends", type, runs * a->size) : NULL;
    if (last == NULL)
        return -1;
    a->starts = PyArray_DATA(first);
    a->ends = PyArray_DATA(last);
    return 0;
}

/* Whether the runs' starts are among those there are, and their steps among the rates. */
static int check_runs(const gd_sweep *s, size_t starts, PyObject *rates)
{
    const size_t rows = rates != Py_None ? (size_t)PyArray_SIZE((PyArrayObject *)rates) / 2 : 0;
    for (size_t i = 0; i < s->runs; i++)
        if (s->start[i] < 0 || (uint64_t)s->start[i] >= starts || s->steps[i] < 0 ||
            (rates != Py_None && (uint64_t)s->steps[i] > rows)) {
            PyErr_Format(PyExc_ValueError, "run %zu begins at no start, or has no rates", i);
            return -1;
        }
    return 0;
}

static int read_runs(gd_sweep *s, PyObject *start, PyObject *steps, PyObject *lr,
                     PyObject *momentum, PyObject *facts)
{
    PyArrayObject *starts = array_of(start, "start", NPY_INT64, s->runs);
    PyArrayObject *counts = starts != NULL ? array_of(steps, "steps", NPY_INT64, s->runs) : NULL;
    if (counts == NULL)
        return -1;
    s->start = PyArray_DATA(starts);
    s->steps = PyArray_DATA(counts);
    s->lr = doubles_of(lr, "lr", s->runs);
    s->momentum = doubles_of(momentum, "momentum", s->runs);
    s->facts = doubles_of(facts, "facts", GD_RUN_FACTS * s->runs);
    if (s->lr == NULL || s->momentum == NULL || s->facts == NULL)
        return -1;
    return 0;
}

PyDoc_STRVAR(sweep_doc,
             "sweep(optimizer, program, arrays, swept, lanes, starts, start, steps, lr, momentum, "
             "rates, gtol, facts, /)\n--\n\nDescend with many runs side by side, see "
             "gdcore/_native.py.");

static PyObject *sweep(PyObject *module, PyObject *args)
{
    PyObject *opt, *object, *arrays, *swept, *start, *steps, *lr, *momentum, *rates, *facts;
    PyObject *result = NULL;
    gd_sweep s = {.lanes = 0};
    gd_sweep_array *array = NULL;
    gd_inputs inputs;
    Py_ssize_t lanes, starts;
    bool done = false;
    const gd_module_state *state = PyModule_GetState(module);
    if (!PyArg_ParseTuple(args, "O!O!O!O!nnOOOOOdO", state->optimizer_type, &opt,
                          state->program_type, &object, &PyTuple_Type, &arrays, &PyTuple_Type,
                          &swept, &lanes, &starts, &start, &steps, &lr, &momentum, &rates, &s.gtol,
                          &facts))
        return NULL;
    const program_object *program = (program_object *)object;
    optimizer *self = (optimizer *)opt;
    if (gd_optimizer_refuse_busy(self) < 0)
        return NULL;
    s.array_count = (size_t)PyTuple_GET_SIZE(swept);
    s.runs = PyArray_Check(start) ? (size_t)PyArray_SIZE((PyArrayObject *)start) : 0;
    if (self->step.groups == NULL || !gd_sweep_may(&self->step) || lanes < 1 || starts < 1 ||
        program->output_count != 1 + s.array_count || program->output_ndim[0] != 1 ||
        program->output_shape[0] != lanes)
        return PyErr_Format(PyExc_ValueError, "these runs cannot go side by side");
    if (gd_inputs_take(program, &PyTuple_GET_ITEM(arrays, 0), NULL,
                       (size_t)PyTuple_GET_SIZE(arrays), &inputs) < 0)
        return NULL;
    array = gd_alloc(s.array_count, sizeof *array);
    if (array == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < s.array_count; i++)
        if (read_swept(PyTuple_GET_ITEM(swept, (Py_ssize_t)i), program, (size_t)lanes,
                       (size_t)starts, s.runs, 1 + i, &array[i]) < 0)
            goto done;
    if (read_runs(&s, start, steps, lr, momentum, facts) < 0)
        goto done;
    s.rates = doubles_of(rates, "rates", 0);
    if (PyErr_Occurred() || check_runs(&s, (size_t)starts, rates) < 0)
        goto done;
    s.program = program->program;
    s.lanes = (size_t)lanes;
    s.inputs = inputs.data;
    s.value_size = program->output_type[0] == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    s.array = array;
    s.settings = &self->step;
    s.momentum_at = momentum_at(&self->step);
    Py_BEGIN_ALLOW_THREADS
    done = gd_sweep_run(&s);
    Py_END_ALLOW_THREADS
    result = done ? Py_NewRef(Py_None) : PyErr_NoMemory();
done:
    gd_free(array);
    gd_inputs_release(&inputs);
    return result;
}

PyDoc_STRVAR(may_sweep_doc, "may_sweep(optimizer, /)\n--\n\nWhether its steps treat each element "
                            "by itself, so that runs may go side by side.");

static PyObject *may_sweep(PyObject *module, PyObject *opt)
{
    const gd_module_state *state = PyModule_GetState(module);
    if (!PyObject_TypeCheck(opt, (PyTypeObject *)state->optimizer_type))
        return PyErr_Format(PyExc_TypeError, "an optimizer is wanted");
    const optimizer *self = (optimizer *)opt;
    return PyBool_FromLong(self->step.groups != NULL && gd_sweep_may(&self->step));
}

PyMethodDef gd_descent_methods[] = {
    {"sweep", sweep, METH_VARARGS, sweep_doc},
    {"may_sweep", may_sweep, METH_O, may_sweep_doc},
    {"descend", descend, METH_VARARGS, descend_doc},
    {NULL, NULL, 0, NULL},
};
