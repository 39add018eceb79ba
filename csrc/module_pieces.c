/* module_pieces.c: the description of arguments and results, read from tuples into an array: each
 * piece is followed by its children. Refuses tuples of another form, and slots that are not
 * there. */
#include "module_pieces.h"

#include <string.h>

enum {
    MOST_DEPTH = 500,      /* of containers in one another: a piece takes a call on the C stack */
    MOST_PIECES = 1 << 20, /* a tuple that holds another twice doubles their number */
};

/* The pieces so far, where the last tuples are read from. */
typedef struct {
    piece *pieces;
    size_t at, slots, depth;
    bool results;
} reader;

static void count_pieces(PyObject *tuple, size_t depth, size_t *count)
{
    ++*count;
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != 4 || depth == MOST_DEPTH)
        return;
    PyObject *children = PyTuple_GET_ITEM(tuple, 3);
    for (Py_ssize_t i = 0; PyTuple_Check(children) && i < PyTuple_GET_SIZE(children); i++)
        if (*count <= MOST_PIECES)
            count_pieces(PyTuple_GET_ITEM(children, i), depth + 1, count);
}

size_t gd_pieces_count(PyObject *tuple)
{
    size_t count = 0;
    count_pieces(tuple, 0, &count);
    return count;
}

static int read_axes(PyObject *tuple, piece *p)
{
    PyObject *shape = PyTuple_GET_ITEM(tuple, 3), *strides = PyTuple_GET_ITEM(tuple, 4);
    p->ndim = (int)PyTuple_GET_SIZE(shape);
    if (p->ndim > GD_MAX_AXES || PyTuple_GET_SIZE(strides) != p->ndim) {
        PyErr_SetString(PyExc_ValueError, "an array of at most 8 axes is wanted");
        return -1;
    }
    for (int i = 0; i < p->ndim; i++) {
        p->shape[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, i));
        p->stride[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(strides, i));
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* A dtype of NumPy scalars that a double is made into: bool, integers, float32, float64. */
static bool is_scalar_type(PyObject *object)
{
    if (!PyArray_DescrCheck(object))
        return false;
    const int type = ((PyArray_Descr *)object)->type_num;
    return type == NPY_BOOL || PyTypeNum_ISINTEGER(type) || type == NPY_FLOAT32 ||
           type == NPY_FLOAT64;
}

/* Whether the object is what a piece of this kind has: a dtype, for arguments that are numbers a
 * type; the type or the keys of a container with its children. */
static bool has_object(PyObject *tuple, const piece *p, bool results)
{
    const Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    switch (p->kind) {
    case AN_ARRAY: return PyArray_DescrCheck(p->object) && (size == 5 || (results && size == 3));
    case A_NUMBER: return (results ? is_scalar_type(p->object) : PyType_Check(p->object)) &&
                          size == 3;
    case AN_OBJECT: return size == 3;
    default: break;
    }
    PyObject *children = size == 4 ? PyTuple_GET_ITEM(tuple, 3) : NULL;
    if (children == NULL || !PyTuple_Check(children))
        return false;
    if (p->kind == A_SEQUENCE)
        return PyType_Check(p->object) &&
               PyType_FastSubclass((PyTypeObject *)p->object,
                                   Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_TUPLE_SUBCLASS);
    return p->kind == A_DICT && PyTuple_Check(p->object) &&
           PyTuple_GET_SIZE(p->object) == PyTuple_GET_SIZE(children);
}

/* A tuple that a piece can be read from. */
static bool is_piece(PyObject *tuple)
{
    return PyTuple_Check(tuple) && PyTuple_GET_SIZE(tuple) >= 3 && PyTuple_GET_SIZE(tuple) <= 5 &&
           PyLong_Check(PyTuple_GET_ITEM(tuple, 0)) && PyLong_Check(PyTuple_GET_ITEM(tuple, 1)) &&
           (PyTuple_GET_SIZE(tuple) < 5 || (PyTuple_Check(PyTuple_GET_ITEM(tuple, 3)) &&
                                            PyTuple_Check(PyTuple_GET_ITEM(tuple, 4))));
}

/* (kind, slot, object) or (kind, slot, dtype, shape, strides) or (kind, 0, object, children). */
static int read_piece(reader *r, PyObject *tuple)
{
    piece *p = &r->pieces[r->at++];
    if (!is_piece(tuple)) {
        PyErr_Format(PyExc_TypeError, "a piece of a call is %R", tuple);
        return -1;
    }
    p->kind = (piece_kind)PyLong_AsLong(PyTuple_GET_ITEM(tuple, 0));
    p->slot = PyLong_AsSize_t(PyTuple_GET_ITEM(tuple, 1));
    p->object = PyTuple_GET_ITEM(tuple, 2);
    const bool has_slot = p->kind == AN_ARRAY || p->kind == A_NUMBER;
    if (!PyErr_Occurred() && !has_object(tuple, p, r->results))
        PyErr_Format(PyExc_TypeError, "a piece of a call is %R", tuple);
    if (PyErr_Occurred())
        return -1;
    if (has_slot && p->slot >= r->slots)
        PyErr_Format(PyExc_ValueError, "slot %zu of a call is one of %zu", p->slot, r->slots);
    if (PyErr_Occurred() || (PyTuple_GET_SIZE(tuple) == 5 && read_axes(tuple, p) < 0))
        return -1;
    if (PyTuple_GET_SIZE(tuple) == 4) {
        PyObject *children = PyTuple_GET_ITEM(tuple, 3);
        p->count = (size_t)PyTuple_GET_SIZE(children);
        if (r->depth++ == MOST_DEPTH) {
            PyErr_SetString(PyExc_ValueError, "containers of a call are too many in one another");
            return -1;
        }
        for (size_t i = 0; i < p->count; i++)
            if (read_piece(r, PyTuple_GET_ITEM(children, (Py_ssize_t)i)) < 0)
                return -1;
        r->depth--;
    }
    p->next = r->at;
    return 0;
}

piece *gd_pieces_read(PyObject *tuple, size_t slots, bool results, size_t *count)
{
    reader r = {.slots = slots, .results = results};
    *count = gd_pieces_count(tuple);
    if (*count > MOST_PIECES) {
        PyErr_SetString(PyExc_ValueError, "a call has too many arguments or results");
        return NULL;
    }
    r.pieces = gd_alloc(*count, sizeof *r.pieces);
    if (r.pieces == NULL)
        return (piece *)(void *)PyErr_NoMemory();
    memset(r.pieces, 0, *count * sizeof *r.pieces);
    if (read_piece(&r, tuple) == 0)
        return r.pieces;
    gd_free(r.pieces);
    return NULL;
}
