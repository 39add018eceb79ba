/* module.c: the module gdcore._core: its creation, the choice of level, threads, and the probes
 * that tests use. No array is touched here but the probes' own. */
#define GD_IMPORT_ARRAY
#include <stdatomic.h>
#include <stdlib.h>

#include "module_program.h"
#include "threads.h"

/* ---- Level and threads ----------------------------------------------------------------------- */

PyDoc_STRVAR(level_doc, "level()\n--\n\nName of the level of kernels in force.");

static PyObject *level(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(gd_level_get()->name);
}

PyDoc_STRVAR(levels_doc,
             "levels()\n--\n\nNames of the levels that this processor runs, best last.");

static PyObject *levels(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && gd_level_available(i) != NULL; i++) {
        PyObject *name = PyUnicode_FromString(gd_level_available(i));
        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

PyDoc_STRVAR(get_threads_doc, "get_num_threads()\n--\n\nNumber of threads that gdcore may use.");

static PyObject *get_threads(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSize_t(gd_threads_get());
}

PyDoc_STRVAR(set_threads_doc, "set_num_threads(n)\n--\n\nUse at most n threads.");

static PyObject *set_threads(PyObject *module, PyObject *value)
{
    (void)module;
    if (!PyIndex_Check(value) || PyBool_Check(value))
        return PyErr_Format(PyExc_TypeError, "n is %R; a whole number of threads, 1 to %d, is "
                                             "accepted",
                            value, GD_MAX_THREADS);
    const Py_ssize_t n = PyNumber_AsSsize_t(value, NULL); /* NULL: cut to its range */
    if (n == -1 && PyErr_Occurred())
        return NULL;
    if (n < 1 || n > GD_MAX_THREADS)
        return PyErr_Format(PyExc_ValueError, "n is %R; 1 to %d threads are accepted", value,
                            GD_MAX_THREADS);
    gd_threads_set((size_t)n);
    Py_RETURN_NONE;
}

/* ---- Probes for tests ------------------------------------------------------------------------ */

PyDoc_STRVAR(math_doc, "math(name, x)\n--\n\nA function of math.inc on every element of x, as the "
                       "level in force computes it.");

static PyObject *math(PyObject *module, PyObject *args)
{
    static const char *const names[GD_MATHS] = {"exp",     "log",      "log1p", "expm1", "tanh",
                                                "sigmoid", "softplus", "sin",   "cos"};
    const char *name;
    PyObject *value;
    (void)module;
    if (!PyArg_ParseTuple(args, "sO", &name, &value))
        return NULL;
    int i = 0;
    while (i < GD_MATHS && strcmp(name, names[i]) != 0)
        i++;
    if (i == GD_MATHS)
        return PyErr_Format(PyExc_ValueError, "math.inc has no function '%s'", name);
    PyArrayObject *x = gd_array_input(value, "x", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    if (x == NULL)
        return NULL;
    PyObject *y = PyArray_SimpleNew(PyArray_NDIM(x), PyArray_DIMS(x), PyArray_TYPE(x));
    if (y != NULL)
        gd_kernels_for((size_t)PyArray_ITEMSIZE(x))
            ->math[i]((size_t)PyArray_SIZE(x), PyArray_DATA(x),
                      PyArray_DATA((PyArrayObject *)y));
    Py_DECREF(x);
    return y;
}

typedef struct {
    npy_int64 *runs;
    atomic_int threads;
    atomic_uint_fast64_t generation;
} probe;

static atomic_uint_fast64_t probe_generation;

/* Count the run, and the thread where it comes for the first time. */
static void probe_task(void *context, size_t index)
{
    static _Thread_local uint_fast64_t seen;
    probe *p = context;
    p->runs[index]++;
    if (seen != p->generation) {
        seen = p->generation;
        atomic_fetch_add(&p->threads, 1);
    }
}

PyDoc_STRVAR(pool_probe_doc, "pool_probe(tasks, threads)\n--\n\n(how often each task ran, number "
                             "of threads that took part).");

static PyObject *pool_probe(PyObject *module, PyObject *args)
{
    Py_ssize_t tasks, threads;
    (void)module;
    if (!PyArg_ParseTuple(args, "nn", &tasks, &threads))
        return NULL;
    if (tasks < 0 || threads < 1)
        return PyErr_Format(PyExc_ValueError, "pool_probe: tasks >= 0 and threads >= 1");
    const npy_intp shape[] = {tasks};
    PyArrayObject *runs = (PyArrayObject *)PyArray_ZEROS(1, shape, NPY_INT64, 0);
    if (runs == NULL)
        return NULL;
    probe p = {.runs = PyArray_DATA(runs)};
    p.generation = atomic_fetch_add(&probe_generation, 1) + 1;
    Py_BEGIN_ALLOW_THREADS
    gd_parallel((size_t)tasks, (size_t)threads, probe_task, &p);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("Ni", runs, atomic_load(&p.threads));
}

/* ---- The module ------------------------------------------------------------------------------ */

static int add_optimizer(PyObject *module, gd_module_state *state)
{
    state->optimizer_type = PyType_FromModuleAndSpec(module, &gd_optimizer_spec, NULL);
    return state->optimizer_type != NULL
               ? PyModule_AddObjectRef(module, "Optimizer", state->optimizer_type)
               : -1;
}

static int add_programs(PyObject *module, gd_module_state *state)
{
    state->program_type = PyType_FromModuleAndSpec(module, &gd_program_spec, NULL);
    state->call_type = PyType_FromModuleAndSpec(module, &gd_call_spec, NULL);
    return state->program_type == NULL || state->call_type == NULL ||
                   PyModule_AddObjectRef(module, "Program", state->program_type) < 0 ||
                   PyModule_AddObjectRef(module, "Call", state->call_type) < 0
               ? -1
               : 0;
}

static int add_nonfinite_error(PyObject *module, gd_module_state *state)
{
    state->nonfinite_error = PyErr_NewExceptionWithDoc(
        "gdcore.NonFiniteError", "A NaN or an infinity where training cannot go on.",
        PyExc_FloatingPointError, NULL);
    return state->nonfinite_error != NULL
               ? PyModule_AddObjectRef(module, "NonFiniteError", state->nonfinite_error)
               : -1;
}

static int choose_level(void)
{
    const char *forced = getenv("GDCORE_ISA");
    if (gd_dispatch(forced))
        return 0;
    PyErr_Format(PyExc_ImportError,
                 "GDCORE_ISA is '%s'; base, avx2 and avx512 are known, where the processor has "
                 "them (unset it to let gdcore choose)",
                 forced);
    return -1;
}

/* Once in a process, however often the module is created: there is room for 32 functions. */
static int add_exit_function(void)
{
    static bool added = false;
    if (!added && Py_AtExit(gd_threads_shutdown) < 0) {
        PyErr_SetString(PyExc_ImportError, "no room for another exit function");
        return -1;
    }
    added = true;
    return 0;
}

static int module_exec(PyObject *module)
{
    gd_module_state *state = PyModule_GetState(module);
    if (PyArray_ImportNumPyAPI() < 0 || PyUFunc_ImportUFuncAPI() < 0 || choose_level() < 0)
        return -1;
    gd_set_allocator(PyMem_RawMalloc, PyMem_RawFree);
    gd_threads_init();
    return add_exit_function() < 0 || add_optimizer(module, state) < 0 ||
                   add_programs(module, state) < 0 || add_nonfinite_error(module, state) < 0 ||
                   PyModule_AddFunctions(module, gd_function_methods) < 0 ||
                   PyModule_AddFunctions(module, gd_linear_methods) < 0 ||
                   PyModule_AddFunctions(module, gd_constraint_methods) < 0 ||
                   PyModule_AddFunctions(module, gd_data_methods) < 0 ||
                   PyModule_AddFunctions(module, gd_program_methods) < 0 ||
                   PyModule_AddFunctions(module, gd_descent_methods) < 0 ||
                   gd_add_tables(module) < 0 || gd_add_ufuncs(module) < 0
               ? -1
               : 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    gd_module_state *state = PyModule_GetState(module);
    Py_VISIT(state->optimizer_type);
    Py_VISIT(state->program_type);
    Py_VISIT(state->call_type);
    Py_VISIT(state->nonfinite_error);
    return 0;
}

static int module_clear(PyObject *module)
{
    gd_module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->optimizer_type);
    Py_CLEAR(state->program_type);
    Py_CLEAR(state->call_type);
    Py_CLEAR(state->nonfinite_error);
    return 0;
}

static PyMethodDef module_methods[] = {
    {"level", level, METH_NOARGS, level_doc},
    {"levels", levels, METH_NOARGS, levels_doc},
    {"get_num_threads", get_threads, METH_NOARGS, get_threads_doc},
    {"set_num_threads", set_threads, METH_O, set_threads_doc},
    {"math", math, METH_VARARGS, math_doc},
    {"pool_probe", pool_probe, METH_VARARGS, pool_probe_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    /* NumPy itself supports one interpreter only. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef gd_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gdcore._core",
    .m_doc = "The C core of gdcore: kernels, optimizer steps, dense layers, losses.",
    .m_size = sizeof(gd_module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&gd_module_def);
}
