/* module_trainer.c: the life of a trainer: what it borrows and keeps, the memory of its passes, and
 * where it stands between runs. What the arguments mean stands in gdcore/_trainer.py. */
#include <math.h>

#include "module_train.h"
#include "threads.h"

/* ---- A trainer's life ------------------------------------------------------------------------ */

/* (batch, batches, shuffle, skip, statistics, moves, key, key, threads). */
static int read_settings(PyObject *settings, trainer *self, Py_ssize_t *threads)
{
    Py_ssize_t batch, batches;
    int shuffle, skip, statistics, moves;
    unsigned long long first, second;
    gd_fit *fit = &self->fit;
    if (!PyArg_ParseTuple(settings, "nnppppKKn", &batch, &batches, &shuffle, &skip,
                          &statistics, &moves, &first, &second, threads))
        return -1;
    const size_t rows = self->g.data.rows, size = (size_t)batch;
    if (batch < 1 || batches < 1 || size > rows || (size_t)(batches - 1) > (rows - 1) / size ||
        !self->g.has_objective) {
        PyErr_SetString(PyExc_ValueError, "batches of a row or more, within the data, are wanted");
        return -1;
    }
    *fit = (gd_fit){
        .network = &self->g.network, .param = self->g.param, .buffer = self->g.buffer,
        .grad = self->grad, .rows = rows, .batch = size, .batches = (size_t)batches,
        .shuffle = shuffle, .skip = skip, .moves = moves, .sums = self->g.objective.sum,
        .key = {{first, second}},
        .often = statistics ? gd_fit_often(&self->g.network, size) : 0,
    };
    return 0;
}

/* Room for an order, the good weights, the weights before a step; and the pass. */
static int open_memory(trainer *self, size_t threads)
{
    gd_fit *fit = &self->fit;
    const size_t kept = (gd_fit_bytes(fit->network) + 63) / 64 * 64;
    const size_t table = fit->shuffle && fit->rows <= GD_ORDER_TABLE ? fit->rows : 0;
    self->memory = gd_alloc(2 * kept + table * sizeof *fit->table, 1);
    const gd_pass_settings settings = {
        .network = fit->network, .param = fit->param, .buffer = fit->buffer,
        .objective = &self->g.objective, .data = &self->g.data, .batch = fit->batch,
        .training = true, .grad = fit->grad, .watch = &self->watch, .threads = threads,
    };
    fit->pass = self->memory != NULL ? gd_pass_open(&settings) : NULL;
    if (fit->pass == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    fit->good = self->memory;
    fit->before = fit->good + kept;
    fit->table = (uint32_t *)(void *)(fit->before + kept);
    self->place = (gd_place){.lowest = INFINITY, .lowest_mean = INFINITY};
    return 0;
}

static int open_trainer(trainer *self, PyObject *settings)
{
    Py_ssize_t threads;
    const gd_network *n = &self->g.network;
    self->grad = gd_alloc(n->param_count, sizeof *self->grad);
    if (self->grad == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (gd_given_arrays(self->grads, "grads", n->real_size, n->param_size, n->param_count,
                        self->grad) < 0)
        return -1;
    PyObject *kept = PyList_AsTuple(self->grads);
    if (kept == NULL)
        return -1;
    Py_SETREF(self->grads, kept); /* before code of the user's runs, which may change the list */
    if (read_settings(settings, self, &threads) < 0)
        return -1;
    return open_memory(self, threads > 0 ? (size_t)threads : gd_threads_get());
}

static PyObject *trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *network, *arguments, *opt, *params, *grads, *settings;
    const gd_module_state *state = PyType_GetModuleState(type);
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)
        return PyErr_Format(PyExc_TypeError, "Trainer takes no keywords");
    if (!PyArg_ParseTuple(args, "O!O!OO!O!O!", state->network_type, &network, &PyTuple_Type,
                          &arguments, &opt, &PyList_Type, &params, &PyList_Type, &grads,
                          &PyTuple_Type, &settings))
        return NULL;
    if (opt != Py_None && !PyObject_TypeCheck(opt, (PyTypeObject *)state->optimizer_type))
        return PyErr_Format(PyExc_TypeError, "an optimizer is wanted");
    trainer *self = (trainer *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->network = Py_NewRef(network);
    self->arguments = Py_NewRef(arguments);
    self->params = Py_NewRef(params);
    self->grads = Py_NewRef(grads);
    self->opt = opt != Py_None ? (optimizer *)Py_NewRef(opt) : NULL;
    if (gd_given_read((network_object *)network, arguments, &self->g) < 0 ||
        open_trainer(self, settings) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void trainer_dealloc(PyObject *object)
{
    trainer *self = (trainer *)object;
    PyTypeObject *type = Py_TYPE(object);
    gd_pass_close(self->fit.pass);
    gd_given_release(&self->g);
    gd_free(self->memory);
    gd_free(self->grad);
    Py_XDECREF(self->network);
    Py_XDECREF(self->arguments);
    Py_XDECREF(self->params);
    Py_XDECREF(self->grads);
    Py_XDECREF((PyObject *)self->opt);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- Where it stands ------------------------------------------------------------------------- */

PyDoc_STRVAR(place_doc, "place($self)\n--\n\n(epoch, batch, batches so far, sum and weight of the "
                        "losses of the epoch, lowest loss, batches skipped).");

static PyObject *trainer_place(PyObject *object, PyObject *unused)
{
    const gd_place *p = &((trainer *)object)->place;
    (void)unused;
    return Py_BuildValue("KKKdddK", (unsigned long long)p->epoch, (unsigned long long)p->batch,
                         (unsigned long long)p->count, p->sum, p->weight, p->lowest,
                         (unsigned long long)p->skipped);
}

PyDoc_STRVAR(move_doc, "move($self, place, /)\n--\n\nGo on from where place() says.");

static PyObject *trainer_move(PyObject *object, PyObject *tuple)
{
    trainer *self = (trainer *)object;
    unsigned long long epoch, batch, count, skipped;
    gd_place p = {.kept = self->place.kept, .lowest_mean = INFINITY};
    if (!PyTuple_Check(tuple))
        return PyErr_Format(PyExc_TypeError, "a tuple is wanted");
    if (!PyArg_ParseTuple(tuple, "KKKdddK", &epoch, &batch, &count, &p.sum, &p.weight, &p.lowest,
                          &skipped))
        return NULL;
    if (self->busy || batch >= self->fit.batches)
        return PyErr_Format(PyExc_ValueError, "there is no such place");
    p.epoch = epoch;
    p.batch = batch;
    p.count = count;
    p.skipped = skipped;
    p.taken = p.sum != 0 || p.weight != 0;
    p.total = p.weight > 0 ? p.sum / p.weight : p.sum;
    self->place = p;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(sizes_doc, "sizes($self)\n--\n\n(numbers in a record, batches between two records).");

static PyObject *trainer_sizes(PyObject *object, PyObject *unused)
{
    const gd_fit *fit = &((trainer *)object)->fit;
    (void)unused;
    return Py_BuildValue("nn", (Py_ssize_t)gd_record_width(fit->network), (Py_ssize_t)fit->often);
}

PyDoc_STRVAR(restore_doc, "restore($self)\n--\n\nPut the last good weights back.");

static PyObject *trainer_restore(PyObject *object, PyObject *unused)
{
    const trainer *self = (trainer *)object;
    (void)unused;
    if (self->busy || !self->place.kept)
        return PyErr_Format(PyExc_ValueError, "there are no good weights yet");
    gd_fit_restore(&self->fit);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(shadowed_doc, "shadowed($self)\n--\n\nWhether the good weights are from within the "
                           "epoch.");

static PyObject *trainer_shadowed(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((trainer *)object)->place.shadowed);
}

PyDoc_STRVAR(penalty_doc, "penalty($self)\n--\n\nThat part of the last batch's loss.");

static PyObject *trainer_penalty(PyObject *object, PyObject *unused)
{
    (void)unused;
    return PyFloat_FromDouble(gd_pass_penalty(((trainer *)object)->fit.pass));
}

PyDoc_STRVAR(run_doc, "run($self, count, order, deadline, seen, rates, losses, norms, lrs, "
                      "epoch_loss, record, record_at, progress, average=None, /)\n--\n\nTrain for "
                      "so many batches, see gdcore/_trainer.py.");

static PyMethodDef methods[] = {
    {"restore", trainer_restore, METH_NOARGS, restore_doc},
    {"shadowed", trainer_shadowed, METH_NOARGS, shadowed_doc},
    {"penalty", trainer_penalty, METH_NOARGS, penalty_doc},
    {"run", gd_trainer_run, METH_VARARGS, run_doc},
    {"place", trainer_place, METH_NOARGS, place_doc},
    {"move", trainer_move, METH_O, move_doc},
    {"sizes", trainer_sizes, METH_NOARGS, sizes_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(trainer_doc, "Trainer(network, given, optimizer, params, grads, settings, /)\n--\n\n"
                          "One fit, see gdcore/_trainer.py.");

static PyType_Slot slots_of_trainer[] = {
    {Py_tp_doc, (void *)trainer_doc},
    {Py_tp_new, trainer_new},
    {Py_tp_dealloc, trainer_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec gd_trainer_spec = {
    .name = "gdcore._core.Trainer",
    .basicsize = sizeof(trainer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots_of_trainer,
};
