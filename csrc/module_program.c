/* module_program.c: the type gdcore._core.Program: built from the instructions of a tape, run on
 * arrays, listed. Python's side (gdcore/autodiff/) knows what the instructions mean; here they are
 * parsed, checked and handed over. */
#include "module_program.h"

#include <math.h>

#include "threads.h"

/* ---- Parsing a tape -------------------------------------------------------------------------- */

/* A tuple of whole numbers >= 0 into a new array of the pool; -1 with an exception. */
static int read_sizes(PyObject *tuple, const char *what, gd_pool *pool, size_t **sizes,
                      size_t *count)
{
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "%s of an instruction is %R; a tuple is wanted", what, tuple);
        return -1;
    }
    *count = (size_t)PyTuple_GET_SIZE(tuple);
    *sizes = gd_pool_take(pool, *count, sizeof **sizes);
    if (*sizes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < *count; i++) {
        const Py_ssize_t n = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i));
        if (n < 0) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "%s of an instruction is %R; numbers >= 0 are "
                                               "wanted",
                             what, tuple);
            return -1;
        }
        (*sizes)[i] = (size_t)n;
    }
    return 0;
}

static int read_params(PyObject *tuple, gd_pool *pool, double **params, size_t *count)
{
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "params of an instruction are %R; a tuple is wanted", tuple);
        return -1;
    }
    *count = (size_t)PyTuple_GET_SIZE(tuple);
    *params = gd_pool_take(pool, *count, sizeof **params);
    if (*params == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < *count; i++) {
        (*params)[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i));
        if ((*params)[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

/* (op, real size, shape, operands, params) */
static int read_instruction(PyObject *item, gd_pool *pool, gd_instruction *list, size_t i)
{
    gd_instruction *x = &list[i];
    size_t *shape, *operands;
    double *params;
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 5) {
        PyErr_Format(PyExc_TypeError, "instruction %zu is %R; a tuple of five is wanted", i, item);
        return -1;
    }
    const long op = PyLong_AsLong(PyTuple_GET_ITEM(item, 0));
    const Py_ssize_t real = PyLong_AsSsize_t(PyTuple_GET_ITEM(item, 1));
    if (PyErr_Occurred() ||
        read_sizes(PyTuple_GET_ITEM(item, 2), "shape", pool, &shape, &x->ndim) < 0 ||
        read_sizes(PyTuple_GET_ITEM(item, 3), "operands", pool, &operands, &x->operand_count) < 0 ||
        read_params(PyTuple_GET_ITEM(item, 4), pool, &params, &x->param_count) < 0)
        return -1;
    x->op = op >= 0 && op < GD_OPS ? (gd_op)op : GD_OPS;
    x->real_size = (size_t)real;
    x->operand = operands;
    x->param = params;
    for (size_t k = 0; k < x->ndim && k < GD_MAX_AXES; k++)
        x->shape[k] = shape[k];
    const char *wrong = gd_instruction_check(list, i);
    if (wrong == NULL)
        return 0;
    PyErr_Format(PyExc_ValueError, "instruction %zu, %R: %s", i, item, wrong);
    return -1;
}

static gd_instruction *read_list(PyObject *list, gd_pool *pool, size_t *count)
{
    *count = (size_t)PyList_GET_SIZE(list);
    gd_instruction *instructions = gd_pool_take(pool, *count, sizeof *instructions);
    if (instructions == NULL)
        return (gd_instruction *)(void *)PyErr_NoMemory();
    for (size_t i = 0; i < *count; i++) {
        if ((size_t)PyList_GET_SIZE(list) != *count) {
            PyErr_SetString(PyExc_ValueError, "the list changed while it was read");
            return NULL;
        }
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, (Py_ssize_t)i)); /* an __index__ may */
        const int status = read_instruction(item, pool, instructions, i);
        Py_DECREF(item);
        if (status < 0)
            return NULL;
    }
    return instructions;
}

/* Numbers of instructions, none of them indices. */
static int read_outputs(PyObject *outputs, gd_pool *pool, const gd_instruction *list, size_t count,
                        size_t **numbers, size_t *number_count)
{
    PyObject *tuple = PySequence_Tuple(outputs);
    if (tuple == NULL)
        return -1;
    int status = read_sizes(tuple, "outputs", pool, numbers, number_count);
    for (size_t i = 0; status == 0 && i < *number_count; i++)
        if ((*numbers)[i] >= count || list[(*numbers)[i]].op == GD_OP_indices) {
            PyErr_Format(PyExc_ValueError, "output %zu is no result of the %zu instructions",
                         (*numbers)[i], count);
            status = -1;
        }
    Py_DECREF(tuple);
    return status;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int describe_outputs(program_object *self, const gd_instruction *list,
                            const size_t *outputs, size_t count)
{
    self->output_count = count;
    self->output_type = gd_alloc(count, sizeof *self->output_type);
    self->output_ndim = gd_alloc(count, sizeof *self->output_ndim);
    self->output_shape = gd_alloc(count, GD_MAX_AXES * sizeof *self->output_shape);
    if (self->output_type == NULL || self->output_ndim == NULL || self->output_shape == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const gd_instruction *x = &list[outputs[i]];
        self->output_type[i] = x->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
        self->output_ndim[i] = (int)x->ndim;
        for (size_t k = 0; k < x->ndim; k++)
            self->output_shape[i * GD_MAX_AXES + k] = (npy_intp)x->shape[k];
    }
    return 0;
}

/* The program of a list of instructions; -1 with an exception. */
static int build(program_object *self, PyObject *list, PyObject *outputs)
{
    gd_pool pool = {NULL};
    size_t count, output_count, *numbers;
    int status = -1;
    gd_instruction *instructions = read_list(list, &pool, &count);
    if (instructions == NULL ||
        read_outputs(outputs, &pool, instructions, count, &numbers, &output_count) < 0 ||
        describe_outputs(self, instructions, numbers, output_count) < 0)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    self->program = gd_program_build(instructions, count, numbers, output_count);
    Py_END_ALLOW_THREADS
    if (self->program == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < gd_program_input_count(self->program); i++) {
        const size_t slot = gd_program_input_at(self->program, i)->slot;
        self->slots = slot >= self->slots ? slot + 1 : self->slots;
    }
    status = 0;
done:
    gd_pool_free(&pool);
    return status;
}

static PyObject *program_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *list, *outputs;
    if (keywords != NULL && PyDict_Size(keywords) > 0)
        return PyErr_Format(PyExc_TypeError, "Program() takes no keywords");
    if (!PyArg_ParseTuple(args, "O!O:Program", &PyList_Type, &list, &outputs))
        return NULL;
    program_object *self = (program_object *)type->tp_alloc(type, 0);
    if (self != NULL && build(self, list, outputs) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void program_dealloc(PyObject *object)
{
    program_object *self = (program_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    gd_run_close(self->run);
    gd_program_free(self->program);
    gd_free(self->output_type);
    gd_free(self->output_ndim);
    gd_free(self->output_shape);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- Runs ------------------------------------------------------------------------------------ */

gd_run *gd_program_run_take(program_object *self)
{
    const bool kept = !atomic_flag_test_and_set(&self->busy);
    const size_t threads = gd_threads_get();
    if (kept && self->run != NULL && self->threads == threads)
        return self->run;
    gd_run *run = gd_run_open(self->program, threads);
    if (run == NULL) {
        if (kept)
            atomic_flag_clear(&self->busy);
        return (gd_run *)(void *)PyErr_NoMemory();
    }
    if (kept) {
        gd_run_close(self->run);
        self->run = run;
        self->threads = threads;
    }
    return run;
}

void gd_program_run_give(program_object *self, gd_run *run)
{
    if (run == self->run)
        atomic_flag_clear(&self->busy);
    else
        gd_run_close(run);
}

int gd_program_raise(gd_run_status status)
{
    if (status == GD_RUN_NO_MEMORY)
        PyErr_NoMemory();
    if (status == GD_RUN_BAD_INDEX)
        PyErr_SetString(PyExc_IndexError,
                        "indices, or class numbers of y_true, lie outside their axis");
    return status == GD_RUN_DONE ? 0 : -1;
}

PyArrayObject *gd_program_output(const program_object *self, size_t i)
{
    return (PyArrayObject *)PyArray_SimpleNew(self->output_ndim[i],
                                              self->output_shape + i * GD_MAX_AXES,
                                              self->output_type[i]);
}

/* A list of new arrays for the outputs, and their addresses. */
static PyObject *make_outputs(const program_object *self, void **data)
{
    PyObject *outputs = PyList_New((Py_ssize_t)self->output_count);
    for (size_t i = 0; outputs != NULL && i < self->output_count; i++) {
        PyArrayObject *array = gd_program_output(self, i);
        if (array == NULL) {
            Py_CLEAR(outputs);
            break;
        }
        PyList_SET_ITEM(outputs, (Py_ssize_t)i, (PyObject *)array);
        data[i] = PyArray_DATA(array);
    }
    return outputs;
}

PyDoc_STRVAR(run_doc, "run($self, arrays, /)\n--\n\nThe outputs, a list of new arrays, from the "
                      "arrays of the inputs by slot.");

static PyObject *program_run(PyObject *object, PyObject *arrays)
{
    program_object *self = (program_object *)object;
    gd_inputs inputs = {.count = 0, .memory = NULL, .kept = NULL};
    gd_run *run = NULL;
    PyObject *outputs = NULL;
    PyObject *list = PySequence_Tuple(arrays);
    void **data = gd_alloc(self->output_count, sizeof *data);
    if (data == NULL)
        PyErr_NoMemory();
    if (list == NULL || data == NULL ||
        gd_inputs_take(self, &PyTuple_GET_ITEM(list, 0), NULL,
                       (size_t)PyTuple_GET_SIZE(list), &inputs) < 0)
        goto done;
    outputs = make_outputs(self, data);
    run = outputs != NULL ? gd_program_run_take(self) : NULL;
    if (run == NULL) {
        Py_CLEAR(outputs);
        goto done;
    }
    gd_run_status status;
    Py_BEGIN_ALLOW_THREADS
    status = gd_run_once(run, inputs.data, data);
    Py_END_ALLOW_THREADS
    gd_program_run_give(self, run);
    if (gd_program_raise(status) < 0)
        Py_CLEAR(outputs);
done:
    gd_inputs_release(&inputs);
    gd_free(data);
    Py_XDECREF(list);
    return outputs;
}

/* ---- Listing --------------------------------------------------------------------------------- */

static PyObject *tuple_of_sizes(const size_t *sizes, size_t count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *number = PyLong_FromSize_t(sizes[i]);
        if (number == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, number);
    }
    return tuple;
}

static PyObject *tuple_of_reals(const double *reals, size_t count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *number = PyFloat_FromDouble(reals[i]);
        if (number == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, number);
    }
    return tuple;
}

PyDoc_STRVAR(listing_doc,
             "listing($self)\n--\n\nThe nodes in order: (number, name, step or None, real size, "
             "shape, operands, params, bytes of memory).");

static PyObject *program_listing(PyObject *object, PyObject *unused)
{
    const program_object *self = (program_object *)object;
    gd_program_line line;
    (void)unused;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && gd_program_list(self->program, i, &line);
         i = line.node + 1) {
        PyObject *step = line.step != SIZE_MAX ? PyLong_FromSize_t(line.step) : Py_NewRef(Py_None);
        PyObject *row = Py_BuildValue(
            "nsNnNNNn", (Py_ssize_t)line.node, line.name, step, (Py_ssize_t)line.real_size,
            tuple_of_sizes(line.shape, line.ndim),
            tuple_of_sizes(line.operand, line.operand_count),
            tuple_of_reals(line.param, line.param_count), (Py_ssize_t)line.bytes);
        if (row == NULL || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

PyDoc_STRVAR(outputs_doc, "outputs($self)\n--\n\nThe number of each output in the listing.");

static PyObject *program_outputs(PyObject *object, PyObject *unused)
{
    const program_object *self = (program_object *)object;
    PyObject *tuple = PyTuple_New((Py_ssize_t)self->output_count);
    (void)unused;
    for (size_t i = 0; tuple != NULL && i < self->output_count; i++) {
        PyObject *number = PyLong_FromSize_t(gd_program_output_at(self->program, i));
        if (number == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, number);
    }
    return tuple;
}

PyDoc_STRVAR(room_doc, "room($self)\n--\n\nBytes that a run works in, and number of steps.");

static PyObject *program_room(PyObject *object, PyObject *unused)
{
    const program_object *self = (program_object *)object;
    (void)unused;
    return Py_BuildValue("nn", (Py_ssize_t)gd_program_room(self->program),
                         (Py_ssize_t)gd_program_steps(self->program));
}

static PyMethodDef program_methods[] = {
    {"run", program_run, METH_O, run_doc},
    {"listing", program_listing, METH_NOARGS, listing_doc},
    {"outputs", program_outputs, METH_NOARGS, outputs_doc},
    {"room", program_room, METH_NOARGS, room_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot program_slots[] = {
    {Py_tp_doc, "Program(instructions, outputs, /)\n--\n\nInstructions of a tape, built to be run "
                "many times."},
    {Py_tp_new, program_new},
    {Py_tp_dealloc, program_dealloc},
    {Py_tp_methods, program_methods},
    {0, NULL},
};

PyType_Spec gd_program_spec = {
    .name = "gdcore._core.Program",
    .basicsize = sizeof(program_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = program_slots,
};

/* ---- One instruction, for tests -------------------------------------------------------------- */

static const struct {
    const char *name;
    int operands;
} instructions[GD_OPS] = {
#define MANY 0
#define INSTRUCTION(name, kind, operands, ...) {#name, operands},
#include "ops.def"
};

/* The elementwise instruction of this name and number of operands; GD_OPS, with an exception. */
static gd_op find_elementwise(const char *name, Py_ssize_t operands)
{
    int op = 0;
    while (op < GD_OPS && strcmp(instructions[op].name, name) != 0)
        op++;
    if (op < GD_OPS && gd_kernels_for(4)->map[op] != NULL && instructions[op].operands == operands)
        return (gd_op)op;
    PyErr_Format(PyExc_ValueError, "no elementwise instruction %s of %zd operands", name, operands);
    return GD_OPS;
}

PyDoc_STRVAR(elementwise_doc,
             "elementwise(name, operands, params=(), out=None, /)\n--\n\nAn elementwise "
             "instruction on C-contiguous arrays of one shape, as the level in force computes it.");

/* The addresses of operands, all like the first; -1 with an exception. */
static int read_operands(PyObject *tuple, const void **x)
{
    PyArrayObject *first = (PyArrayObject *)PyTuple_GET_ITEM(tuple, 0);
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tuple); k++) {
        PyArrayObject *operand = (PyArrayObject *)PyTuple_GET_ITEM(tuple, k);
        if (!PyArray_Check((PyObject *)operand) || !PyArray_ISCARRAY_RO(operand) ||
            PyArray_SIZE(operand) != PyArray_SIZE(first) ||
            PyArray_TYPE(operand) != PyArray_TYPE(first) ||
            (PyArray_TYPE(operand) != NPY_FLOAT32 && PyArray_TYPE(operand) != NPY_FLOAT64)) {
            PyErr_SetString(PyExc_ValueError,
                            "operands are C-contiguous reals of one type and size");
            return -1;
        }
        x[k] = PyArray_DATA(operand);
    }
    return 0;
}

static PyObject *elementwise(PyObject *module, PyObject *args)
{
    const char *name;
    PyObject *tuple, *params = NULL, *out = Py_None;
    const void *x[GD_MAX_MAPPED] = {NULL};
    double param[1] = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "sO!|O!O", &name, &PyTuple_Type, &tuple, &PyTuple_Type, &params,
                          &out))
        return NULL;
    const gd_op op = find_elementwise(name, PyTuple_GET_SIZE(tuple));
    if (op == GD_OPS || read_operands(tuple, x) < 0)
        return NULL;
    if (params != NULL && PyTuple_GET_SIZE(params) > 0)
        param[0] = PyFloat_AsDouble(PyTuple_GET_ITEM(params, 0));
    if (!PyErr_Occurred() && op == GD_OP_integer_power && !(fabs(param[0]) <= 64))
        PyErr_SetString(PyExc_ValueError, "the power is no whole number from -64 to 64");
    if (PyErr_Occurred())
        return NULL;
    PyArrayObject *first = (PyArrayObject *)PyTuple_GET_ITEM(tuple, 0), *y;
    int type = PyArray_TYPE(first);
    type = op != GD_OP_cast ? type : type == NPY_FLOAT32 ? NPY_FLOAT64 : NPY_FLOAT32;
    if (out != Py_None)
        y = gd_array_output(out, "out", type, PyArray_NDIM(first), PyArray_DIMS(first));
    else
        y = (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(first), PyArray_DIMS(first), type);
    if (y != NULL)
        gd_kernels_for((size_t)PyArray_ITEMSIZE(y))
            ->map[op]((size_t)PyArray_SIZE(first), x, PyArray_DATA(y), param);
    return (PyObject *)y;
}

PyMethodDef gd_program_methods[] = {
    {"elementwise", elementwise, METH_VARARGS, elementwise_doc},
    {NULL, NULL, 0, NULL},
};
