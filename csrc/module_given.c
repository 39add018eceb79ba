/* module_given.c: what passes through a network are given: parameters, data, what the loss is, the
 * programs of functions of the user's. All of it is checked here, so that the engine may trust it;
 * what a thread of the user's could change meanwhile is copied or looked at again. */
#include "module_network.h"

enum { MOST_CAPTURED = 48 };

int gd_pass_raise(gd_run_status status)
{
    if (status == GD_RUN_STOPPED)
        return -1;
    if (status == GD_RUN_NO_MEMORY)
        PyErr_NoMemory();
    if (status == GD_RUN_BAD_INDEX)
        PyErr_SetString(PyExc_IndexError, "y holds a class number outside the classes");
    return status == GD_RUN_DONE ? 0 : -1;
}

int gd_given_arrays(PyObject *list, const char *name, size_t real_size, const size_t *size,
                    size_t count, void **data)
{
    const int type = real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
    if (!PyList_Check(list) || (size_t)PyList_GET_SIZE(list) != count) {
        PyErr_Format(PyExc_ValueError, "%s: a list of %zu arrays is wanted", name, count);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        PyArrayObject *array =
            gd_plain_array(PyList_GET_ITEM(list, (Py_ssize_t)i), name, type, size[i]);
        if (array == NULL)
            return -1;
        if ((size_t)PyArray_SIZE(array) != size[i]) {
            PyErr_Format(PyExc_ValueError, "%s: an array has another size", name);
            return -1;
        }
        data[i] = PyArray_DATA(array);
    }
    return 0;
}

/* ---- Data ------------------------------------------------------------------------------------ */

static int read_index(PyObject *value, given *g)
{
    if (value == Py_None)
        return 0;
    PyArrayObject *array = gd_plain_array(value, "index", NPY_INT64, 0);
    if (array == NULL)
        return -1;
    const size_t n = (size_t)PyArray_SIZE(array);
    g->index = gd_alloc(n, sizeof *g->index);
    if (g->index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(g->index, PyArray_DATA(array), n * sizeof *g->index);
    for (size_t i = 0; i < n; i++)
        if (g->index[i] < 0 || (uint64_t)g->index[i] >= g->data.rows) {
            PyErr_SetString(PyExc_IndexError, "index: a row lies outside the data");
            return -1;
        }
    g->data.index = g->index;
    g->data.rows = n;
    return 0;
}

static int read_data(PyObject *x, PyObject *y, PyObject *weights, PyObject *index, given *g)
{
    if (gd_array_source(x, "X", &g->data.x) < 0)
        return -1;
    g->data.rows = g->data.x.rows;
    if (g->data.x.columns != g->network.inputs) {
        PyErr_Format(PyExc_ValueError, "X has %zu columns but the network takes %zu",
                     g->data.x.columns, g->network.inputs);
        return -1;
    }
    if (g->has_objective) {
        if (gd_array_source(y, "y", &g->data.target) < 0)
            return -1;
        if (g->data.target.rows != g->data.rows ||
            g->data.target.columns != g->objective.target_width) {
            PyErr_Format(PyExc_ValueError, "y is (%zu, %zu); (%zu, %zu) is wanted",
                         g->data.target.rows, g->data.target.columns, g->data.rows,
                         g->objective.target_width);
            return -1;
        }
    }
    if (weights != Py_None) {
        PyArrayObject *array = gd_plain_array(weights, "weights", NPY_FLOAT64, g->data.rows);
        if (array == NULL)
            return -1;
        g->data.weights = PyArray_DATA(array);
    }
    if (read_index(index, g) < 0)
        return -1;
    if (g->data.rows > PTRDIFF_MAX / sizeof(double) / g->network.outputs) {
        PyErr_SetString(PyExc_ValueError, "X has more rows than predictions can be numbered");
        return -1;
    }
    return 0;
}

/* ---- The objective --------------------------------------------------------------------------- */

/* Whether the table's loss reads targets and predictions of these widths. */
static bool loss_fits(const gd_objective *o, size_t outputs)
{
    const gd_kind kind = gd_loss_rows[o->loss.id].kind;
    const bool single = kind == GD_SPARSE || kind == GD_PAIRED;
    return o->labels == (kind == GD_SPARSE) && o->target_width == (single ? 1 : outputs) &&
           o->losses == (kind == GD_POINTWISE ? outputs : 1) &&
           (kind != GD_PAIRED || outputs == 2);
}

/* (own, scalar, loss, sum, labels, target width, losses of a row, probability, penalties). */
static int read_objective(PyObject *value, given *g)
{
    gd_objective *o = &g->objective;
    int own, scalar, sum, labels;
    Py_ssize_t width, losses;
    PyObject *loss, *probability, *penalty;
    g->has_objective = value != Py_None;
    if (!g->has_objective)
        return 0;
    if (!PyTuple_Check(value) ||
        !PyArg_ParseTuple(value, "ppOppnnOO", &own, &scalar, &loss, &sum, &labels, &width, &losses,
                          &probability, &penalty)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "the objective is a tuple");
        return -1;
    }
    *o = (gd_objective){.own = own, .scalar = own && scalar, .sum = sum, .labels = labels};
    if (gd_function_from(loss, GD_LOSSES, &o->loss) < 0 ||
        gd_function_from(probability, GD_ACTIVATIONS, &o->probability) < 0)
        return -1;
    if (width < 1 || losses < 1 || width > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "the objective has no width");
        return -1;
    }
    o->target_width = (size_t)width;
    o->losses = own ? 1 : (size_t)losses;
    if (own ? labels && width > 1 : !loss_fits(o, g->network.outputs)) {
        PyErr_SetString(PyExc_ValueError, "the loss reads other targets or predictions");
        return -1;
    }
    if (penalty == Py_None)
        return 0;
    PyArrayObject *array =
        gd_plain_array(penalty, "penalties", NPY_FLOAT64, 2 * g->network.param_count);
    o->penalty = array != NULL ? PyArray_DATA(array) : NULL;
    return array != NULL ? 0 : -1;
}

/* ---- Functions of the user's ----------------------------------------------------------------- */

/* Whether an input is so many reals in C order. */
static bool is_plain(const gd_program_input *input, size_t n, size_t real_size, bool indices)
{
    size_t size = 1;
    for (size_t k = input->ndim; k-- > 0; size *= input->shape[k])
        if (input->shape[k] > 1 && !input->indices && input->stride[k] != (ptrdiff_t)size)
            return false;
    return size == n && input->indices == indices && (indices || input->real_size == real_size);
}

static bool fits_captured(const gd_program_input *input, PyArrayObject *array)
{
    const int type = input->indices ? NPY_INT64
                     : input->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
    if (PyArray_TYPE(array) != type || (size_t)PyArray_NDIM(array) != input->ndim ||
        !PyArray_ISALIGNED(array) || (input->indices && !PyArray_IS_C_CONTIGUOUS(array)))
        return false;
    for (size_t k = 0; k < input->ndim; k++) {
        const npy_intp stride = PyArray_STRIDE(array, (int)k) / PyArray_ITEMSIZE(array);
        if ((size_t)PyArray_DIM(array, (int)k) != input->shape[k] ||
            (input->shape[k] > 1 && !input->indices && stride != input->stride[k]))
            return false;
    }
    return true;
}

/* What the first slots of a program hold: elements of each; `indices`: class numbers in slot 0. */
typedef struct {
    size_t count, size[3];
    bool indices;
} slots;

static bool program_fits(const program_object *program, const slots *first, PyObject *captured,
                         size_t real_size)
{
    if (gd_program_input_count(program->program) > MOST_CAPTURED)
        return false;
    for (size_t i = 0; i < gd_program_input_count(program->program); i++) {
        const gd_program_input *input = gd_program_input_at(program->program, i);
        const size_t slot = input->slot;
        if (slot < first->count) {
            if (!is_plain(input, first->size[slot], real_size, slot == 0 && first->indices))
                return false;
        } else if (slot - first->count >= (size_t)PyTuple_GET_SIZE(captured) ||
                   !fits_captured(input, (PyArrayObject *)PyTuple_GET_ITEM(
                                             captured, (Py_ssize_t)(slot - first->count)))) {
            return false;
        }
    }
    return true;
}

/* Whether output i is so many reals. */
static bool output_fits(const program_object *program, size_t i, size_t n, size_t real_size)
{
    const int type = real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
    size_t size = 1;
    if (i >= program->output_count || program->output_type[i] != type)
        return false;
    for (int k = 0; k < program->output_ndim[i]; k++)
        size *= (size_t)program->output_shape[i * GD_MAX_AXES + (size_t)k];
    return size == n;
}

static bool part_fits(const given *g, const gd_part *part, const program_object *forward,
                      const program_object *backward, PyObject *captured)
{
    const gd_network *n = &g->network;
    const size_t size = n->real_size, rows = part->rows;
    if (part->stage == GD_PART_OF_LOSS) {
        const size_t losses = g->objective.scalar ? 1 : rows;
        const slots first = {
            3, {rows * g->objective.target_width, rows * n->outputs, losses}, g->objective.labels};
        return backward == NULL && program_fits(forward, &first, captured, size) &&
               forward->output_count == 2 && output_fits(forward, 0, losses, size) &&
               output_fits(forward, 1, rows * n->outputs, size);
    }
    if (part->stage < 0 || (size_t)part->stage >= n->stage_count ||
        n->stage[part->stage].kind != GD_STAGE_function || backward == NULL)
        return false;
    const size_t all = rows * n->stage[part->stage].outputs;
    const slots first = {1, {all}, false}, both = {2, {all, all}, false};
    return program_fits(forward, &first, captured, size) && forward->output_count == 1 &&
           output_fits(forward, 0, all, size) && program_fits(backward, &both, captured, size) &&
           backward->output_count == 1 && output_fits(backward, 0, all, size);
}

/* (stage or -1, rows, forward, backward or None, captured arrays). */
static int read_part(PyObject *value, const gd_module_state *state, given *g, gd_part *part,
                     const void **captured_data)
{
    PyObject *forward, *backward, *captured;
    Py_ssize_t rows;
    long long stage;
    if (!PyTuple_Check(value) ||
        !PyArg_ParseTuple(value, "LnO!OO!", &stage, &rows, state->program_type, &forward,
                          &backward, &PyTuple_Type, &captured)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a part is a tuple");
        return -1;
    }
    const bool two = PyObject_TypeCheck(backward, (PyTypeObject *)state->program_type);
    bool arrays = PyTuple_GET_SIZE(captured) < MOST_CAPTURED;
    for (Py_ssize_t i = 0; arrays && i < PyTuple_GET_SIZE(captured); i++) {
        PyObject *array = PyTuple_GET_ITEM(captured, i);
        arrays = PyArray_Check(array);
        captured_data[i] = arrays ? PyArray_DATA((PyArrayObject *)array) : NULL;
    }
    *part = (gd_part){.stage = stage,
                      .rows = (size_t)rows,
                      .forward = ((program_object *)forward)->program,
                      .backward = two ? ((program_object *)backward)->program : NULL,
                      .captured = captured_data};
    if (rows > 0 && rows < INT32_MAX && arrays &&
        part_fits(g, part, (program_object *)forward, two ? (program_object *)backward : NULL,
                  captured))
        return 0;
    PyErr_SetString(PyExc_ValueError, "a program does not fit its place in the network");
    return -1;
}

static int read_parts(PyObject *parts, const gd_module_state *state, given *g)
{
    const size_t count = PyTuple_Check(parts) ? (size_t)PyTuple_GET_SIZE(parts) : 0;
    g->part = gd_alloc(count, sizeof *g->part);
    g->captured = gd_alloc(count, MOST_CAPTURED * sizeof *g->captured);
    if (g->part == NULL || g->captured == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        if (read_part(PyTuple_GET_ITEM(parts, (Py_ssize_t)i), state, g, &g->part[i],
                      g->captured + i * MOST_CAPTURED) < 0)
            return -1;
    g->network.part = g->part;
    g->network.part_count = count;
    return 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

int gd_given_read(const network_object *network, PyObject *arguments, given *g)
{
    PyObject *params, *buffers, *x, *y, *weights, *index, *objective, *parts;
    int whole;
    const gd_network *n = &network->network;
    const gd_module_state *state = PyType_GetModuleState(Py_TYPE((PyObject *)network));
    *g = (given){.network = *n};
    if (!PyTuple_Check(arguments) ||
        !PyArg_ParseTuple(arguments, "OOOOOOOOp", &params, &buffers, &x, &y, &weights, &index,
                          &objective, &parts, &whole)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "what is given is a tuple");
        return -1;
    }
    g->held = PyTuple_New(2); /* lists may change while the GIL is released: their items are held */
    g->memory = gd_alloc(n->param_count + n->buffer_count, sizeof(void *));
    if (g->held == NULL || g->memory == NULL) {
        if (g->memory == NULL)
            PyErr_NoMemory();
        return -1;
    }
    g->network.whole = whole;
    g->param = g->memory;
    g->buffer = g->param + n->param_count;
    if (gd_given_arrays(params, "params", n->real_size, n->param_size, n->param_count, g->param) <
            0 ||
        gd_given_arrays(buffers, "buffers", n->real_size, n->buffer_size, n->buffer_count,
                        g->buffer) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < 2; i++) {
        PyObject *items = PyList_AsTuple(i == 0 ? params : buffers);
        if (items == NULL)
            return -1;
        PyTuple_SET_ITEM(g->held, i, items);
    }
    return read_objective(objective, g) < 0 || read_data(x, y, weights, index, g) < 0 ||
                   read_parts(parts, state, g) < 0
               ? -1
               : 0;
}

void gd_given_release(given *g)
{
    gd_free(g->memory);
    gd_free(g->index);
    gd_free(g->part);
    gd_free(g->captured);
    Py_CLEAR(g->held);
}
