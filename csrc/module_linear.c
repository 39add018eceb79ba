/* module_linear.c: dense layers and the fused linear model on NumPy arrays. W of shape (k, m) or
 * (k,) says how results look; X is read in place in any order, small operands are made contiguous.
 * Names of activations and losses have become objects with `_spec` before they come here. */
#include "linear.h"
#include "module.h"

/* The arrays of one call: borrowed arguments and new results, released together. */
enum { X, W, BIAS, DY, Y, Z, TARGET, DX, DW, DB, ARRAYS };

typedef struct {
    PyArrayObject *array[ARRAYS];
    int type;
    gd_matrix x;
    size_t outputs;      /* m, 1 for W of shape (k,) */
    npy_intp shape[2];   /* of the result: (n, m) or (n,) */
    int ndim;
} layer;

static void release(layer *l)
{
    for (int i = 0; i < ARRAYS; i++)
        Py_XDECREF(l->array[i]);
}

static void *data_of(const layer *l, int i)
{
    return l->array[i] != NULL ? PyArray_DATA(l->array[i]) : NULL;
}

static size_t real_size(const layer *l)
{
    return l->type == NPY_FLOAT32 ? 4 : 8;
}

/* ---- Arguments ------------------------------------------------------------------------------ */

static int refuse_shape(PyArrayObject *array, const char *name, const char *wanted)
{
    char found[96];
    gd_shape_text(PyArray_NDIM(array), PyArray_DIMS(array), found, sizeof found);
    PyErr_Format(PyExc_ValueError, "%s has shape %s; %s", name, found, wanted);
    return -1;
}

static int check_x_and_w(layer *l)
{
    PyArrayObject *x = l->array[X], *w = l->array[W];
    char found[96], wanted[160];
    if (PyArray_NDIM(x) != 2)
        return refuse_shape(x, "X",
                            "(n, k) is wanted: n rows of k inputs; X[:, None] makes one column of "
                            "a vector, X[None, :] one row");
    if (PyArray_NDIM(w) != 1 && PyArray_NDIM(w) != 2)
        return refuse_shape(w, "W", "(k, m) or (k,) is wanted");
    if (PyArray_DIM(w, 0) == PyArray_DIM(x, 1))
        return 0;
    gd_shape_text(2, PyArray_DIMS(x), found, sizeof found);
    PyOS_snprintf(wanted, sizeof wanted,
                  "X has shape %s: as many rows as X has columns are wanted, %zd", found,
                  (Py_ssize_t)PyArray_DIM(x, 1));
    return refuse_shape(w, "W", wanted);
}

/* Strides in elements; an axis of length 0 or 1 gets the stride that a contiguous array has. */
static gd_matrix matrix_of(PyArrayObject *array)
{
    const npy_intp size = PyArray_ITEMSIZE(array);
    gd_matrix matrix = {
        .data = PyArray_DATA(array),
        .rows = (size_t)PyArray_DIM(array, 0),
        .columns = (size_t)PyArray_DIM(array, 1),
        .row_stride = PyArray_STRIDE(array, 0) / size,
        .column_stride = PyArray_STRIDE(array, 1) / size,
    };
    if (matrix.columns <= 1)
        matrix.column_stride = 1;
    if (matrix.rows <= 1)
        matrix.row_stride = (ptrdiff_t)matrix.columns;
    return matrix;
}

static bool is_real_array(PyObject *value)
{
    return PyArray_Check(value) && (PyArray_TYPE((PyArrayObject *)value) == NPY_FLOAT32 ||
                                    PyArray_TYPE((PyArrayObject *)value) == NPY_FLOAT64);
}

/* X and W, of one real type: W's where it is a real array, else X's. */
static int borrow_x_and_w(PyObject *x, PyObject *w, layer *l)
{
    if (is_real_array(w)) {
        l->array[W] = gd_array_input(w, "W", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
        l->type = l->array[W] != NULL ? PyArray_TYPE(l->array[W]) : NPY_NOTYPE;
        if (l->array[W] != NULL)
            l->array[X] = gd_array_input(x, "X", l->type, "W", GD_STRIDED);
    } else {
        l->array[X] = gd_array_input(x, "X", NPY_NOTYPE, NULL, GD_STRIDED);
        l->type = l->array[X] != NULL ? PyArray_TYPE(l->array[X]) : NPY_NOTYPE;
        if (l->array[X] != NULL)
            l->array[W] = gd_array_input(w, "W", l->type, "X", GD_CONTIGUOUS);
    }
    if (l->array[X] == NULL || l->array[W] == NULL || check_x_and_w(l) < 0)
        return -1;
    l->x = matrix_of(l->array[X]);
    l->ndim = PyArray_NDIM(l->array[W]);
    l->outputs = l->ndim == 2 ? (size_t)PyArray_DIM(l->array[W], 1) : 1;
    l->shape[0] = PyArray_DIM(l->array[X], 0);
    l->shape[1] = (npy_intp)l->outputs;
    return 0;
}

/* b: (m,) beside W of shape (k, m); a number, () or (1,) beside (k,). */
static int borrow_bias(PyObject *value, layer *l)
{
    char wanted[96];
    PyArrayObject *b = gd_array_input(value, "b", l->type, "W", GD_CONTIGUOUS);
    l->array[BIAS] = b;
    if (b == NULL)
        return -1;
    if (PyArray_SIZE(b) == (npy_intp)l->outputs &&
        (PyArray_NDIM(b) == 1 || (l->ndim == 1 && PyArray_NDIM(b) == 0)))
        return 0;
    if (l->ndim == 1)
        return refuse_shape(b, "b", "beside W of shape (k,) a number, () or (1,) is wanted");
    PyOS_snprintf(wanted, sizeof wanted, "(%zd,) is wanted, one for each column of W",
                  (Py_ssize_t)l->outputs);
    return refuse_shape(b, "b", wanted);
}

/* An array of the result's shape: dy, y or z. */
static int borrow_like_result(PyObject *value, const char *name, int i, layer *l)
{
    char shape[96], wanted[160];
    PyArrayObject *array = gd_array_input(value, name, l->type, "W", GD_CONTIGUOUS);
    l->array[i] = array;
    if (array == NULL)
        return -1;
    if (PyArray_NDIM(array) == l->ndim &&
        PyArray_CompareLists(PyArray_DIMS(array), l->shape, l->ndim))
        return 0;
    gd_shape_text(l->ndim, l->shape, shape, sizeof shape);
    PyOS_snprintf(wanted, sizeof wanted, "the shape of X @ W, %s, is wanted", shape);
    return refuse_shape(array, name, wanted);
}

static bool given(PyObject *value)
{
    return value != NULL && value != Py_None;
}

/* A row of the table from an object of gdcore.activations or gdcore.losses. */
static int read_function(PyObject *value, int count, gd_function *function)
{
    PyObject *name = PyUnicode_InternFromString("_spec");
    PyObject *spec = name != NULL ? PyObject_GetAttr(value, name) : NULL;
    const int result = spec != NULL ? gd_function_from(spec, count, function) : -1;
    Py_XDECREF(name);
    Py_XDECREF(spec);
    return result;
}

/* The activation, or NULL for none and for the linear one; *failed where it is none of ours. */
static const gd_function *read_activation(PyObject *value, gd_function *function, bool *failed)
{
    *failed = given(value) && read_function(value, GD_ACTIVATIONS, function) < 0;
    return !given(value) || *failed || function->id == GD_ACTIVATION_linear ? NULL : function;
}

static PyArrayObject *new_array(int ndim, const npy_intp *shape, int type)
{
    return (PyArrayObject *)PyArray_SimpleNew(ndim, shape, type);
}

/* ---- dense ---------------------------------------------------------------------------------- */

/* `value` checked as a target apart from the inputs, or where it is absent a new array. */
static PyArrayObject *target_array(PyObject *value, const char *name, const layer *l)
{
    static const char *const inputs[] = {"X", "W", "b"};
    PyArrayObject *array =
        given(value) ? gd_array_output(value, name, l->type, l->ndim, l->shape)
                     : new_array(l->ndim, l->shape, l->type);
    for (int i = X; array != NULL && given(value) && i <= BIAS; i++)
        if (l->array[i] != NULL && gd_array_disjoint(array, name, l->array[i], inputs[i]) < 0)
            Py_CLEAR(array);
    return array;
}

static int borrow_targets(PyObject *out, PyObject *z_out, layer *l)
{
    l->array[Y] = target_array(out, "out", l);
    if (l->array[Y] == NULL || !given(z_out))
        return l->array[Y] != NULL ? 0 : -1;
    l->array[Z] = target_array(z_out, "z_out", l);
    return l->array[Z] != NULL ? gd_array_disjoint(l->array[Z], "z_out", l->array[Y], "out") : -1;
}

PyDoc_STRVAR(dense_doc, "dense(X, W, b=None, activation=None, *, out=None, z_out=None)\n--\n\n"
                        "See gdcore.");

static PyObject *dense(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    static const char *const names[] = {"X", "W", "b", "activation", "out", "z_out", NULL};
    PyObject *arg[6], *result = NULL;
    gd_function row;
    layer l = {.type = NPY_NOTYPE};
    bool failed, enough;
    (void)module;
    if (gd_parse("dense", names, 4, 2, args, nargs, kwnames, arg) < 0)
        return NULL;
    const gd_function *activation = read_activation(arg[3], &row, &failed);
    if (failed || borrow_x_and_w(arg[0], arg[1], &l) < 0 ||
        (given(arg[2]) && borrow_bias(arg[2], &l) < 0) || borrow_targets(arg[4], arg[5], &l) < 0)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    enough = gd_dense(real_size(&l), &l.x, data_of(&l, W), l.outputs, data_of(&l, BIAS),
                      activation, data_of(&l, Y), data_of(&l, Z));
    Py_END_ALLOW_THREADS
    result = enough ? Py_NewRef(l.array[Y]) : PyErr_NoMemory();
done:
    release(&l);
    return result;
}

/* ---- dense_grad ----------------------------------------------------------------------------- */

/* What the activation's gradient reads: y or z, or z where only that can serve. */
static int borrow_y_or_z(const gd_function *activation, PyObject *y, PyObject *z, layer *l)
{
    const gd_function_row *row;
    if (activation == NULL)
        return 0;
    row = &gd_activation_rows[activation->id];
    if (!row->reads_z && given(y))
        return borrow_like_result(y, "y", Y, l);
    if (given(z))
        return borrow_like_result(z, "z", Z, l);
    PyErr_Format(PyExc_ValueError, "the gradient of %s needs %s: pass %s", row->name,
                 row->reads_z ? "z" : "y or z",
                 row->reads_z ? "z=, which dense(..., z_out=) writes"
                              : "y=, the result of dense");
    return -1;
}

static int make_gradients(layer *l, bool need_dx)
{
    const npy_intp outputs = (npy_intp)l->outputs;
    if (need_dx)
        l->array[DX] = new_array(2, PyArray_DIMS(l->array[X]), l->type);
    l->array[DW] = new_array(l->ndim, PyArray_DIMS(l->array[W]), l->type);
    l->array[DB] = new_array(l->ndim - 1, &outputs, l->type);
    return (need_dx && l->array[DX] == NULL) || l->array[DW] == NULL || l->array[DB] == NULL ? -1
                                                                                             : 0;
}

PyDoc_STRVAR(dense_grad_doc, "dense_grad(dy, X, W, y=None, activation=None, *, z=None, "
                             "need_dX=True)\n--\n\nSee gdcore.");

static PyObject *dense_grad(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    static const char *const names[] = {"dy", "X", "W", "y", "activation", "z", "need_dX", NULL};
    PyObject *arg[7], *result = NULL;
    gd_function row;
    layer l = {.type = NPY_NOTYPE};
    bool failed, enough;
    (void)module;
    if (gd_parse("dense_grad", names, 5, 3, args, nargs, kwnames, arg) < 0)
        return NULL;
    const gd_function *activation = read_activation(arg[4], &row, &failed);
    const int need_dx = arg[6] != NULL ? PyObject_IsTrue(arg[6]) : 1;
    if (failed || need_dx < 0 || borrow_x_and_w(arg[1], arg[2], &l) < 0 ||
        borrow_like_result(arg[0], "dy", DY, &l) < 0 ||
        borrow_y_or_z(activation, arg[3], arg[5], &l) < 0 || make_gradients(&l, need_dx) < 0)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    enough = gd_dense_grad(real_size(&l), data_of(&l, DY), &l.x, data_of(&l, W), l.outputs,
                           data_of(&l, Y), data_of(&l, Z), activation, data_of(&l, DX),
                           data_of(&l, DW), data_of(&l, DB));
    Py_END_ALLOW_THREADS
    if (!enough)
        PyErr_NoMemory();
    else
        result = Py_BuildValue("OON", need_dx ? (PyObject *)l.array[DX] : Py_None, l.array[DW],
                               PyArray_Return((PyArrayObject *)Py_NewRef(l.array[DB])));
done:
    release(&l);
    return result;
}

/* ---- linear_value_and_grad ------------------------------------------------------------------ */

static int borrow_y_true(PyObject *value, const gd_function *loss, layer *l)
{
    const gd_function_row *row = &gd_loss_rows[loss->id];
    const bool one_a_row = row->kind == GD_SPARSE || row->kind == GD_PAIRED;
    const int ndim = one_a_row ? 1 : l->ndim;
    char shape[96], wanted[192];
    if (row->kind != GD_POINTWISE && l->ndim == 1) {
        PyErr_Format(PyExc_ValueError,
                     "%s compares the outputs of a row: W of shape (k, m) is wanted, not (k,)",
                     row->name);
        return -1;
    }
    if (row->kind == GD_PAIRED && l->outputs != 2) {
        PyErr_Format(PyExc_ValueError, "%s reads two outputs a row: W of shape (k, 2) is wanted",
                     row->name);
        return -1;
    }
    l->array[TARGET] =
        row->kind == GD_SPARSE
            ? gd_array_labels(value, "y_true", (npy_intp)l->outputs)
            : gd_array_input(value, "y_true", l->type, "W", GD_CONTIGUOUS);
    if (l->array[TARGET] == NULL)
        return -1;
    if (gd_array_agrees(l->array[TARGET], ndim, l->shape))
        return 0;
    gd_shape_text(ndim, l->shape, shape, sizeof shape);
    PyOS_snprintf(wanted, sizeof wanted,
                  "%s is wanted for X @ W, up to axes of length 1 (nothing is broadcast)", shape);
    return refuse_shape(l->array[TARGET], "y_true", wanted);
}

/* db as b came: a number for a number, an array of its shape (0-d too) for an array. */
static PyObject *like_bias(PyObject *b, const layer *l)
{
    PyArrayObject *db = l->array[DB];
    if (!PyArray_Check(b) && PyArray_NDIM(l->array[BIAS]) == 0)
        return PyArray_Return((PyArrayObject *)Py_NewRef(db));
    return Py_NewRef((PyObject *)db);
}

PyDoc_STRVAR(linear_doc, "linear_value_and_grad(X, y_true, W, b, loss)\n--\n\nSee gdcore.");

static PyObject *linear_value_and_grad(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames)
{
    static const char *const names[] = {"X", "y_true", "W", "b", "loss", NULL};
    PyObject *arg[5], *result = NULL;
    gd_function loss;
    layer l = {.type = NPY_NOTYPE};
    bool enough;
    double value;
    (void)module;
    if (gd_parse("linear_value_and_grad", names, 5, 5, args, nargs, kwnames, arg) < 0 ||
        read_function(arg[4], GD_LOSSES, &loss) < 0)
        return NULL;
    if (borrow_x_and_w(arg[0], arg[2], &l) < 0 || borrow_bias(arg[3], &l) < 0 ||
        borrow_y_true(arg[1], &loss, &l) < 0)
        goto done;
    l.array[DW] = new_array(l.ndim, PyArray_DIMS(l.array[W]), l.type);
    l.array[DB] = new_array(PyArray_NDIM(l.array[BIAS]), PyArray_DIMS(l.array[BIAS]), l.type);
    if (l.array[DW] == NULL || l.array[DB] == NULL)
        goto done;
    Py_BEGIN_ALLOW_THREADS
    enough = gd_linear_value_and_grad(real_size(&l), &l.x, data_of(&l, TARGET), data_of(&l, W),
                                      l.outputs, data_of(&l, BIAS), &loss, &value,
                                      data_of(&l, DW), data_of(&l, DB));
    Py_END_ALLOW_THREADS
    result = enough ? Py_BuildValue("N(ON)", gd_scalar(value, l.type), l.array[DW],
                                    like_bias(arg[3], &l))
                    : PyErr_NoMemory();
done:
    release(&l);
    return result;
}

PyMethodDef gd_linear_methods[] = {
    {"dense", (PyCFunction)(void (*)(void))dense, METH_FASTCALL | METH_KEYWORDS, dense_doc},
    {"dense_grad", (PyCFunction)(void (*)(void))dense_grad, METH_FASTCALL | METH_KEYWORDS,
     dense_grad_doc},
    {"linear_value_and_grad", (PyCFunction)(void (*)(void))linear_value_and_grad,
     METH_FASTCALL | METH_KEYWORDS, linear_doc},
    {NULL, NULL, 0, NULL},
};
