/* module_rates.c: what gives the learning rate of each step: a schedule, perhaps with momentum, a
 * loss told to a plateau, or the gradient's norm, which the engine alone knows. Refuses rates and
 * momenta outside their domain, and a step without the loss that its plateau needs. */
#include "module_optimizer.h"

/* What stands in `rates` for a group, told apart by the second item of a pair. */
static bool is_pair(PyObject *rate)
{
    return PyTuple_Check(rate) && PyTuple_GET_SIZE(rate) == 2;
}

static bool is_by_norm(PyObject *rate)
{
    return is_pair(rate) && PyTuple_GET_ITEM(rate, 1) == Py_None;
}

static bool is_plateau(PyObject *rate)
{
    return is_pair(rate) && PyTuple_Check(PyTuple_GET_ITEM(rate, 1));
}

static bool has_momentum(PyObject *rate)
{
    return is_pair(rate) && !is_by_norm(rate) && !is_plateau(rate);
}

static int read_attribute(PyObject *object, const char *name, double *value)
{
    PyObject *number = PyObject_GetAttrString(object, name);
    *value = number != NULL ? PyFloat_AsDouble(number) : -1;
    Py_XDECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

int gd_rates_by_norm(gd_group *groups, size_t count, PyObject *rates)
{
    for (size_t i = 0; i < count; i++) {
        PyObject *rate = PyTuple_GET_ITEM(rates, (Py_ssize_t)i);
        if (!is_by_norm(rate))
            continue;
        PyObject *settings = PyTuple_GET_ITEM(rate, 0);
        if (read_attribute(settings, "scale", &groups[i].norm_scale) < 0 ||
            read_attribute(settings, "max", &groups[i].norm_max) < 0)
            return -1;
    }
    return 0;
}

/* The value of a schedule after t steps; -1 with an exception where it lies outside the domain. */
static double ask(PyObject *schedule, int64_t steps, const char *name, gd_domain domain)
{
    PyObject *t = PyLong_FromLongLong(steps);
    PyObject *value = t != NULL ? PyObject_CallOneArg(schedule, t) : NULL;
    Py_XDECREF(t);
    const double number = value != NULL ? PyFloat_AsDouble(value) : -1;
    if (!PyErr_Occurred() && !gd_in_domain(domain, number))
        PyErr_Format(PyExc_ValueError, "%s is a schedule that gave %R at t = %lld; %s is accepted",
                     name, value, (long long)steps, gd_domain_text(domain));
    Py_XDECREF(value);
    return PyErr_Occurred() ? -1 : number;
}

/* Where momentum or betas[0] stands among the doubles of a group; NULL where the rule has none. */
static double *momentum_of(const gd_rule *rule, gd_group *group, const gd_hyper **hyper)
{
    size_t offset;
    *hyper = gd_find_hyper(rule, "momentum", &offset);
    if (*hyper == NULL)
        *hyper = gd_find_hyper(rule, "betas", &offset);
    return *hyper != NULL ? &group->hyper[offset] : NULL;
}

int gd_loss_read(PyObject *loss, double *value)
{
    PyObject *number = !PyFloat_Check(loss) && PyObject_HasAttrString(loss, "item")
                           ? PyObject_CallMethod(loss, "item", NULL)
                           : Py_NewRef(loss);
    *value = number != NULL ? PyFloat_AsDouble(number) : -1;
    Py_XDECREF(number);
    if (*value != -1.0 || !PyErr_Occurred())
        return 0;
    if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError))
        PyErr_Format(PyExc_TypeError,
                     "loss is %R; a number, or an array of one element, is accepted", loss);
    return -1;
}

/* The state of a plateau after the loss, new; it begins with the rate. */
static PyObject *tell(PyObject *plateau, PyObject *state, PyObject *loss, double *lr)
{
    if (loss == NULL || loss == Py_None)
        return PyErr_Format(PyExc_TypeError,
                            "step() needs loss=, the loss at params, because lr is %R", plateau);
    double value;
    if (gd_loss_read(loss, &value) < 0)
        return NULL;
    PyObject *told = PyObject_CallMethod(plateau, "told", "Od", state, value);
    if (told != NULL && (!PyTuple_Check(told) || PyTuple_GET_SIZE(told) == 0))
        PyErr_Format(PyExc_TypeError, "%R.told() returned %R; a state is wanted", plateau, told);
    else if (told != NULL)
        *lr = PyFloat_AsDouble(PyTuple_GET_ITEM(told, 0));
    if (PyErr_Occurred())
        Py_CLEAR(told);
    return told;
}

/* Tell the i-th group's plateau and enter what it is then into a copy of `rates`, made if none. */
static int tell_group(const optimizer *self, Py_ssize_t i, PyObject *loss, PyObject **rates)
{
    PyObject *pair = PyTuple_GET_ITEM(self->rates, i), *plateau = PyTuple_GET_ITEM(pair, 0);
    PyObject *state =
        tell(plateau, PyTuple_GET_ITEM(pair, 1), loss, &self->step.groups[i].hyper[0]);
    PyObject *now = state != NULL ? PyTuple_Pack(2, plateau, state) : NULL;
    Py_XDECREF(state);
    if (now != NULL && *rates == NULL) {
        *rates = PyTuple_New(PyTuple_GET_SIZE(self->rates));
        for (Py_ssize_t k = 0; *rates != NULL && k < PyTuple_GET_SIZE(self->rates); k++)
            PyTuple_SET_ITEM(*rates, k, Py_NewRef(PyTuple_GET_ITEM(self->rates, k)));
    }
    if (now == NULL || *rates == NULL) {
        Py_XDECREF(now);
        return -1;
    }
    Py_DECREF(PyTuple_GET_ITEM(*rates, i));
    PyTuple_SET_ITEM(*rates, i, now);
    return 0;
}

/* Ask the i-th group's schedule, or the group before it that has the same. */
static int ask_group(const optimizer *self, Py_ssize_t i)
{
    PyObject *rate = PyTuple_GET_ITEM(self->rates, i);
    gd_group *group = &self->step.groups[i], *first = self->step.groups;
    const gd_rule *rule = &gd_rules[self->step.rule];
    const gd_hyper *hyper = NULL;
    double *momentum = has_momentum(rate) ? momentum_of(rule, group, &hyper) : NULL;
    for (Py_ssize_t k = 0; PyTuple_GET_ITEM(self->rates, k) != rate; k++)
        first++;
    if (first < group) {
        group->hyper[0] = first->hyper[0];
        if (momentum != NULL)
            *momentum = *momentum_of(rule, first, &hyper);
        return 0;
    }
    PyObject *schedule = has_momentum(rate) ? PyTuple_GET_ITEM(rate, 0) : rate;
    group->hyper[0] = ask(schedule, self->t, "lr", GD_NON_NEGATIVE);
    if (momentum != NULL && !PyErr_Occurred())
        *momentum = ask(PyTuple_GET_ITEM(rate, 1), self->t, hyper->name, hyper->domain);
    return PyErr_Occurred() ? -1 : 0;
}

int gd_rates_read(const optimizer *self, PyObject *loss, PyObject **rates)
{
    int status = 0;
    *rates = NULL;
    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_GET_SIZE(self->rates); i++) {
        PyObject *rate = PyTuple_GET_ITEM(self->rates, i);
        if (is_plateau(rate))
            status = tell_group(self, i, loss, rates);
        else if (rate != Py_None && !is_by_norm(rate))
            status = ask_group(self, i);
    }
    if (status < 0)
        Py_CLEAR(*rates);
    return status;
}
