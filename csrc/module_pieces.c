/* module_pieces.c: the description of arguments and results, read from tuples into an array: each
 * piece is followed by its children. Refuses tuples of another form, and slots that are not
 * there. */
#include "module_pieces.h"

#include <string.h>

size_t gd_pieces_count(PyObject *tuple)
{
    size_t count = 1;
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != 4)
        return count;
    PyObject *children = PyTuple_GET_ITEM(tuple, 3);
    for (Py_ssize_t i = 0; PyTuple_Check(children) && i < PyTuple_GET_SIZE(children); i++)
        count += gd_pieces_count(PyTuple_GET_ITEM(children, i));
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

/* Whether the object is what a piece of this kind has: a dtype, for arguments that are numbers a
 * type; the type or the keys of a container with its children. */
static bool has_object(PyObject *tuple, const piece *p, bool results)
{
    const Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    switch (p->kind) {
    case AN_ARRAY: return PyArray_DescrCheck(p->object) && (size == 5 || (results && size == 3));
    case A_NUMBER: return (results ? PyArray_DescrCheck(p->object) : PyType_Check(p->object)) &&
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
static int read_piece(PyObject *tuple, size_t slots, bool results, piece *pieces, size_t *at)
{
    piece *p = &pieces[(*at)++];
    if (!is_piece(tuple)) {
        PyErr_Format(PyExc_TypeError, "a piece of a call is %R", tuple);
        return -1;
    }
    p->kind = (piece_kind)PyLong_AsLong(PyTuple_GET_ITEM(tuple, 0));
    p->slot = PyLong_AsSize_t(PyTuple_GET_ITEM(tuple, 1));
    p->object = PyTuple_GET_ITEM(tuple, 2);
    const bool has_slot = p->kind == AN_ARRAY || p->kind == A_NUMBER;
    if (!PyErr_Occurred() && !has_object(tuple, p, results))
        PyErr_Format(PyExc_TypeError, "a piece of a call is %R", tuple);
    if (PyErr_Occurred())
        return -1;
    if (has_slot && p->slot >= slots)
        PyErr_Format(PyExc_ValueError, "slot %zu of a call is one of %zu", p->slot, slots);
    if (PyErr_Occurred() || (PyTuple_GET_SIZE(tuple) == 5 && read_axes(tuple, p) < 0))
        return -1;
    if (PyTuple_GET_SIZE(tuple) == 4) {
        PyObject *children = PyTuple_GET_ITEM(tuple, 3);
        p->count = (size_t)PyTuple_GET_SIZE(children);
        for (size_t i = 0; i < p->count; i++)
            if (read_piece(PyTuple_GET_ITEM(children, (Py_ssize_t)i), slots, results, pieces,
                           at) < 0)
                return -1;
    }
    p->next = *at;
    return 0;
}

piece *gd_pieces_read(PyObject *tuple, size_t slots, bool results, size_t *count)
{
    size_t at = 0;
    *count = gd_pieces_count(tuple);
    piece *pieces = gd_alloc(*count, sizeof *pieces);
    if (pieces == NULL)
        return (piece *)(void *)PyErr_NoMemory();
    memset(pieces, 0, *count * sizeof *pieces);
    if (read_piece(tuple, slots, results, pieces, &at) == 0)
        return pieces;
    gd_free(pieces);
    return NULL;
}
