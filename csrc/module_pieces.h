/* module_pieces.h: arguments and results of a call as a tree of pieces, which Python writes as
 * tuples (gdcore/autodiff/_pieces.py). */
#ifndef GD_MODULE_PIECES_H
#define GD_MODULE_PIECES_H

#include "arrays.h"

/* What an argument must be like, or a result be made of. A container's children follow it. */
typedef enum {
    AN_ARRAY,  /* argument: dtype, shape, strides; result: an array of the dtype */
    A_NUMBER,  /* argument: of this type; result: a NumPy scalar of the dtype */
    AN_OBJECT, /* argument: equal to this object; result: the object itself */
    A_SEQUENCE,
    A_DICT,
} piece_kind;

typedef struct {
    piece_kind kind;
    size_t slot;         /* of arguments: array of the program; of results: its output */
    size_t count;        /* of children */
    size_t next;         /* piece behind this one and its children */
    PyObject *object;    /* dtype, type, the object, type of the sequence, keys */
    int ndim;
    npy_intp shape[GD_MAX_AXES], stride[GD_MAX_AXES]; /* strides in bytes */
} piece;

/* Pieces of a tuple with those of its children; cannot fail: too many are refused when read. */
size_t gd_pieces_count(PyObject *tuple);

/* A new array of the pieces of a tuple, arguments or results, to be freed by gd_free; objects are
 * borrowed from the tuple. NULL with an exception. */
piece *gd_pieces_read(PyObject *tuple, size_t slots, bool results, size_t *count);

#endif
