/* module_data.c: the search for what in data cannot be trained on, which the package calls, and
 * probes for tests of random numbers, orders and gathering. */
#include "module.h"
#include "random.h"

enum { PIECE_BYTES = 16 * 1024 * 1024 }; /* between two looks for Ctrl-C: 1 ms, 100 from a disk */

/* ---- What cannot be trained on --------------------------------------------------------------- */

/* Rows of a piece: all where they are one row (a broadcast array has any number of them). */
static size_t piece_of(const gd_source *source, PyObject *array)
{
    const size_t row_bytes = source->columns * (size_t)PyArray_ITEMSIZE((PyArrayObject *)array);
    if (row_bytes == 0 || source->row_stride == 0)
        return source->rows;
    return row_bytes < PIECE_BYTES ? PIECE_BYTES / row_bytes : 1;
}

PyDoc_STRVAR(find_nonfinite_doc,
             "find_nonfinite(x, /)\n--\n\n(row, column) of the first NaN or infinity, in C order, "
             "of an array of one or two dimensions, or None.");

static PyObject *find_nonfinite(PyObject *module, PyObject *value)
{
    gd_source x;
    size_t row = 0, column = 0;
    bool found = false;
    (void)module;
    if (gd_array_source(value, "x", &x) < 0)
        return NULL;
    const size_t piece = piece_of(&x, value);
    for (size_t from = 0, left = x.rows; left > 0 && !found; from += piece) {
        const size_t count = left < piece ? left : piece;
        left -= count;
        Py_BEGIN_ALLOW_THREADS
        found = gd_find_nonfinite(&x, from, from + count, &row, &column);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
    if (!found)
        Py_RETURN_NONE;
    return Py_BuildValue("nn", (Py_ssize_t)row, (Py_ssize_t)column);
}

static int one_column(const gd_source *y)
{
    if (y->columns == 1)
        return 0;
    PyErr_Format(PyExc_ValueError, "y has %zd columns; one column of class numbers is accepted",
                 (Py_ssize_t)y->columns);
    return -1;
}

PyDoc_STRVAR(find_bad_label_doc,
             "find_bad_label(y, classes, /)\n--\n\nThe first row of a column whose label is not a "
             "whole number in [0, classes), or None.");

static PyObject *find_bad_label(PyObject *module, PyObject *args)
{
    gd_source y;
    PyObject *value;
    Py_ssize_t classes;
    size_t row = 0;
    bool found = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "On", &value, &classes) || gd_array_source(value, "y", &y) < 0 ||
        one_column(&y) < 0)
        return NULL;
    if (classes < 0)
        return PyErr_Format(PyExc_ValueError, "classes is %zd; a number from 0 on is accepted",
                            classes);
    const size_t piece = piece_of(&y, value);
    for (size_t from = 0, left = y.rows; left > 0 && !found; from += piece) {
        gd_source part = y;
        part.data += (ptrdiff_t)from * y.row_stride;
        part.rows = left < piece ? left : piece;
        left -= part.rows;
        Py_BEGIN_ALLOW_THREADS
        found = gd_find_bad_label(&part, (size_t)classes, &row);
        Py_END_ALLOW_THREADS
        row += from;
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
    if (!found)
        Py_RETURN_NONE;
    return PyLong_FromSize_t(row);
}

/* ---- Probes: gathering ----------------------------------------------------------------------- */

/* Which rows a probe gathers: those of an array, or all from a number on. */
typedef struct {
    PyArrayObject *array; /* a new reference, or NULL */
    const size_t *rows;
    size_t first, count;
} selection;

/* Before the data are looked at: the conversion may run any code. */
static int take_rows(PyObject *value, selection *chosen)
{
    *chosen = (selection){NULL, NULL, 0, 0};
    if (value == Py_None)
        return 0;
    if (PyLong_Check(value)) {
        chosen->first = PyLong_AsSize_t(value);
        return chosen->first == (size_t)-1 && PyErr_Occurred() ? -1 : 0;
    }
    chosen->array = (PyArrayObject *)PyArray_FROMANY(value, NPY_INTP, 1, 1, NPY_ARRAY_CARRAY_RO);
    if (chosen->array == NULL)
        return -1;
    chosen->rows = PyArray_DATA(chosen->array);
    chosen->count = (size_t)PyArray_SIZE(chosen->array);
    return 0;
}

static int refuse_row(size_t row, size_t rows)
{
    PyErr_Format(PyExc_IndexError, "rows holds %zd; there are %zd rows, from 0 on",
                 (Py_ssize_t)row, (Py_ssize_t)rows);
    return -1;
}

static int check_rows(selection *chosen, size_t rows)
{
    if (chosen->rows == NULL) {
        if (chosen->first > rows)
            return refuse_row(chosen->first, rows);
        chosen->count = rows - chosen->first;
    }
    for (size_t i = 0; chosen->rows != NULL && i < chosen->count; i++)
        if (chosen->rows[i] >= rows)
            return refuse_row(chosen->rows[i], rows);
    return 0;
}

PyDoc_STRVAR(gather_doc, "gather(x, rows, real_size, /)\n--\n\nThose rows (an array of numbers, "
                         "the first of all that follow, or None) as reals of that many bytes.");

static PyObject *gather(PyObject *module, PyObject *args)
{
    PyObject *value, *numbers;
    int real_size;
    gd_source x;
    selection chosen;
    PyArrayObject *out = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOi", &value, &numbers, &real_size))
        return NULL;
    if (real_size != 4 && real_size != 8)
        return PyErr_Format(PyExc_ValueError, "real_size is %d; 4 and 8 are accepted", real_size);
    if (take_rows(numbers, &chosen) == 0 && gd_array_source(value, "x", &x) == 0 &&
        check_rows(&chosen, x.rows) == 0) {
        const npy_intp shape[] = {(npy_intp)chosen.count, (npy_intp)x.columns};
        const int type = real_size == 4 ? NPY_FLOAT32 : NPY_FLOAT64;
        out = (PyArrayObject *)PyArray_SimpleNew(2, shape, type);
    }
    if (out != NULL)
        gd_gather(&x, chosen.rows, chosen.first, chosen.count, (size_t)real_size,
                  PyArray_DATA(out));
    Py_XDECREF(chosen.array);
    return (PyObject *)out;
}

PyDoc_STRVAR(gather_labels_doc, "gather_labels(y, rows, /)\n--\n\nThe labels of those rows, as in "
                                "gather, as int64.");

static PyObject *gather_labels(PyObject *module, PyObject *args)
{
    PyObject *value, *numbers;
    gd_source y;
    selection chosen;
    PyArrayObject *out = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &value, &numbers))
        return NULL;
    if (take_rows(numbers, &chosen) == 0 && gd_array_source(value, "y", &y) == 0 &&
        one_column(&y) == 0 && check_rows(&chosen, y.rows) == 0) {
        const npy_intp shape[] = {(npy_intp)chosen.count};
        out = (PyArrayObject *)PyArray_SimpleNew(1, shape, NPY_INT64);
    }
    if (out != NULL)
        gd_gather_labels(&y, chosen.rows, chosen.first, chosen.count, PyArray_DATA(out));
    Py_XDECREF(chosen.array);
    return (PyObject *)out;
}

PyDoc_STRVAR(is_plain_doc, "is_plain(x, real_size, /)\n--\n\nWhether rows need no gathering.");

static PyObject *is_plain(PyObject *module, PyObject *args)
{
    PyObject *value;
    int real_size;
    gd_source x;
    (void)module;
    if (!PyArg_ParseTuple(args, "Oi", &value, &real_size))
        return NULL;
    if (real_size != 4 && real_size != 8)
        return PyErr_Format(PyExc_ValueError, "real_size is %d; 4 and 8 are accepted", real_size);
    if (gd_array_source(value, "x", &x) < 0)
        return NULL;
    return PyBool_FromLong(gd_source_is_plain(&x, (size_t)real_size));
}

/* ---- Probes: random numbers ------------------------------------------------------------------ */

/* A converter of PyArg_Parse: any whole number that an uint64 holds. */
static int to_uint64(PyObject *value, void *out)
{
    PyObject *number = PyNumber_Index(value);
    if (number == NULL)
        return 0;
    const unsigned long long found = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (found == (unsigned long long)-1 && PyErr_Occurred())
        return 0;
    *(uint64_t *)out = found;
    return 1;
}

PyDoc_STRVAR(philox_doc, "philox(key0, key1, c0, c1, c2, c3, /)\n--\n\nThe four words of a block.");

static PyObject *philox(PyObject *module, PyObject *args)
{
    gd_key key;
    uint64_t counter[4], out[4];
    (void)module;
    if (!PyArg_ParseTuple(args, "O&O&O&O&O&O&", to_uint64, &key.word[0], to_uint64, &key.word[1],
                          to_uint64, &counter[0], to_uint64, &counter[1], to_uint64, &counter[2],
                          to_uint64, &counter[3]))
        return NULL;
    gd_philox(&key, counter, out);
    return Py_BuildValue("KKKK", (unsigned long long)out[0], (unsigned long long)out[1],
                         (unsigned long long)out[2], (unsigned long long)out[3]);
}

PyDoc_STRVAR(random_bits_doc, "random_bits(key0, key1, purpose, step, layer, row, n, /)\n--\n\n32 "
                              "bits for each of n units.");

static PyObject *random_bits(PyObject *module, PyObject *args)
{
    gd_key key;
    int purpose;
    uint64_t step, layer, row;
    Py_ssize_t n;
    (void)module;
    if (!PyArg_ParseTuple(args, "O&O&iO&O&O&n", to_uint64, &key.word[0], to_uint64, &key.word[1],
                          &purpose, to_uint64, &step, to_uint64, &layer, to_uint64, &row, &n))
        return NULL;
    if ((purpose != GD_FOR_ORDER && purpose != GD_FOR_DROPOUT) || layer >> 56 != 0 || n < 0)
        return PyErr_Format(PyExc_ValueError, "random_bits: purpose 1 or 2, layer below 2**56 and "
                                              "n from 0 on are accepted");
    const npy_intp shape[] = {n};
    PyArrayObject *bits = (PyArrayObject *)PyArray_SimpleNew(1, shape, NPY_UINT32);
    if (bits != NULL)
        gd_random_bits(&key, (gd_purpose)purpose, step, layer, row, (size_t)n, PyArray_DATA(bits));
    return (PyObject *)bits;
}

PyDoc_STRVAR(epoch_order_doc, "epoch_order(n, key0, key1, epoch, stored=True)\n--\n\nThe order of "
                              "an epoch; stored=False: by the network whatever n is.");

static PyObject *epoch_order(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n", "key0", "key1", "epoch", "stored", NULL};
    gd_key key;
    gd_order order;
    uint64_t epoch;
    Py_ssize_t n;
    int stored = 1;
    uint32_t *table = NULL;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nO&O&O&|p", names, &n, to_uint64, &key.word[0],
                                     to_uint64, &key.word[1], to_uint64, &epoch, &stored))
        return NULL;
    if (n < 0)
        return PyErr_Format(PyExc_ValueError, "n is %zd; a number from 0 on is accepted", n);
    const npy_intp shape[] = {n};
    PyArrayObject *rows = (PyArrayObject *)PyArray_SimpleNew(1, shape, NPY_INTP);
    if (rows == NULL)
        return NULL;
    if (stored && n <= GD_ORDER_TABLE && (table = gd_alloc((size_t)n, sizeof *table)) == NULL) {
        Py_DECREF(rows);
        return PyErr_NoMemory();
    }
    Py_BEGIN_ALLOW_THREADS
    gd_order_start(&order, (size_t)n, &key, epoch, table);
    gd_order_rows(&order, 0, (size_t)n, (size_t *)PyArray_DATA(rows));
    Py_END_ALLOW_THREADS
    gd_free(table);
    return (PyObject *)rows;
}

PyMethodDef gd_data_methods[] = {
    {"find_nonfinite", find_nonfinite, METH_O, find_nonfinite_doc},
    {"find_bad_label", find_bad_label, METH_VARARGS, find_bad_label_doc},
    {"gather", gather, METH_VARARGS, gather_doc},
    {"gather_labels", gather_labels, METH_VARARGS, gather_labels_doc},
    {"is_plain", is_plain, METH_VARARGS, is_plain_doc},
    {"philox", philox, METH_VARARGS, philox_doc},
    {"random_bits", random_bits, METH_VARARGS, random_bits_doc},
    {"epoch_order", (PyCFunction)(void (*)(void))epoch_order, METH_VARARGS | METH_KEYWORDS,
     epoch_order_doc},
    {NULL, NULL, 0, NULL},
};
