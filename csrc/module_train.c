/* module_train.c: runs of trainers from Python: one, or many side by side, with the GIL released
 * but for a look at signals. What the arguments mean stands in gdcore/_trainer.py. */
#include <math.h>

#include "module_train.h"
#include "threads.h"

/* ---- One run --------------------------------------------------------------------------------- */

/* A call of run while it lasts. */
typedef struct {
    trainer *self;
    gd_training call;
    int64_t *order; /* a copy: another thread may write to the caller's */
    npy_int64 *progress;
    gd_followers average;
    PyObject *averaged; /* a tuple of its arrays, NULL where none is kept */
    npy_bool *begun;    /* where the caller reads whether it is */
    bool alone, ended;
} job;

/* Jobs that run side by side, for so long: a task of the pool may not wait for the GIL, which a
 * thread that forks holds while it waits for the pool, so signals are looked at between rounds. */
typedef struct {
    job *jobs;
    double until; /* seconds of the clock */
} side_by_side;

static const double ROUND_SECONDS = 0.03;
/* Multiply-adds of a batch that is looked at within, by a job that runs alone: 20 ms or so. */
static const double LONG_BATCH = 2e9;

static int read_order(PyObject *value, job *j)
{
    if (value == Py_None)
        return 0;
    const size_t rows = j->self->fit.rows;
    PyArrayObject *array = gd_plain_array(value, "order", NPY_INT64, rows);
    if (array == NULL)
        return -1;
    j->order = gd_alloc(rows, sizeof *j->order);
    if (j->order == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(j->order, PyArray_DATA(array), rows * sizeof *j->order);
    for (size_t i = 0; i < rows; i++)
        if (j->order[i] < 0 || (uint64_t)j->order[i] >= rows) {
            PyErr_SetString(PyExc_IndexError, "the order names a row that is not there");
            return -1;
        }
    j->call.given = j->order;
    return 0;
}

/* Room for what metrics see of the batches of this call. */
static int read_seen(PyObject *value, job *j)
{
    const gd_fit *fit = &j->self->fit;
    const size_t first = (size_t)j->self->place.batch * fit->batch;
    const size_t most = j->call.count * fit->batch, left = fit->rows - first;
    if (value == Py_None)
        return 0;
    PyArrayObject *array = gd_plain_array(
        value, "seen", fit->network->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64,
        (most < left ? most : left) * fit->network->outputs);
    if (array == NULL)
        return -1;
    j->call.seen = PyArray_DATA(array);
    return 0;
}

/* Where the call writes, with room for all that it may write. */
static int read_results(PyObject *const *item, job *j)
{
    const trainer *self = j->self;
    gd_training *call = &j->call;
    const size_t n = call->count;
    const size_t ends = ((size_t)self->place.batch + n) / self->fit.batches;
    const size_t records = self->fit.often > 0 ? n / self->fit.often + 1 : 0;
    const size_t groups = self->opt != NULL ? self->opt->step.group_count : 0;
    if (item[0] != Py_None &&
        (call->rates = gd_plain_doubles(item[0], "rates", 2 * n * groups)) == NULL)
        return -1;
    if ((call->losses = gd_plain_doubles(item[1], "losses", n)) == NULL ||
        (call->norms = gd_plain_doubles(item[2], "norms", n)) == NULL ||
        (call->lrs = gd_plain_doubles(item[3], "lrs", n)) == NULL ||
        (call->epoch_loss = gd_plain_doubles(item[4], "epoch_loss", ends)) == NULL ||
        (call->record = gd_plain_doubles(item[5], "record",
                                        records * gd_record_width(self->fit.network))) == NULL)
        return -1;
    PyArrayObject *at = gd_plain_array(item[6], "record_at", NPY_INT64, records);
    if (at == NULL)
        return -1;
    call->record_at = PyArray_DATA(at);
    return 0;
}

/* (list of arrays, share, flag): the average that is kept beside the parameters, or None. */
static int read_average(PyObject *value, job *j)
{
    const gd_network *n = &j->self->g.network;
    PyObject *arrays, *flag;
    if (value == Py_None)
        return 0;
    if (!PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "average: a tuple is wanted");
        return -1;
    }
    if (!PyArg_ParseTuple(value, "O!dO", &PyList_Type, &arrays, &j->average.share, &flag))
        return -1;
    PyArrayObject *begun = gd_plain_array(flag, "begun", NPY_BOOL, 1);
    if (begun == NULL)
        return -1;
    j->average.array = gd_alloc(n->param_count, sizeof *j->average.array);
    if (j->average.array == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (gd_given_arrays(arrays, "average", n->real_size, n->param_size, n->param_count,
                        j->average.array) < 0)
        return -1;
    j->averaged = PyList_AsTuple(arrays); /* another thread may change the list */
    if (j->averaged == NULL)
        return -1;
    j->begun = PyArray_DATA(begun);
    j->average.begun = *j->begun;
    return 0;
}

/* Bind the optimizer to the parameters, or see that it is. */
static int take_optimizer(trainer *self)
{
    optimizer *opt = self->opt;
    if (opt == NULL)
        return 0;
    if (gd_optimizer_refuse_busy(opt) < 0)
        return -1;
    if (opt->step.groups == NULL) {
        PyErr_SetString(PyExc_ValueError, "the optimizer was not initialised");
        return -1;
    }
    opt->busy = true;
    int status = opt->arrays == NULL ? gd_optimizer_bind(opt, self->params)
                                     : gd_optimizer_refuse_others(opt, self->params);
    bool same = status == 0 && opt->step.array_count == self->g.network.param_count;
    for (size_t i = 0; same && i < opt->step.array_count; i++) {
        same = opt->step.arrays[i].p == self->g.param[i];
        opt->step.arrays[i].g = self->grad[i];
    }
    if (status == 0 && !same) {
        PyErr_SetString(PyExc_ValueError, "the optimizer belongs to other arrays");
        status = -1;
    }
    if (status < 0)
        opt->busy = false;
    return status;
}

/* Read (count, order, deadline, seen, rates, losses, norms, lrs, epoch_loss, record, record_at,
 * progress, average) and take the trainer; -1 with an exception. job_end is due in any case. */
static int job_begin(trainer *self, PyObject *args, job *j)
{
    Py_ssize_t count;
    PyObject *order, *seen, *item[7], *progress, *average = Py_None;
    *j = (job){.self = NULL};
    if (!PyArg_ParseTuple(args, "nOdOOOOOOOOO|O", &count, &order, &j->call.deadline, &seen,
                          &item[0], &item[1], &item[2], &item[3], &item[4], &item[5], &item[6],
                          &progress, &average))
        return -1;
    PyArrayObject *numbers = gd_plain_array(progress, "progress", NPY_INT64, 5);
    if (numbers == NULL)
        return -1;
    j->progress = PyArray_DATA(numbers);
    const size_t left = self->fit.batches - (size_t)self->place.batch;
    if (count < 1 || count > INT32_MAX ||
        ((order != Py_None || seen != Py_None || self->opt == NULL) && (size_t)count > left)) {
        PyErr_SetString(PyExc_ValueError, "so many batches cannot be run by one call");
        return -1;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this trainer is in the middle of a run");
        return -1;
    }
    self->busy = true; /* from here on: an optimizer is asked for its groups in Python */
    j->self = self;
    j->call.count = (size_t)count;
    if (read_order(order, j) < 0 || read_seen(seen, j) < 0 || read_results(item, j) < 0 ||
        read_average(average, j) < 0 || take_optimizer(self) < 0)
        return -1;
    if (self->opt != NULL) {
        self->opt->step.t = self->opt->t;
        self->fit.step = &self->opt->step;
        self->fit.average = j->averaged != NULL ? &j->average : NULL;
        self->fit.momentum_at = gd_momentum_at(&gd_rules[self->opt->step.rule]);
    }
    return 0;
}

static void job_run(job *j, gd_watch *watch)
{
    gd_pass_pack(j->self->fit.pass);
    gd_train(&j->self->fit, &j->self->place, &j->call, watch);
    j->ended = j->call.end != GD_TRAIN_INTERRUPT;
}

/* Give everything back. */
static void job_end(job *j)
{
    trainer *self = j->self;
    gd_free(j->order);
    gd_free(j->average.array);
    if (j->begun != NULL)
        *j->begun = j->average.begun;
    Py_XDECREF(j->averaged);
    if (self == NULL)
        return;
    self->busy = false;
    self->fit.average = NULL;
    if (self->fit.step == NULL)
        return;
    self->opt->t = self->opt->step.t;
    if (j->call.done > 0) {
        self->opt->step.measured = true;
        self->opt->step.grad_norm = j->call.norms[j->call.done - 1];
    }
    self->opt->busy = false;
    self->fit.step = NULL;
}

/* Enter the outcome in the caller's array, which it reads where this raises too; -1 where the job
 * failed. */
static int report(const job *j)
{
    const gd_training *c = &j->call;
    j->progress[0] = c->end;
    j->progress[1] = (int64_t)c->done;
    j->progress[2] = (int64_t)c->epochs;
    j->progress[3] = (int64_t)c->records;
    j->progress[4] = c->array;
    if (PyErr_Occurred() || c->end != GD_TRAIN_FAILED)
        return 0;
    return gd_pass_raise(c->status);
}

/* Whether the round of a side_by_side is over. */
static bool is_over(void *context)
{
    return gd_seconds() >= ((const side_by_side *)context)->until;
}

static void run_share(void *context, size_t index)
{
    side_by_side *s = context;
    job *j = &s->jobs[index];
    gd_watch watch = {is_over, s, gd_seconds()};
    if (!j->alone && !j->ended && !is_over(s))
        job_run(j, &watch);
}

/* Whether there are jobs to go on with, alone or not. */
static bool any_left(const job *jobs, size_t count, bool alone)
{
    for (size_t i = 0; i < count; i++)
        if (!jobs[i].ended && jobs[i].alone == alone)
            return true;
    return false;
}

/* Run them, short batches side by side, until a signal raises an exception. */
static void run_all_jobs(job *jobs, size_t count, gd_waiting *waiting)
{
    bool stop = false;
    for (size_t i = 0; i < count; i++) {
        const gd_fit *fit = &jobs[i].self->fit;
        jobs[i].alone = count == 1 ||
                        3 * gd_network_work(fit->network) * (double)fit->batch > LONG_BATCH;
        jobs[i].call.end = GD_TRAIN_INTERRUPT;
        jobs[i].self->watch = (gd_watch){NULL, NULL, 0};
    }
    while (!stop && any_left(jobs, count, false)) {
        side_by_side s = {jobs, gd_seconds() + ROUND_SECONDS};
        gd_parallel(count, gd_threads_get(), run_share, &s);
        stop = gd_look_at_signals(waiting);
    }
    for (size_t i = 0; i < count && !stop; i++)
        if (jobs[i].alone) {
            jobs[i].self->watch = (gd_watch){gd_look_at_signals, waiting, gd_seconds()};
            job_run(&jobs[i], &jobs[i].self->watch);
            stop = !jobs[i].ended;
        }
}

/* -1 with an exception. */
static int run_jobs(job *jobs, size_t count)
{
    gd_waiting waiting = {PyEval_SaveThread()};
    run_all_jobs(jobs, count, &waiting);
    PyEval_RestoreThread(waiting.saved);
    int status = 0;
    for (size_t i = 0; i < count; i++)
        status = report(&jobs[i]) < 0 ? -1 : status;
    return PyErr_Occurred() ? -1 : status;
}

PyObject *gd_trainer_run(PyObject *object, PyObject *args)
{
    job j;
    const int status =
        job_begin((trainer *)object, args, &j) == 0 ? run_jobs(&j, 1) : -1;
    job_end(&j);
    return status == 0 ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(run_all_doc, "run_trainers(jobs, /)\n--\n\nRun pairs of a trainer and the arguments "
                          "of its run side by side.");

static PyObject *run_all(PyObject *module, PyObject *pairs)
{
    const gd_module_state *state = PyModule_GetState(module);
    if (!PyTuple_Check(pairs))
        return PyErr_Format(PyExc_TypeError, "a tuple of pairs is wanted");
    const size_t count = (size_t)PyTuple_GET_SIZE(pairs);
    job *jobs = gd_alloc(count, sizeof *jobs);
    size_t begun = 0;
    int status = jobs != NULL ? 0 : -1;
    if (jobs == NULL)
        PyErr_NoMemory();
    while (status == 0 && begun < count) {
        PyObject *self, *args;
        PyObject *pair = PyTuple_GET_ITEM(pairs, (Py_ssize_t)begun);
        if (!PyTuple_Check(pair))
            PyErr_SetString(PyExc_TypeError, "a pair is wanted");
        else if (PyArg_ParseTuple(pair, "O!O!", state->trainer_type, &self, &PyTuple_Type, &args)) {
            status = job_begin((trainer *)self, args, &jobs[begun++]);
            continue;
        }
        status = -1;
    }
    if (status == 0)
        status = run_jobs(jobs, count);
    while (begun > 0)
        job_end(&jobs[--begun]);
    gd_free(jobs);
    return status == 0 ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef gd_train_methods[] = {
    {"run_trainers", run_all, METH_O, run_all_doc},
    {NULL, NULL, 0, NULL},
};
