/* module_tables.c: the rows of ops.def as Python data, from which the package builds classes,
 * signatures, documentation and tests. */
#include "module.h"

static PyObject *defaults_of(const gd_hyper *hyper, int dialect)
{
    const double *value = hyper->defaults[dialect];
    if (value[0] != value[0])
        Py_RETURN_NONE;
    if (hyper->domain == GD_BOOLEAN)
        return PyBool_FromLong(value[0] != 0);
    if (hyper->count == 3)
        return Py_BuildValue("(ddd)", value[0], value[1], value[2]);
    return hyper->count == 2 ? Py_BuildValue("(dd)", value[0], value[1])
                             : PyFloat_FromDouble(value[0]);
}

static const char *const domains[] = {
    [GD_FINITE] = "finite",       [GD_NON_NEGATIVE] = "non-negative",
    [GD_POSITIVE] = "positive",   [GD_UNIT] = "unit",
    [GD_OPEN_UNIT] = "open unit", [GD_AT_LEAST_ONE] = "at least one",
    [GD_BOOLEAN] = "boolean",
};

static PyObject *hyper_row(const gd_hyper *hyper)
{
    return Py_BuildValue("{s:s,s:n,s:s,s:(NNN)}", "name", hyper->name, "count",
                         (Py_ssize_t)hyper->count, "domain", domains[hyper->domain], "defaults",
                         defaults_of(hyper, GD_TORCH), defaults_of(hyper, GD_KERAS),
                         defaults_of(hyper, GD_OPTAX));
}

static PyObject *rule_row(const gd_rule *rule)
{
    static const char *const decays[] = {"coupled", "decoupled", "own"};
    static const char *const needs[] = {"nothing", "loss", "array sums", "all sums"};
    PyObject *hypers = PyList_New(0);
    for (size_t i = 0; hypers != NULL && i < rule->hyper_count; i++) {
        PyObject *row = hyper_row(&rule->hyper[i]);
        if (row == NULL || PyList_Append(hypers, row) < 0)
            Py_CLEAR(hypers);
        Py_XDECREF(row);
    }
    return Py_BuildValue("{s:s,s:s,s:s,s:s,s:N,s:s,s:s}", "name", rule->name, "class",
                         rule->class_name, "decay", decays[rule->decay], "needs",
                         needs[rule->needs], "hypers", hypers, "paper", rule->paper, "help",
                         rule->help);
}

/* params[name] = default (a bool where the domain is), domains_of[name] = domain; -1 on failure */
static int add_param(PyObject *params, PyObject *domains_of, const gd_parameter_default *param)
{
    PyObject *value = param->domain == GD_BOOLEAN ? PyBool_FromLong(param->value != 0)
                                                  : PyFloat_FromDouble(param->value);
    PyObject *domain = PyUnicode_FromString(domains[param->domain]);
    const int status = value == NULL || domain == NULL || domains_of == NULL ||
                               PyDict_SetItemString(params, param->name, value) < 0 ||
                               PyDict_SetItemString(domains_of, param->name, domain) < 0
                           ? -1
                           : 0;
    Py_XDECREF(value);
    Py_XDECREF(domain);
    return status;
}

static PyObject *function_row(const gd_function_row *row)
{
    static const char *const kinds[] = {"elementwise", "binary", "pointwise",
                                        "rowwise",     "sparse", "paired"};
    PyObject *params = PyDict_New(), *domains_of = PyDict_New();
    for (size_t i = 0; params != NULL && row->param[i].name != NULL; i++)
        if (add_param(params, domains_of, &row->param[i]) < 0)
            Py_CLEAR(params);
    return Py_BuildValue("{s:s,s:s,s:s,s:N,s:N,s:N,s:s,s:s,s:s}", "name", row->name, "aliases",
                         row->aliases, "kind", kinds[row->kind], "reads_z",
                         PyBool_FromLong(row->reads_z), "params", params, "domains", domains_of,
                         "paper", row->paper, "help", row->help, "example", row->example);
}

enum { MANY = -1 }; /* operands */

static PyObject *instruction_row(int op)
{
    static const struct {
        const char *name, *kind, *params, *help;
        int operands;
    } rows[GD_OPS] = {
#define KIND_LEAF "leaf"
#define KIND_VIEW "view"
#define KIND_MAP "map"
#define KIND_FUNCTION "function"
#define KIND_MOVE "move"
#define KIND_REDUCE "reduce"
#define KIND_PRODUCT "product"
#define INSTRUCTION(name, kind, operands, params, help)                                          \
    {#name, KIND_##kind, params, help, operands},
#include "ops.def"
    };
    return Py_BuildValue("{s:s,s:s,s:i,s:s,s:s}", "name", rows[op].name, "kind", rows[op].kind,
                         "operands", rows[op].operands, "params", rows[op].params, "help",
                         rows[op].help);
}

/* Steals row; -1 where it is NULL or cannot be added. */
static int append(PyObject *list, PyObject *row)
{
    const int status = row != NULL ? PyList_Append(list, row) : -1;
    Py_XDECREF(row);
    return status;
}

static int add_list(PyObject *module, const char *name, PyObject *list, int status)
{
    if (status == 0)
        status = PyModule_AddObjectRef(module, name, list);
    Py_XDECREF(list);
    return status;
}

int gd_add_tables(PyObject *module)
{
    PyObject *list = PyList_New(0);
    int status = list != NULL ? 0 : -1;
    for (int i = 0; status == 0 && i < GD_OPTIMIZERS; i++)
        status = append(list, rule_row(&gd_rules[i]));
    if (add_list(module, "OPTIMIZERS", list, status) < 0)
        return -1;
    list = PyList_New(0);
    status = list != NULL ? 0 : -1;
    for (int i = 0; status == 0 && i < GD_ACTIVATIONS; i++)
        status = append(list, function_row(&gd_activation_rows[i]));
    if (add_list(module, "ACTIVATIONS", list, status) < 0)
        return -1;
    list = PyList_New(0);
    status = list != NULL ? 0 : -1;
    for (int i = 0; status == 0 && i < GD_LOSSES; i++)
        status = append(list, function_row(&gd_loss_rows[i]));
    if (add_list(module, "LOSSES", list, status) < 0)
        return -1;
    list = PyList_New(0);
    status = list != NULL ? 0 : -1;
    for (int i = 0; status == 0 && i < GD_OPS; i++)
        status = append(list, instruction_row(i));
    return add_list(module, "INSTRUCTIONS", list, status);
}
