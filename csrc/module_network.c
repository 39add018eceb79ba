/* module_network.c: networks and predictions from Python. A network is a fixed list of stages; what
 * it runs on comes with each call. */
#include <math.h>

#include "module_network.h"

#include "threads.h"

static const char *const kinds[GD_STAGES] = {"dense",      "activation", "dropout", "layer_norm",
                                             "batch_norm", "fork",       "join",    "function"};

/* ---- Networks -------------------------------------------------------------------------------- */

static int read_sizes(PyObject *tuple, size_t *sizes)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        sizes[i] = PyLong_AsSize_t(PyTuple_GET_ITEM(tuple, i));
        if (PyErr_Occurred())
            return -1;
        if (sizes[i] > PTRDIFF_MAX / sizeof(double)) {
            PyErr_SetString(PyExc_ValueError, "an array is too large");
            return -1;
        }
    }
    return 0;
}

static int read_kind(const char *name, gd_stage_kind *kind)
{
    for (int k = 0; k < GD_STAGES; k++)
        if (strcmp(name, kinds[k]) == 0) {
            *kind = (gd_stage_kind)k;
            return 0;
        }
    PyErr_Format(PyExc_ValueError, "no kind of stage is called '%s'", name);
    return -1;
}

/* The numbers of a stage: see network.h. */
static int read_numbers(PyObject *numbers, gd_stage *s)
{
    double value[3] = {-INFINITY, INFINITY, 0};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(numbers) && i < 3; i++) {
        value[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(numbers, i));
        if (value[i] == -1.0 && PyErr_Occurred())
            return -1;
    }
    const double partner = s->kind == GD_STAGE_batch_norm ? value[2]
                           : s->kind == GD_STAGE_join     ? value[0]
                                                          : 0;
    s->number[0] = value[0];
    s->number[1] = value[1];
    s->partner = partner >= 0 && partner < INT32_MAX ? (size_t)partner : SIZE_MAX;
    return 0;
}

/* (kind, inputs, outputs, params, activation, numbers). */
static int read_stage(PyObject *value, gd_stage *s)
{
    const char *name;
    Py_ssize_t inputs, outputs;
    PyObject *params, *activation, *numbers;
    if (!PyTuple_Check(value) ||
        !PyArg_ParseTuple(value, "snnO!O!O!", &name, &inputs, &outputs, &PyTuple_Type, &params,
                          &PyTuple_Type, &activation, &PyTuple_Type, &numbers)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a stage is a tuple");
        return -1;
    }
    *s = (gd_stage){.inputs = (size_t)inputs, .outputs = (size_t)outputs};
    if (read_kind(name, &s->kind) < 0 || read_numbers(numbers, s) < 0 ||
        (s->kind == GD_STAGE_activation &&
         gd_function_from(activation, GD_ACTIVATIONS, &s->activation) < 0))
        return -1;
    s->param_count = (size_t)PyTuple_GET_SIZE(params);
    for (size_t k = 0; k < s->param_count && k < 2; k++) {
        s->param[k] = PyLong_AsSize_t(PyTuple_GET_ITEM(params, (Py_ssize_t)k));
        if (PyErr_Occurred())
            return -1;
    }
    return 0;
}

static int read_stages(PyObject *stages, gd_network *n)
{
    for (size_t i = 0; i < n->stage_count; i++) {
        if (read_stage(PyTuple_GET_ITEM(stages, (Py_ssize_t)i), &n->stage[i]) < 0)
            return -1;
        const char *wrong = gd_stage_check(n, i);
        if (wrong != NULL) {
            PyErr_Format(PyExc_ValueError, "stage %zu: %s", i, wrong);
            return -1;
        }
        if (n->stage[i].kind == GD_STAGE_join)
            n->stage[n->stage[i].partner].partner = i;
    }
    for (size_t i = 0; i < n->stage_count; i++)
        if (n->stage[i].kind == GD_STAGE_fork && n->stage[i].partner <= i) {
            PyErr_Format(PyExc_ValueError, "stage %zu: a fork has no join", i);
            return -1;
        }
    n->outputs = n->stage_count > 0 ? n->stage[n->stage_count - 1].outputs : n->inputs;
    return 0;
}

static PyObject *network_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *stages, *params, *buffers;
    Py_ssize_t inputs, real_size;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)
        return PyErr_Format(PyExc_TypeError, "Network takes no keywords");
    if (!PyArg_ParseTuple(args, "O!O!O!nn", &PyTuple_Type, &stages, &PyTuple_Type, &params,
                          &PyTuple_Type, &buffers, &inputs, &real_size))
        return NULL;
    if (inputs < 1 || (real_size != 4 && real_size != 8) || PyTuple_GET_SIZE(stages) < 1)
        return PyErr_Format(PyExc_ValueError, "stages, inputs, reals of 4 or 8 bytes are wanted");
    network_object *self = (network_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    gd_network *n = &self->network;
    n->real_size = (size_t)real_size;
    n->inputs = (size_t)inputs;
    n->stage_count = (size_t)PyTuple_GET_SIZE(stages);
    n->param_count = (size_t)PyTuple_GET_SIZE(params);
    n->buffer_count = (size_t)PyTuple_GET_SIZE(buffers);
    const size_t sizes = (n->param_count + n->buffer_count) * sizeof(size_t);
    self->memory = gd_alloc(n->stage_count * sizeof(gd_stage) + sizes, 1);
    if (self->memory == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    n->stage = self->memory;
    n->param_size = (size_t *)(void *)(n->stage + n->stage_count);
    n->buffer_size = n->param_size + n->param_count;
    if (read_sizes(params, n->param_size) < 0 || read_sizes(buffers, n->buffer_size) < 0 ||
        read_stages(stages, n) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void network_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    gd_free(((network_object *)object)->memory);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- Predictions ----------------------------------------------------------------------------- */

PyDoc_STRVAR(evaluate_doc,
             "evaluate($self, given, first, rows, out, seen, /)\n--\n\nPredictions of rows into "
             "out (or None), as metrics see them where `seen`; the loss of these rows, or None.");

static PyObject *evaluate(PyObject *object, PyObject *args)
{
    network_object *self = (network_object *)object;
    PyObject *arguments, *out, *result = NULL;
    Py_ssize_t first, rows;
    int seen;
    given g = {.memory = NULL};
    gd_waiting w;
    gd_watch watch = {gd_look_at_signals, &w, 0};
    gd_pass *pass = NULL;
    double loss = 0;
    void *data = NULL;
    if (!PyArg_ParseTuple(args, "OnnOp", &arguments, &first, &rows, &out, &seen))
        return NULL;
    if (gd_given_read(self, arguments, &g) < 0)
        goto done;
    if (first < 0 || rows < 0 || (size_t)first > g.data.rows ||
        (size_t)rows > g.data.rows - (size_t)first) {
        PyErr_SetString(PyExc_IndexError, "rows lie outside the data");
        goto done;
    }
    if (out != Py_None) {
        const int type = g.network.real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
        PyArrayObject *array = gd_plain_array(out, "out", type, (size_t)rows * g.network.outputs);
        if (array == NULL)
            goto done;
        data = PyArray_DATA(array);
    }
    const gd_pass_settings settings = {
        .network = &g.network, .param = g.param, .buffer = g.buffer,
        .objective = g.has_objective ? &g.objective : NULL, .data = &g.data, .watch = &watch,
        .threads = gd_threads_get(),
    };
    gd_run_status status = GD_RUN_NO_MEMORY;
    w.saved = PyEval_SaveThread();
    watch.last = gd_seconds();
    pass = gd_pass_open(&settings);
    if (pass != NULL)
        status = gd_pass_evaluate(pass, (size_t)first, (size_t)rows, data, seen, &loss);
    gd_pass_close(pass);
    PyEval_RestoreThread(w.saved);
    if (gd_pass_raise(status) == 0)
        result = g.has_objective ? PyFloat_FromDouble(loss) : Py_NewRef(Py_None);
done:
    gd_given_release(&g);
    return result;
}

PyDoc_STRVAR(network_doc,
             "Network(stages, param_sizes, buffer_sizes, inputs, real_size, /)\n--\n\nA list of "
             "stages, see csrc/network.h.");

static PyMethodDef methods[] = {
    {"evaluate", evaluate, METH_VARARGS, evaluate_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots_of_network[] = {
    {Py_tp_doc, (void *)network_doc},
    {Py_tp_new, network_new},
    {Py_tp_dealloc, network_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec gd_network_spec = {
    .name = "gdcore._core.Network",
    .basicsize = sizeof(network_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots_of_network,
};
