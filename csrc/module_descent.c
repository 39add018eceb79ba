/* module_descent.c: descent and sweeps on a compiled function, from Python: arrays are borrowed,
 * the optimizer is bound, the GIL is released for the whole loop but for a look at signals. What
 * the arguments mean stands in gdcore/_native.py. */
#include <math.h>

#include "descend.h"
#include "module_optimizer.h"
#include "module_program.h"
#include "sweep.h"

/* ---- Arguments ------------------------------------------------------------------------------- */

/* A list as a tuple, which keeps its arrays alive while the GIL is released; else -1. */
static int hold(PyObject *list, PyObject **held)
{
    *held = PyList_Check(list) ? PyList_AsTuple(list) : PyTuple_New(0);
    return *held != NULL ? 0 : -1;
}

/* The addresses of a tuple of arrays like the outputs of a program. */
static int read_outputs(PyObject *arrays, const program_object *program, void **data)
{
    if ((size_t)PyTuple_GET_SIZE(arrays) != program->output_count) {
        PyErr_SetString(PyExc_ValueError, "outputs: an array for each output is wanted");
        return -1;
    }
    for (size_t i = 0; i < program->output_count; i++) {
        size_t n = 1;
        for (int k = 0; k < program->output_ndim[i]; k++)
            n *= (size_t)program->output_shape[i * GD_MAX_AXES + (size_t)k];
        PyArrayObject *array = gd_plain_array(PyTuple_GET_ITEM(arrays, (Py_ssize_t)i), "an output",
                                              program->output_type[i], n);
        if (array == NULL)
            return -1;
        data[i] = PyArray_DATA(array);
    }
    return 0;
}

/* The addresses of a tuple of arrays like those of the optimizer, with room for `rows` of each. */
static int read_like(PyObject *arrays, const char *name, const gd_step *step, size_t rows,
                     void **data)
{
    if ((size_t)PyTuple_GET_SIZE(arrays) != step->array_count) {
        PyErr_Format(PyExc_ValueError, "%s: an array for each parameter is wanted", name);
        return -1;
    }
    for (size_t i = 0; i < step->array_count; i++) {
        const gd_array *a = &step->arrays[i];
        const int type = a->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
        PyArrayObject *array =
            gd_plain_array(PyTuple_GET_ITEM(arrays, (Py_ssize_t)i), name, type, rows * a->size);
        if (array == NULL)
            return -1;
        data[i] = PyArray_DATA(array);
    }
    return 0;
}

/* ---- Descent --------------------------------------------------------------------------------- */

/* Whether the program gives a number, and a gradient of the type and size of each array that is
 * stepped. */
static int check_arrays(const optimizer *self, const program_object *program)
{
    if (program->output_count != 1 + self->step.array_count || program->output_ndim[0] != 0) {
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
    PyObject *held_outputs, *held_start, *held_path; /* tuples */
    PyObject *losses, *norms, *lrs, *progress;       /* borrowed */
} descent_arguments;

static void enter_span(PyObject *array, gd_span *spans, size_t *count)
{
    gd_span *span = &spans[(*count)++];
    gd_array_extent((PyArrayObject *)array, &span->low, &span->high);
}

static size_t enter_spans(PyObject *tuple, gd_span *spans, size_t count)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        enter_span(PyTuple_GET_ITEM(tuple, i), spans, &count);
    return count;
}

/* Whether an array that a descent reads, a parameter or a state lies in memory that it writes. */
static bool is_written(const descent_arguments *a, const gd_span *written, size_t count)
{
    const optimizer *self = a->self;
    bool found = false;
    for (size_t i = 0; i < self->taken_count; i++)
        found = found || gd_spans_meet(written, count, self->taken[i].low, self->taken[i].high);
    for (size_t i = 0; i < a->inputs.count; i++)
        if (a->inputs.array[i] != NULL) {
            const char *low, *high;
            gd_array_extent(a->inputs.array[i], &low, &high);
            found = found || gd_spans_meet(written, count, low, high);
        }
    return found;
}

/* Refuse arrays for the results of a descent that share memory with one another or with what it
 * reads; -1 with an exception. */
static int refuse_shared(const descent_arguments *a)
{
    enum { MORE = 4 };
    size_t count = (size_t)(PyTuple_GET_SIZE(a->held_outputs) + PyTuple_GET_SIZE(a->held_path));
    gd_span *spans = gd_alloc(count + MORE, sizeof *spans);
    if (spans == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    count = enter_spans(a->held_outputs, spans, 0);
    count = enter_spans(a->held_path, spans, count);
    enter_span(a->losses, spans, &count);
    enter_span(a->norms, spans, &count);
    enter_span(a->lrs, spans, &count);
    enter_span(a->progress, spans, &count);
    count = gd_sort_spans(spans, count);
    const bool shared = gd_spans_overlap(spans, count) != NULL || is_written(a, spans, count);
    gd_free(spans);
    if (shared)
        PyErr_SetString(PyExc_ValueError, "results of a descent have memory of their own");
    return shared ? -1 : 0;
}

/* Set where the descent reads and writes; -1 with an exception. */
static int read_descent(descent_arguments *a, PyObject *outputs, PyObject *start, PyObject *path,
                        PyObject *rates, gd_descent *d)
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
    if (hold(outputs, &a->held_outputs) < 0 || hold(start, &a->held_start) < 0 ||
        hold(rows > 0 ? path : Py_None, &a->held_path) < 0 ||
        read_outputs(a->held_outputs, a->program, a->outputs) < 0 ||
        (start != Py_None && read_like(a->held_start, "start", step, 1, a->start) < 0) ||
        (rows > 0 && read_like(a->held_path, "path", step, rows, a->path) < 0))
        return -1;
    d->momentum_at = gd_momentum_at(&gd_rules[step->rule]);
    if (rates != Py_None)
        d->rates = gd_plain_doubles(rates, "rates", 2 * d->steps * step->group_count);
    d->losses = gd_plain_doubles(a->losses, "losses", d->steps + 1);
    d->norms = d->losses != NULL ? gd_plain_doubles(a->norms, "norms", d->steps + 1) : NULL;
    d->lrs = d->norms != NULL ? gd_plain_doubles(a->lrs, "lrs", d->steps) : NULL;
    if (PyErr_Occurred() || refuse_shared(a) < 0)
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
    gd_waiting w;
    npy_int64 *progress = PyArray_DATA((PyArrayObject *)a->progress);
    d->run = gd_program_run_take(a->program);
    if (d->run == NULL)
        return -1;
    d->step = &a->self->step;
    d->step->t = a->self->t;
    d->poll = gd_look_at_signals;
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
    PyObject *opt, *call, *arguments, *params, *outputs, *start, *rates, *path, *result = NULL;
    descent_arguments a = {.outputs = NULL};
    gd_descent d = {.record = 0};
    Py_ssize_t steps, record, first;
    const gd_module_state *state = PyModule_GetState(module);
    if (!PyArg_ParseTuple(args, "O!O!O!OOO(nnndddd)OOOOOO!", state->optimizer_type, &opt,
                          state->call_type, &call, &PyTuple_Type, &arguments, &params, &outputs,
                          &start, &steps, &record, &first, &d.gtol, &d.ftol, &d.seconds, &d.before,
                          &rates, &a.losses, &a.norms, &a.lrs, &path, &PyArray_Type, &a.progress))
        return NULL;
    a.self = (optimizer *)opt;
    if (gd_optimizer_refuse_busy(a.self) < 0 ||
        gd_plain_array(a.progress, "progress", NPY_INT64, 4) == NULL)
        return NULL;
    if (a.self->step.groups == NULL)
        return PyErr_Format(PyExc_ValueError, "the optimizer was not initialised");
    if (steps < 0 || record < 0 || first < 0 || (uint64_t)steps > (1u << 30))
        return PyErr_Format(PyExc_ValueError, "numbers of steps are >= 0");
    d.steps = (size_t)steps;
    d.record = (size_t)record;
    d.first = (size_t)first;
    a.program = gd_call_program(call);
    a.self->busy = true; /* from here on: comparing arguments may run code of the user's */
    const bool first_step = a.self->arrays == NULL, stateless = a.self->state == NULL;
    const int known = gd_call_inputs(call, arguments, &a.inputs);
    if (known <= 0) {
        result = known < 0 ? NULL : Py_NewRef(Py_False);
    } else if ((first_step ? gd_optimizer_bind(a.self, params)
                           : gd_optimizer_refuse_others(a.self, params)) == 0 &&
               check_arrays(a.self, a.program) == 0 &&
               read_descent(&a, outputs, start, path, rates, &d) == 0 &&
               run_descent(&a, &d) == 0) {
        result = Py_NewRef(Py_True);
    }
    if (first_step && d.done == 0) { /* no step was taken: the optimizer belongs to nobody yet */
        gd_optimizer_unbind(a.self);
        if (stateless)
            Py_CLEAR(a.self->state);
    }
    a.self->busy = false;
    gd_free(a.outputs);
    Py_XDECREF(a.held_outputs);
    Py_XDECREF(a.held_start);
    Py_XDECREF(a.held_path);
    if (known > 0)
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

/* Whether what reads the slot, if anything does, reads so many reals of that size in C order. */
static bool reads_lanes(const program_object *program, size_t slot, size_t n, size_t real_size)
{
    const size_t i = input_of(program, slot);
    if (i == SIZE_MAX)
        return true;
    const gd_program_input *input = gd_program_input_at(program->program, i);
    size_t size = 1;
    for (size_t k = input->ndim; k-- > 0; size *= input->shape[k])
        if (input->shape[k] > 1 && input->stride[k] != (ptrdiff_t)size)
            return false;
    return size == n && input->real_size == real_size && !input->indices;
}

/* (slot, starts, ends) of an array; -1 with an exception. */
static int read_swept(PyObject *triple, const program_object *program, size_t lanes, size_t starts,
                      size_t runs, size_t output, gd_sweep_array *a)
{
    Py_ssize_t slot;
    PyObject *from, *to;
    if (!PyTuple_Check(triple)) {
        PyErr_Format(PyExc_TypeError, "(slot, starts, ends) is wanted, not %R", triple);
        return -1;
    }
    if (!PyArg_ParseTuple(triple, "nOO", &slot, &from, &to))
        return -1;
    const int type = program->output_type[output];
    const size_t real_size = type == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    size_t n = 1, room;
    for (int k = 0; k < program->output_ndim[output]; k++)
        n *= (size_t)program->output_shape[output * GD_MAX_AXES + (size_t)k];
    if (n % lanes != 0 || n == 0 || !reads_lanes(program, (size_t)slot, n, real_size)) {
        PyErr_SetString(PyExc_ValueError, "arrays of the program have the lanes as last axis");
        return -1;
    }
    *a = (gd_sweep_array){.input = input_of(program, (size_t)slot),
                          .size = n / lanes,
                          .real_size = real_size};
    room = starts > SIZE_MAX / a->size ? SIZE_MAX : starts * a->size;
    PyArrayObject *first = gd_plain_array(from, "starts", type, room);
    PyArrayObject *last = first != NULL ? gd_plain_array(to, "ends", type, runs * a->size) : NULL;
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

/* Starts and steps are copied to `numbers`: what is checked stays what it is while the GIL is
 * released. */
static int read_runs(gd_sweep *s, int64_t *numbers, PyObject *start, PyObject *steps, PyObject *lr,
                     PyObject *momentum, PyObject *facts)
{
    PyArrayObject *starts = gd_plain_array(start, "start", NPY_INT64, s->runs);
    if (starts == NULL)
        return -1;
    PyArrayObject *counts = gd_plain_array(steps, "steps", NPY_INT64, s->runs);
    if (counts == NULL)
        return -1;
    s->start = memcpy(numbers, PyArray_DATA(starts), s->runs * sizeof *numbers);
    s->steps = memcpy(numbers + s->runs, PyArray_DATA(counts), s->runs * sizeof *numbers);
    s->lr = gd_plain_doubles(lr, "lr", s->runs);
    if (s->lr == NULL)
        return -1;
    s->momentum = gd_plain_doubles(momentum, "momentum", s->runs);
    if (s->momentum == NULL)
        return -1;
    s->facts = gd_plain_doubles(facts, "facts", GD_RUN_FACTS * s->runs);
    return s->facts != NULL ? 0 : -1;
}

/* The runs with copies of the settings, because another thread may give the optimizer others. */
static int run_sweep(gd_sweep *s, const optimizer *self)
{
    gd_step settings = self->step;
    gd_group group = settings.groups[0];
    gd_run_status status;
    settings.groups = &group;
    s->settings = &settings;
    s->momentum_at = gd_momentum_at(&gd_rules[settings.rule]);
    Py_BEGIN_ALLOW_THREADS
    status = gd_sweep_run(s);
    Py_END_ALLOW_THREADS
    return gd_program_raise(status);
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
    int64_t *numbers = NULL;
    gd_inputs inputs;
    Py_ssize_t lanes, starts;
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
    numbers = gd_alloc(s.runs, 2 * sizeof *numbers);
    if (array == NULL || numbers == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < s.array_count; i++)
        if (read_swept(PyTuple_GET_ITEM(swept, (Py_ssize_t)i), program, (size_t)lanes,
                       (size_t)starts, s.runs, 1 + i, &array[i]) < 0)
            goto done;
    if (read_runs(&s, numbers, start, steps, lr, momentum, facts) < 0)
        goto done;
    if (rates != Py_None)
        s.rates = gd_plain_doubles(rates, "rates", 0);
    if (PyErr_Occurred() || check_runs(&s, (size_t)starts, rates) < 0)
        goto done;
    s.program = program->program;
    s.lanes = (size_t)lanes;
    s.inputs = inputs.data;
    s.value_size = program->output_type[0] == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    s.array = array;
    if (run_sweep(&s, self) == 0)
        result = Py_NewRef(Py_None);
done:
    gd_free(array);
    gd_free(numbers);
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
