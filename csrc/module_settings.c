/* module_settings.c: an optimizer's settings, from Python's tuples into the engine's structs.
 * Refuses values outside their domain and settings that the state so far does not fit. */
#include <string.h>

#include "module_optimizer.h"

int gd_optimizer_refuse_busy(const optimizer *self)
{
    if (!self->busy)
        return 0;
    PyErr_SetString(PyExc_RuntimeError,
                    "this optimizer is in the middle of a step (another thread, or its own "
                    "schedule or closure); one optimizer serves one caller at a time");
    return -1;
}

static int refuse_value(const gd_hyper *hyper, double value)
{
    PyObject *number = PyFloat_FromDouble(value);
    if (number != NULL)
        PyErr_Format(PyExc_ValueError, "%s is %R; %s is accepted", hyper->name, number,
                     gd_domain_text(hyper->domain));
    Py_XDECREF(number);
    return -1;
}

/* One group from (hyper-parameters in the row's order, clip_value, clip_norm, clip_adaptive, l1,
 * constraint as (kind, low, high), frozen). */
static int read_group(const gd_rule *rule, gd_dialect dialect, PyObject *settings,
                      gd_group *group)
{
    PyObject *hypers;
    int frozen, constraint;
    gd_variant variant;
    memset(group, 0, sizeof *group);
    if (!PyTuple_Check(settings)) {
        PyErr_Format(PyExc_TypeError, "_configure: a group is a tuple, not %R", settings);
        return -1;
    }
    if (!PyArg_ParseTuple(settings, "O!dddd(idd)p", &PyTuple_Type, &hypers, &group->clip_value,
                          &group->clip_norm, &group->clip_adaptive, &group->l1, &constraint,
                          &group->constraint.low, &group->constraint.high, &frozen))
        return -1;
    if (constraint < GD_FREE || constraint >= GD_CONSTRAINTS) {
        PyErr_Format(PyExc_ValueError, "_configure: there is no constraint %d", constraint);
        return -1;
    }
    group->constraint.kind = (gd_constraint_kind)constraint;
    Py_ssize_t at = 0;
    for (size_t i = 0; i < rule->hyper_count; i++)
        for (size_t k = 0; k < rule->hyper[i].count; k++, at++) {
            PyObject *item = at < PyTuple_GET_SIZE(hypers) ? PyTuple_GET_ITEM(hypers, at) : Py_None;
            group->hyper[at] = PyFloat_AsDouble(item);
            if (group->hyper[at] == -1.0 && PyErr_Occurred())
                return -1;
            if (!gd_in_domain(rule->hyper[i].domain, group->hyper[at]))
                return refuse_value(&rule->hyper[i], group->hyper[at]);
        }
    const char *message = rule->check(group->hyper, dialect);
    if (message != NULL) {
        PyErr_Format(PyExc_ValueError, "%s: %s", rule->class_name, message);
        return -1;
    }
    size_t decay;
    const bool decays = gd_find_hyper(rule, "weight_decay", &decay) != NULL;
    group->weight_decay = decays ? group->hyper[decay] : 0;
    group->frozen = frozen != 0;
    rule->variant(group->hyper, &variant);
    group->variant = variant.index;
    return 0;
}

/* While there is state, a setting that asks for other state arrays cannot be taken. */
static int same_states(const optimizer *self, int rule, const gd_group *groups, size_t count)
{
    if (self->state == NULL)
        return 0;
    bool same = rule == (int)self->step.rule && count == self->step.group_count;
    for (size_t i = 0; same && i < count; i++)
        same = groups[i].variant == self->step.groups[i].variant;
    if (!same)
        PyErr_SetString(PyExc_ValueError,
                        "this setting needs other state arrays than the steps so far have filled; "
                        "call reset() first, or make a new optimizer");
    return same ? 0 : -1;
}

PyObject *gd_optimizer_configure(PyObject *object, PyObject *args)
{
    optimizer *self = (optimizer *)object;
    PyObject *settings, *rates;
    int rule, dialect, maximize, on_nonfinite;
    double global_clip_norm;
    if (!PyArg_ParseTuple(args, "iipidO!O!", &rule, &dialect, &maximize, &on_nonfinite,
                          &global_clip_norm, &PyTuple_Type, &settings, &PyTuple_Type, &rates))
        return NULL;
    if (rule < 0 || rule >= GD_OPTIMIZERS || dialect < 0 || dialect >= GD_DIALECTS ||
        on_nonfinite < IGNORE_NONFINITE || on_nonfinite > SKIP_NONFINITE ||
        PyTuple_GET_SIZE(settings) < 1 || PyTuple_GET_SIZE(rates) != PyTuple_GET_SIZE(settings))
        return PyErr_Format(PyExc_ValueError, "_configure: no such rule, dialect or group");
    const size_t count = (size_t)PyTuple_GET_SIZE(settings);
    gd_group *groups = gd_alloc(count, sizeof *groups);
    if (groups == NULL)
        return PyErr_NoMemory();
    int status = 0;
    for (size_t i = 0; status == 0 && i < count; i++)
        status = read_group(&gd_rules[rule], (gd_dialect)dialect,
                            PyTuple_GET_ITEM(settings, (Py_ssize_t)i), &groups[i]);
    if (status == 0)
        status = gd_rates_by_norm(groups, count, rates);
    /* Reading numbers may run user code or let a thread start a step: busy is asked after it. */
    if (status < 0 || gd_optimizer_refuse_busy(self) < 0 ||
        same_states(self, rule, groups, count) < 0 ||
        gd_optimizer_make_room(self, groups) < 0) {
        gd_free(groups);
        return NULL;
    }
    gd_free(self->step.groups);
    self->step.groups = groups;
    self->step.group_count = count;
    self->step.rule = (gd_optimizer_id)rule;
    self->step.dialect = (gd_dialect)dialect;
    self->step.maximize = maximize != 0;
    self->step.global_clip_norm = global_clip_norm;
    self->on_nonfinite = (nonfinite_rule)on_nonfinite;
    self->step.refuse_nonfinite = on_nonfinite != IGNORE_NONFINITE;
    Py_XSETREF(self->rates, Py_NewRef(rates));
    Py_RETURN_NONE;
}
