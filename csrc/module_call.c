/* module_call.c: the type gdcore._core.Call: a program with the arguments that it was traced for.
 * A call compares its arguments and what the function found outside with those of the trace, runs,
 * and returns the results as the function would: all in one step from Python. Where something
 * differs it says NotImplemented, and Python traces anew. */
#include "module_pieces.h"
#include "module_program.h"

#include <numpy/arrayscalars.h>

typedef struct {
    PyObject_HEAD
    program_object *program;
    PyObject *description; /* what the pieces were read from: it owns their objects */
    piece *argument, *result;
    size_t argument_count, result_count;
    size_t slots;          /* of arguments and captured arrays */
    PyObject *captured;    /* tuple of (slot, array) */
    PyObject *guards;      /* tuple of (cell, None, expected) and (dict, key, expected) */
} call_object;

/* The slot of a captured array, from (slot, array); SIZE_MAX with an exception. */
static size_t slot_of(PyObject *pair)
{
    const size_t slot = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2
                            ? PyLong_AsSize_t(PyTuple_GET_ITEM(pair, 0))
                            : GD_MAX_SLOTS;
    if (slot < GD_MAX_SLOTS)
        return slot;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "a captured array is %R; (slot, array) is wanted", pair);
    return SIZE_MAX;
}

static bool is_guard(PyObject *guard)
{
    return PyTuple_Check(guard) && PyTuple_GET_SIZE(guard) == 3 &&
           (PyCell_Check(PyTuple_GET_ITEM(guard, 0)) || PyDict_Check(PyTuple_GET_ITEM(guard, 0)));
}

/* Whether each output of the program is one of the results, and those that are numbers have no
 * axes; -1 with an exception. */
static int check_results(const call_object *self)
{
    const size_t outputs = self->program->output_count;
    char *named = gd_alloc(outputs, 1);
    bool sound = true;
    size_t count = 0;
    if (named == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(named, 0, outputs);
    for (size_t i = 0; i < self->result_count; i++) {
        const piece *p = &self->result[i];
        if (p->kind != AN_ARRAY && p->kind != A_NUMBER)
            continue;
        sound = sound && !named[p->slot] &&
                (p->kind == AN_ARRAY || self->program->output_ndim[p->slot] == 0);
        named[p->slot] = 1;
        count++;
    }
    gd_free(named);
    if (sound && count == outputs)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the results of a call are the outputs of its program, each "
                                      "once, those without axes as numbers or arrays");
    return -1;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static PyObject *call_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *program, *arguments, *captured, *guards, *results;
    (void)keywords;
    if (!PyArg_ParseTuple(args, "OO!O!O!O!:Call", &program, &PyTuple_Type, &arguments,
                          &PyTuple_Type, &captured, &PyTuple_Type, &guards, &PyTuple_Type,
                          &results))
        return NULL;
    PyObject *module = PyType_GetModule(type);
    const gd_module_state *state = module != NULL ? PyModule_GetState(module) : NULL;
    if (state == NULL || !Py_IS_TYPE(program, (PyTypeObject *)state->program_type))
        return PyErr_Format(PyExc_TypeError, "Call() takes a Program first");
    call_object *self = (call_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->program = (program_object *)Py_NewRef(program);
    self->description = PyTuple_Pack(2, arguments, results);
    self->captured = Py_NewRef(captured);
    self->guards = Py_NewRef(guards);
    self->slots = self->program->slots;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(guards); i++)
        if (!is_guard(PyTuple_GET_ITEM(guards, i)))
            PyErr_Format(PyExc_TypeError, "a guard is %R; (cell, None, object) or (dict, key, "
                                          "object) is wanted",
                         PyTuple_GET_ITEM(guards, i));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(captured); i++) {
        const size_t slot = slot_of(PyTuple_GET_ITEM(captured, i));
        self->slots = slot != SIZE_MAX && slot >= self->slots ? slot + 1 : self->slots;
    }
    /* an argument that the program does not read has a slot, too */
    self->slots += gd_pieces_count(arguments);
    self->argument = gd_pieces_read(arguments, self->slots, false, &self->argument_count);
    self->result = self->argument != NULL
                       ? gd_pieces_read(results, self->program->output_count, true,
                                        &self->result_count)
                       : NULL;
    if (self->description == NULL || self->result == NULL || PyErr_Occurred() ||
        check_results(self) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int call_traverse(PyObject *object, visitproc visit, void *arg)
{
    call_object *self = (call_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->program);
    Py_VISIT(self->description);
    Py_VISIT(self->captured);
    Py_VISIT(self->guards);
    return 0;
}

static int call_clear(PyObject *object)
{
    call_object *self = (call_object *)object;
    Py_CLEAR(self->program);
    Py_CLEAR(self->description);
    Py_CLEAR(self->captured);
    Py_CLEAR(self->guards);
    return 0;
}

static void call_dealloc(PyObject *object)
{
    call_object *self = (call_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    gd_free(self->argument);
    gd_free(self->result);
    call_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- Comparing ------------------------------------------------------------------------------- */

/* What a call has gathered by slot: arrays, owned because a comparison of the user's may drop them
 * from their containers, and numbers. */
typedef struct {
    PyObject **array;
    double *number;
} gathered;

static void release(const call_object *self, const gathered *found)
{
    for (size_t i = 0; i < self->slots; i++)
        Py_CLEAR(found->array[i]);
}

static bool is_array_like(const piece *p, PyObject *value)
{
    if (!PyArray_CheckExact(value))
        return false;
    PyArrayObject *array = (PyArrayObject *)value;
    if ((PyObject *)PyArray_DESCR(array) != p->object || PyArray_NDIM(array) != p->ndim)
        return false;
    for (int i = 0; i < p->ndim; i++)
        if (PyArray_DIM(array, i) != p->shape[i] ||
            (p->shape[i] > 1 && PyArray_STRIDE(array, i) != p->stride[i]))
            return false;
    return true;
}

/* 1 where a value is what the piece says, 0 where it is not, -1 with an exception. */
static int matches(const call_object *self, size_t at, PyObject *value, const gathered *found);

/* The i-th item of a container, new, or NULL where it has gone: comparisons may change it. */
static PyObject *item_of(const piece *p, PyObject *value, size_t i)
{
    if (p->kind == A_DICT)
        return Py_XNewRef(
            PyDict_GetItemWithError(value, PyTuple_GET_ITEM(p->object, (Py_ssize_t)i)));
    return i < (size_t)PySequence_Fast_GET_SIZE(value)
               ? Py_NewRef(PySequence_Fast_GET_ITEM(value, (Py_ssize_t)i))
               : NULL;
}

static int children_match(const call_object *self, size_t at, PyObject *value,
                          const gathered *found)
{
    const piece *p = &self->argument[at];
    size_t child = at + 1;
    for (size_t i = 0; i < p->count; i++) {
        PyObject *item = item_of(p, value, i);
        if (item == NULL)
            return PyErr_Occurred() ? -1 : 0;
        const int status = matches(self, child, item, found);
        Py_DECREF(item);
        if (status <= 0)
            return status;
        child = self->argument[child].next;
    }
    return 1;
}

static int matches(const call_object *self, size_t at, PyObject *value, const gathered *found)
{
    const piece *p = &self->argument[at];
    switch (p->kind) {
    case AN_ARRAY:
        Py_XSETREF(found->array[p->slot], Py_NewRef(value));
        return is_array_like(p, value);
    case A_NUMBER:
        if ((PyObject *)Py_TYPE(value) != p->object)
            return 0;
        found->number[p->slot] = PyFloat_AsDouble(value);
        return found->number[p->slot] == -1 && PyErr_Occurred() ? -1 : 1;
    case AN_OBJECT:
        if (value == p->object)
            return 1;
        return Py_TYPE(value) == Py_TYPE(p->object) && !PyArray_Check(value)
                   ? PyObject_RichCompareBool(value, p->object, Py_EQ)
                   : 0;
    case A_SEQUENCE:
        return (PyObject *)Py_TYPE(value) == p->object &&
                       (size_t)PySequence_Fast_GET_SIZE(value) == p->count
                   ? children_match(self, at, value, found)
                   : 0;
    case A_DICT:
        return PyDict_CheckExact(value) && (size_t)PyDict_Size(value) == p->count
                   ? children_match(self, at, value, found)
                   : 0;
    }
    return 0;
}

/* Whether closure cells and globals hold what they held at the trace. */
static int guards_hold(const call_object *self)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->guards); i++) {
        PyObject *guard = PyTuple_GET_ITEM(self->guards, i);
        PyObject *place = PyTuple_GET_ITEM(guard, 0), *now;
        if (PyCell_Check(place))
            now = PyCell_GET(place);
        else
            now = PyDict_GetItemWithError(place, PyTuple_GET_ITEM(guard, 1));
        if (now == NULL && PyErr_Occurred())
            return -1;
        if (now != PyTuple_GET_ITEM(guard, 2))
            return 0;
    }
    return 1;
}

/* ---- Results --------------------------------------------------------------------------------- */

/* Storage of the outputs: arrays, and for numbers a double each. */
typedef struct {
    PyArrayObject **array;
    double *number;
    void **data;
} stored;

static int make_storage(const call_object *self, stored *out)
{
    for (size_t i = 0; i < self->result_count; i++) {
        const piece *p = &self->result[i];
        if (p->kind == A_NUMBER) {
            out->data[p->slot] = &out->number[p->slot];
        } else if (p->kind == AN_ARRAY) {
            out->array[p->slot] = gd_program_output(self->program, p->slot);
            if (out->array[p->slot] == NULL)
                return -1;
            out->data[p->slot] = PyArray_DATA(out->array[p->slot]);
        }
    }
    return 0;
}

static PyObject *number_of(const call_object *self, const piece *p, const stored *out)
{
    float narrow;
    memcpy(&narrow, &out->number[p->slot], sizeof narrow);
    const bool is_narrow = self->program->output_type[p->slot] == NPY_FLOAT32;
    const double value = is_narrow ? (double)narrow : out->number[p->slot];
    const int type = ((PyArray_Descr *)p->object)->type_num;
    if (type == NPY_BOOL)
        return Py_NewRef(value != 0 ? PyArrayScalar_True : PyArrayScalar_False);
    if (type == NPY_FLOAT32 || type == NPY_FLOAT64)
        return gd_scalar(value, type);
    npy_int64 whole = (npy_int64)value;
    return PyArray_Scalar(&whole, (PyArray_Descr *)p->object, NULL);
}

static PyObject *result_of(const call_object *self, size_t at, const stored *out);

static PyObject *container_of(const call_object *self, size_t at, const stored *out)
{
    const piece *p = &self->result[at];
    const bool is_list = p->object == (PyObject *)&PyList_Type;
    PyObject *made = p->kind == A_DICT ? PyDict_New()
                     : is_list         ? PyList_New((Py_ssize_t)p->count)
                                       : PyTuple_New((Py_ssize_t)p->count);
    size_t child = at + 1;
    for (size_t i = 0; made != NULL && i < p->count; i++, child = self->result[child].next) {
        PyObject *item = result_of(self, child, out);
        if (item == NULL) {
            Py_CLEAR(made);
        } else if (p->kind == A_DICT) {
            if (PyDict_SetItem(made, PyTuple_GET_ITEM(p->object, (Py_ssize_t)i), item) < 0)
                Py_CLEAR(made);
            Py_DECREF(item);
        } else if (is_list) {
            PyList_SET_ITEM(made, (Py_ssize_t)i, item);
        } else {
            PyTuple_SET_ITEM(made, (Py_ssize_t)i, item);
        }
    }
    return made;
}

static PyObject *result_of(const call_object *self, size_t at, const stored *out)
{
    const piece *p = &self->result[at];
    switch (p->kind) {
    case AN_ARRAY: {
        PyArrayObject *array = out->array[p->slot];
        if (((PyArray_Descr *)p->object)->type_num == PyArray_TYPE(array))
            return Py_NewRef((PyObject *)array);
        return PyArray_CastToType(array, (PyArray_Descr *)Py_NewRef(p->object), 0);
    }
    case A_NUMBER: return number_of(self, p, out);
    case AN_OBJECT: return Py_NewRef(p->object);
    default: return container_of(self, at, out);
    }
}

/* ---- The call -------------------------------------------------------------------------------- */

/* Gather the arrays of arguments and captured ones; 1, 0 where something differs, or -1. */
static int gather(const call_object *self, PyObject *args, const gathered *found)
{
    int status = guards_hold(self);
    if (status == 1)
        status = matches(self, 0, args, found);
    for (Py_ssize_t i = 0; status == 1 && i < PyTuple_GET_SIZE(self->captured); i++) {
        PyObject *pair = PyTuple_GET_ITEM(self->captured, i);
        const size_t slot = PyLong_AsSize_t(PyTuple_GET_ITEM(pair, 0));
        Py_XSETREF(found->array[slot], Py_NewRef(PyTuple_GET_ITEM(pair, 1)));
    }
    return status;
}

/* The inputs for what has been gathered: 1, 0 where a captured array has changed, or -1. */
static int take_inputs(const call_object *self, const gathered *found, gd_inputs *inputs)
{
    if (gd_inputs_take(self->program, (PyObject *const *)found->array, found->number, self->slots,
                       inputs) == 0)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_ValueError))
        return -1;
    PyErr_Clear();
    return 0;
}

static int run_program(const call_object *self, gd_inputs *inputs, stored *out)
{
    program_object *program = self->program;
    gd_run *run = make_storage(self, out) == 0 ? gd_program_run_take(program) : NULL;
    if (run == NULL)
        return -1;
    PyThreadState *saved = gd_program_is_long(program->program) ? PyEval_SaveThread() : NULL;
    const gd_run_status ended = gd_run_once(run, inputs->data, out->data);
    if (saved != NULL)
        PyEval_RestoreThread(saved);
    gd_program_run_give(program, run);
    return gd_program_raise(ended);
}

PyDoc_STRVAR(call_doc, "call($self, args, /)\n--\n\nThe results for a tuple of arguments; "
                       "NotImplemented where they, or what was found outside, have changed.");

static PyObject *answer(const call_object *self, PyObject *args, const gathered *found,
                        stored *out)
{
    gd_inputs inputs;
    int status = gather(self, args, found);
    if (status == 1)
        status = take_inputs(self, found, &inputs);
    if (status <= 0)
        return status < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    status = run_program(self, &inputs, out);
    gd_inputs_release(&inputs);
    return status < 0 ? NULL : result_of(self, 0, out);
}

program_object *gd_call_program(PyObject *call)
{
    return ((call_object *)call)->program;
}

int gd_call_inputs(PyObject *call, PyObject *args, gd_inputs *inputs)
{
    const call_object *self = (call_object *)call;
    double *room = gd_alloc(2 * self->slots, sizeof *room);
    if (room == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(room, 0, 2 * self->slots * sizeof *room);
    const gathered found = {(PyObject **)(void *)(room + self->slots), room};
    int status = gather(self, args, &found);
    if (status == 1)
        status = take_inputs(self, &found, inputs);
    release(self, &found);
    if (status == 1)
        inputs->kept = room; /* the inputs point to numbers in it */
    else
        gd_free(room);
    return status;
}

static PyObject *call_call(PyObject *object, PyObject *args)
{
    enum { WORDS = 160 }; /* of 8 bytes, on the stack: a call of few arrays takes no memory */
    const call_object *self = (call_object *)object;
    const size_t in = self->slots, results = self->program->output_count;
    const size_t words = 2 * in + 3 * results;
    double small[WORDS], *room;
    if (!PyTuple_Check(args))
        return PyErr_Format(PyExc_TypeError, "a tuple of arguments is wanted");
    room = words <= WORDS ? small : gd_alloc(words, sizeof *room);
    if (room == NULL)
        return PyErr_NoMemory();
    memset(room, 0, words * sizeof *room);
    const gathered found = {(PyObject **)(void *)(room + in), room};
    stored out = {(PyArrayObject **)(void *)(room + 2 * in + results), room + 2 * in,
                  (void **)(void *)(room + 2 * in + 2 * results)};
    PyObject *result = answer(self, args, &found, &out);
    release(self, &found);
    for (size_t i = 0; i < results; i++)
        Py_XDECREF(out.array[i]);
    if (room != small)
        gd_free(room);
    return result;
}

PyDoc_STRVAR(fits_doc, "fits($self, args, /)\n--\n\nWhether a call with these arguments would "
                       "run.");

static PyObject *call_fits(PyObject *object, PyObject *args)
{
    gd_inputs inputs;
    if (!PyTuple_Check(args))
        return PyErr_Format(PyExc_TypeError, "a tuple of arguments is wanted");
    const int status = gd_call_inputs(object, args, &inputs);
    if (status == 1)
        gd_inputs_release(&inputs);
    return status < 0 ? NULL : PyBool_FromLong(status);
}

static PyMethodDef call_methods[] = {
    {"fits", call_fits, METH_O, fits_doc},
    {"call", call_call, METH_O, call_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_tp_doc, "Call(program, arguments, captured, guards, results, /)\n--\n\nA program with the "
                "arguments that it was traced for."},
    {Py_tp_new, call_new},
    {Py_tp_dealloc, call_dealloc},
    {Py_tp_traverse, call_traverse},
    {Py_tp_clear, call_clear},
    {Py_tp_methods, call_methods},
    {0, NULL},
};

PyType_Spec gd_call_spec = {
    .name = "gdcore._core.Call",
    .basicsize = sizeof(call_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = call_slots,
};
