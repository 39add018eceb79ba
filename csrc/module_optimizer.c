/* module_optimizer.c: the base type of every optimizer: its life, its step and its state. Settings
 * are read in module_settings.c, arrays bound in module_bind.c, rates found in module_rates.c.
 *
 * Signatures, defaults, groups, schedules' meaning and documentation live in
 * gdcore/optimizers.py; formulas in optimizers.inc. */
#include "module_optimizer.h"

enum { RELEASE_GIL = 4096 }; /* elements from which a step is longer than handing over the GIL */

/* ---- Life ------------------------------------------------------------------------------------ */

static int optimizer_traverse(PyObject *object, visitproc visit, void *arg)
{
    optimizer *self = (optimizer *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->rates);
    Py_VISIT(self->arrays);
    Py_VISIT(self->state);
    return 0;
}

static int optimizer_clear(PyObject *object)
{
    optimizer *self = (optimizer *)object;
    gd_optimizer_unbind(self);
    Py_CLEAR(self->rates);
    Py_CLEAR(self->state);
    return 0;
}

static void optimizer_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    optimizer_clear(object);
    gd_free(((optimizer *)object)->step.groups);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- Every step ------------------------------------------------------------------------------ */

typedef struct {
    optimizer *self;
    size_t next; /* number of the array that comes */
} step_walk;

#define BELONGS                                                                                  \
    "an optimizer belongs to the arrays of its first step: make one call with a list of all "    \
    "arrays, or one optimizer each (reset() starts anew)"

/* Whether this is the bound array: its memory, and the type and shape of the first step. What was
 * recorded then is asked too, because an array can be resized or given another type in place. */
static bool is_bound(const gd_array *a, PyArrayObject *bound, PyArrayObject *array)
{
    return PyArray_DATA(array) == a->p && (size_t)PyArray_SIZE(array) == a->size &&
           (size_t)PyArray_ITEMSIZE(array) == a->real_size &&
           PyArray_NDIM(array) == PyArray_NDIM(bound) &&
           PyArray_CompareLists(PyArray_DIMS(array), PyArray_DIMS(bound), PyArray_NDIM(bound));
}

static int refuse_other(const gd_path *path, PyArrayObject *array, PyArrayObject *bound)
{
    char now[96], then[96];
    gd_shape_text(PyArray_NDIM(array), PyArray_DIMS(array), now, sizeof now);
    gd_shape_text(PyArray_NDIM(bound), PyArray_DIMS(bound), then, sizeof then);
    return gd_refuse(PyExc_ValueError, "params", path,
                     "is another array (%S %s) than at the first step (%S %s); " BELONGS,
                     (PyObject *)PyArray_DESCR(array), now, (PyObject *)PyArray_DESCR(bound), then);
}

/* The next array of a walk, which is to be bound; -1 with an exception. */
static int check_bound(step_walk *at, PyObject *param, const gd_path *path)
{
    const optimizer *self = at->self;
    gd_buffer p;
    if (gd_step_param(param, "params", path, &p) < 0)
        return -1;
    if (at->next >= self->step.array_count)
        return gd_refuse(PyExc_ValueError, "params", path,
                         "is one array more than the %zu of the first step; " BELONGS,
                         self->step.array_count);
    PyArrayObject *bound = gd_array_at(self->arrays, at->next);
    PyArrayObject *array = (PyArrayObject *)param;
    return is_bound(&self->step.arrays[at->next], bound, array) ? 0
                                                                : refuse_other(path, array, bound);
}

static int refuse_fewer(const step_walk *at)
{
    if (at->next == at->self->step.array_count)
        return 0;
    return gd_refuse(PyExc_ValueError, "params", NULL,
                     "holds %zu arrays, not the %zu of the first step; " BELONGS, at->next,
                     at->self->step.array_count);
}

static int bound_leaf(void *context, PyObject *param, PyObject *grad, const gd_path *path)
{
    step_walk *at = context;
    (void)grad;
    if (check_bound(at, param, path) < 0)
        return -1;
    at->next++;
    return 0;
}

int gd_optimizer_refuse_others(optimizer *self, PyObject *params)
{
    step_walk at = {self, 0};
    return gd_walk(params, NULL, bound_leaf, &at) < 0 ? -1 : refuse_fewer(&at);
}

static int step_leaf(void *context, PyObject *param, PyObject *grad, const gd_path *path)
{
    step_walk *at = context;
    optimizer *self = at->self;
    gd_buffer g;
    if (check_bound(at, param, path) < 0)
        return -1;
    gd_array *a = &self->step.arrays[at->next];
    PyArrayObject *array = (PyArrayObject *)param;
    if (gd_step_grad(grad, array, path, &g, &self->numbers[at->next]) < 0)
        return -1;
    const char *bytes = g.data;
    if (gd_spans_meet(self->taken, self->taken_count, bytes, bytes + g.size * a->real_size))
        return gd_refuse(PyExc_ValueError, "grads", path,
                         "shares memory with a parameter or the optimizer's state, which the step "
                         "would overwrite while reading it; a gradient has memory of its own: pass "
                         "a copy");
    a->g = g.data;
    self->grads[at->next++] = Py_NewRef(grad); /* a schedule or a thread may empty the container */
    return 0;
}

static int raise_nonfinite(optimizer *self, PyObject *params)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &gd_module_def);
    PyObject *name = module != NULL ? gd_leaf_name(params, "grads", self->step.nonfinite) : NULL;
    if (name != NULL) {
        const gd_module_state *state = PyModule_GetState(module);
        PyErr_Format(state->nonfinite_error,
                     "%U holds a NaN or an infinity at step %lld; nothing was changed (lower lr, "
                     "clip the gradients, scale the inputs, or on_nonfinite='skip')",
                     name, (long long)(self->t + 1));
    }
    Py_XDECREF(name);
    return -1;
}

/* Everything is checked, gradients are in place: the step itself. What the loss told a plateau
 * holds only if it is taken. */
static int take_step(optimizer *self, PyObject *params, PyObject *loss)
{
    bool stepped;
    PyObject *rates;
    if (gd_rates_read(self, loss, &rates) < 0)
        return -1;
    self->step.t = self->t + 1;
    if (self->elements < RELEASE_GIL) {
        stepped = gd_optimizer_step(&self->step);
    } else {
        Py_BEGIN_ALLOW_THREADS
        stepped = gd_optimizer_step(&self->step);
        Py_END_ALLOW_THREADS
    }
    if (stepped) {
        self->t++;
        if (rates != NULL)
            Py_SETREF(self->rates, Py_NewRef(rates));
    }
    Py_XDECREF(rates);
    if (!stepped && self->on_nonfinite == RAISE_NONFINITE)
        return raise_nonfinite(self, params);
    return 0;
}

/* params and grads checked, bound at the first step; a failed first step leaves nothing bound. */
static int run_step(optimizer *self, PyObject *params, PyObject *grads, PyObject *loss)
{
    const bool first = self->arrays == NULL;
    PyObject *state_before = Py_XNewRef(self->state);
    step_walk at = {self, 0};
    int status = first ? gd_optimizer_bind(self, params) : 0;
    if (status == 0)
        status = gd_walk(params, grads, step_leaf, &at);
    if (status == 0)
        status = refuse_fewer(&at);
    if (status == 0)
        status = take_step(self, params, loss);
    while (at.next > 0)
        Py_DECREF(self->grads[--at.next]);
    if (status < 0 && first) {
        gd_optimizer_unbind(self);
        Py_XSETREF(self->state, Py_XNewRef(state_before));
    }
    Py_XDECREF(state_before);
    return status;
}

/* loss and grads from closure() -> (loss, grads), new references; -1 with an exception. */
static int call_closure(PyObject *closure, PyObject **loss, PyObject **grads)
{
    PyObject *pair = PyObject_CallNoArgs(closure);
    const bool sound = pair != NULL && PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2;
    if (sound) {
        *loss = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        *grads = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
    } else if (pair != NULL) {
        PyErr_Format(PyExc_TypeError, "closure() returned %.80s; a tuple (loss, grads) is wanted",
                     Py_TYPE(pair)->tp_name);
    }
    Py_XDECREF(pair);
    return sound ? 0 : -1;
}

/* The loss of the step that comes, where the rule reads it. */
static int read_loss(optimizer *self, PyObject *loss)
{
    const gd_rule *rule = &gd_rules[self->step.rule];
    if (rule->needs != GD_LOSS)
        return 0;
    if (loss != NULL && loss != Py_None)
        return gd_loss_read(loss, &self->step.loss);
    PyErr_Format(PyExc_TypeError,
                 "%s needs the loss: step(params, grads, loss=value), or closure=fn with fn() -> "
                 "(loss, grads)",
                 rule->class_name);
    return -1;
}

PyDoc_STRVAR(
    step_doc,
    "step($self, params, grads=None, *, loss=None, closure=None, trace=False)\n--\n\n"
    "Update the parameters in place by one step.\n\n"
    "Parameters\n----------\n"
    "params : ndarray, or tuple, list or dict of them, any depth\n"
    "    float32 or float64, native byte order, C- or Fortran-contiguous, writeable. The first\n"
    "    step binds the optimizer to them; later steps take the same arrays.\n"
    "grads : like params\n"
    "    A gradient of each parameter's dtype and shape; a number for a parameter of one element.\n"
    "loss : float, optional\n"
    "    The loss at params, for rules and rates (plateau) that read it; closure gives its own.\n"
    "closure : callable, optional\n"
    "    ``closure() -> (loss, grads)``, called where grads is not given.\n"
    "trace : bool, default False\n"
    "    Return a table of every intermediate quantity instead of None.\n\n"
    "Raises\n------\n"
    "TypeError, ValueError\n"
    "    Naming the array that cannot be used; parameters and state are unchanged.\n"
    "NonFiniteError\n"
    "    With ``on_nonfinite='raise'`` where a gradient holds a NaN or an infinity.\n");

static PyObject *optimizer_step(PyObject *object, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const char *const names[] = {"params", "grads", "loss", "closure", "trace", NULL};
    optimizer *self = (optimizer *)object;
    PyObject *arg[5], *grads = NULL, *loss = NULL;
    if (gd_parse("step", names, 2, 1, args, nargs, kwnames, arg) < 0)
        return NULL;
    const int trace = arg[4] != NULL ? PyObject_IsTrue(arg[4]) : 0;
    if (trace < 0 || gd_optimizer_refuse_busy(self) < 0)
        return NULL;
    if (self->step.groups == NULL || self->rates == NULL)
        return PyErr_Format(PyExc_RuntimeError, "the optimizer was not initialised: a subclass "
                                                "calls super().__init__() first");
    self->busy = true;
    int status = 0;
    if (arg[1] != NULL && arg[1] != Py_None) {
        grads = Py_NewRef(arg[1]);
        loss = Py_XNewRef(arg[2]);
    } else if (arg[3] != NULL && arg[3] != Py_None) {
        status = call_closure(arg[3], &loss, &grads);
    } else {
        PyErr_SetString(PyExc_TypeError,
                        "step() needs grads, like params in structure, or closure=fn with fn() -> "
                        "(loss, grads)");
        status = -1;
    }
    PyObject *result = NULL;
    if (status == 0 && !trace && read_loss(self, loss) == 0 &&
        run_step(self, arg[0], grads, loss) == 0)
        result = Py_NewRef(Py_None);
    self->busy = false;
    if (status == 0 && trace)
        result = PyObject_CallMethod(object, "_traced_step", "OOO", arg[0], grads,
                                     loss != NULL ? loss : Py_None);
    Py_XDECREF(grads);
    Py_XDECREF(loss);
    return result;
}

/* ---- State ----------------------------------------------------------------------------------- */

PyDoc_STRVAR(state_doc, "_state($self)\n--\n\nA list of the live state arrays, a tuple per "
                        "parameter, or None.");

static PyObject *optimizer_state(PyObject *object, PyObject *unused)
{
    const optimizer *self = (optimizer *)object;
    (void)unused;
    return self->state != NULL ? PyList_GetSlice(self->state, 0, PY_SSIZE_T_MAX)
                               : Py_NewRef(Py_None);
}

PyDoc_STRVAR(restore_doc, "_restore($self, t, state)\n--\n\nTake a step count and state arrays "
                          "(a list of tuples, or None) and unbind.");

/* A copy of a list of tuples of arrays (None: NULL), which nobody else can change; -1 with an
 * exception where it is none. */
static int read_state(PyObject *value, PyObject **state)
{
    *state = NULL;
    if (value == Py_None)
        return 0;
    PyObject *list = PyList_Check(value) ? PyList_GetSlice(value, 0, PY_SSIZE_T_MAX) : NULL;
    bool sound = list != NULL;
    for (Py_ssize_t i = 0; sound && i < PyList_GET_SIZE(list); i++) {
        PyObject *states = PyList_GET_ITEM(list, i);
        sound = PyTuple_Check(states) &&
                PyTuple_GET_SIZE(states) <= GD_MAX_STATES + GD_MAX_NUMBERS;
        for (Py_ssize_t k = 0; sound && k < PyTuple_GET_SIZE(states); k++)
            sound = PyArray_Check(PyTuple_GET_ITEM(states, k));
    }
    if (sound) {
        *state = list;
        return 0;
    }
    Py_XDECREF(list);
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "_restore: state is a list of tuples of arrays, or None");
    return -1;
}

static PyObject *optimizer_restore(PyObject *object, PyObject *args)
{
    const long long most_steps = 1LL << 53; /* beyond, t is not exact as a double */
    optimizer *self = (optimizer *)object;
    long long t;
    PyObject *value, *state;
    if (!PyArg_ParseTuple(args, "LO", &t, &value) || gd_optimizer_refuse_busy(self) < 0)
        return NULL;
    if (t < 0 || t > most_steps)
        return PyErr_Format(PyExc_ValueError,
                            "t is %lld; a number of steps, 0 to 2**53, is accepted", t);
    if (read_state(value, &state) < 0)
        return NULL;
    /* Released at the end: what runs then (a subclass's __del__) finds everything in place. */
    PyObject *arrays = Py_XNewRef(self->arrays), *state_before = self->state;
    gd_optimizer_unbind(self);
    self->t = t;
    self->step.measured = false;
    self->state = state;
    Py_XDECREF(arrays);
    Py_XDECREF(state_before);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(names_doc, "_state_names($self, group=0)\n--\n\nNames of the state arrays of the "
                        "group's variant of the rule.");

static PyObject *optimizer_state_names(PyObject *object, PyObject *args)
{
    const optimizer *self = (optimizer *)object;
    Py_ssize_t group = 0;
    gd_variant variant;
    if (!PyArg_ParseTuple(args, "|n", &group))
        return NULL;
    if (group < 0 || (size_t)group >= self->step.group_count)
        return PyErr_Format(PyExc_IndexError, "there is no group %zd", group);
    gd_rules[self->step.rule].variant(self->step.groups[group].hyper, &variant);
    PyObject *names = PyTuple_New((Py_ssize_t)variant.state_count);
    for (size_t k = 0; names != NULL && k < variant.state_count; k++) {
        PyObject *name = PyUnicode_FromString(variant.state[k].name);
        if (name == NULL)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, (Py_ssize_t)k, name);
    }
    return names;
}

PyDoc_STRVAR(rates_doc, "_rates($self)\n--\n\nThe learning rates of the last step: the "
                        "optimizer's, then each group's.");

static PyObject *optimizer_rates(PyObject *object, PyObject *unused)
{
    const optimizer *self = (optimizer *)object;
    PyObject *rates = PyTuple_New((Py_ssize_t)self->step.group_count);
    (void)unused;
    for (size_t i = 0; rates != NULL && i < self->step.group_count; i++) {
        PyObject *rate = PyFloat_FromDouble(self->step.groups[i].hyper[0]);
        if (rate == NULL)
            Py_CLEAR(rates);
        else
            PyTuple_SET_ITEM(rates, (Py_ssize_t)i, rate);
    }
    return rates;
}

PyDoc_STRVAR(schedules_doc, "_schedules($self)\n--\n\nWhat gives the learning rates, as "
                            "_configure took it, with the present states of plateaus.");

static PyObject *optimizer_schedules(PyObject *object, PyObject *unused)
{
    const optimizer *self = (optimizer *)object;
    (void)unused;
    return self->rates != NULL ? Py_NewRef(self->rates) : PyTuple_New(0);
}

static PyObject *get_t(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromLongLong(((optimizer *)object)->t);
}

static PyObject *get_grad_norm(PyObject *object, void *closure)
{
    (void)closure;
    if (!((optimizer *)object)->step.measured)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(((optimizer *)object)->step.grad_norm);
}

PyDoc_STRVAR(configure_doc,
             "_configure($self, rule, dialect, maximize, on_nonfinite, global_clip_norm, groups, "
             "rates)\n--\n\nTake the settings; on an error the old ones stay.");

static PyMethodDef optimizer_methods[] = {
    {"step", (PyCFunction)(void (*)(void))optimizer_step, METH_FASTCALL | METH_KEYWORDS, step_doc},
    {"_configure", gd_optimizer_configure, METH_VARARGS, configure_doc},
    {"_state", optimizer_state, METH_NOARGS, state_doc},
    {"_restore", optimizer_restore, METH_VARARGS, restore_doc},
    {"_rates", optimizer_rates, METH_NOARGS, rates_doc},
    {"_schedules", optimizer_schedules, METH_NOARGS, schedules_doc},
    {"_state_names", optimizer_state_names, METH_VARARGS, names_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef optimizer_getset[] = {
    {"t", get_t, NULL, "Number of steps done.", NULL},
    {"grad_norm", get_grad_norm, NULL,
     "Norm of all gradients at the last step, before clipping, where clipping, on_nonfinite "
     "or by_gradient needed it; else None.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot optimizer_slots[] = {
    {Py_tp_doc, "Base of the optimizers: settings, bound arrays and state, and the step."},
    {Py_tp_methods, optimizer_methods},
    {Py_tp_getset, optimizer_getset},
    {Py_tp_traverse, optimizer_traverse},
    {Py_tp_clear, optimizer_clear},
    {Py_tp_dealloc, optimizer_dealloc},
    {0, NULL},
};

PyType_Spec gd_optimizer_spec = {
    .name = "gdcore._core.Optimizer",
    .basicsize = sizeof(optimizer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = optimizer_slots,
};
