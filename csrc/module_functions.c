/* module_functions.c: activations and losses over whole arrays, sums and norms, and clipping.
 * The public functions of gdcore/activations.py and losses.py check names and shapes' meaning;
 * here arrays are borrowed, the GIL released and one engine function called. */
#include <math.h>

#include "loss.h"
#include "module.h"
#include "reduce.h"

static PyArrayObject *new_like(PyArrayObject *array)
{
    return (PyArrayObject *)PyArray_SimpleNew(PyArray_NDIM(array), PyArray_DIMS(array),
                                              PyArray_TYPE(array));
}

/* Rows and width of an array whose last axis is the row; a 0-d array is one row of one. Rows of
 * nothing are none: their number may be anything, and so would be the time to go through them. */
static void rows_and_width(PyArrayObject *array, size_t *rows, size_t *width)
{
    const int ndim = PyArray_NDIM(array);
    *width = ndim > 0 ? (size_t)PyArray_DIM(array, ndim - 1) : 1;
    *rows = 1;
    for (int i = 0; i < ndim - 1; i++)
        *rows *= (size_t)PyArray_DIM(array, i);
    if (*width == 0)
        *rows = 0;
}

/* 0 where the shapes are equal, else -1 with a ValueError. */
static int same_shape(PyArrayObject *a, const char *a_name, PyArrayObject *b, const char *b_name)
{
    char a_text[96], b_text[96];
    if (PyArray_SAMESHAPE(a, b))
        return 0;
    gd_shape_text(PyArray_NDIM(a), PyArray_DIMS(a), a_text, sizeof a_text);
    gd_shape_text(PyArray_NDIM(b), PyArray_DIMS(b), b_text, sizeof b_text);
    PyErr_Format(PyExc_ValueError, "%s has shape %s but %s has %s; equal shapes are wanted",
                 a_name, a_text, b_name, b_text);
    return -1;
}

/* ---- Activations ----------------------------------------------------------------------------- */

PyDoc_STRVAR(activate_doc, "activate(spec, z)\n--\n\nA row of the activations, along the last "
                           "axis where it is rowwise.");

static PyObject *activate(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    static const char *const names[] = {"spec", "z", NULL};
    PyObject *arg[2];
    gd_function row;
    size_t rows, width;
    (void)module;
    if (gd_parse("activate", names, 2, 2, args, nargs, NULL, arg) < 0 ||
        gd_function_from(arg[0], GD_ACTIVATIONS, &row) < 0)
        return NULL;
    PyArrayObject *z = gd_array_input(arg[1], "z", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    PyArrayObject *y = z != NULL ? new_like(z) : NULL;
    if (y != NULL) {
        const gd_kernels *kernels = gd_kernels_for((size_t)PyArray_ITEMSIZE(z));
        rows_and_width(z, &rows, &width);
        Py_BEGIN_ALLOW_THREADS
        kernels->activation[row.id].forward(rows, width, PyArray_DATA(z), PyArray_DATA(y),
                                            row.param);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(z);
    return PyArray_Return(y);
}

PyDoc_STRVAR(activate_grad_doc, "activate_grad(spec, dy, z, y)\n--\n\nGradient with respect to z; "
                                "the one of z and y that the row does not read may be None.");

static PyObject *activate_grad(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    static const char *const names[] = {"spec", "dy", "z", "y", NULL};
    PyObject *arg[4];
    gd_function row;
    size_t rows, width;
    (void)module;
    if (gd_parse("activate_grad", names, 4, 4, args, nargs, NULL, arg) < 0 ||
        gd_function_from(arg[0], GD_ACTIVATIONS, &row) < 0)
        return NULL;
    const bool reads_z = gd_activation_rows[row.id].reads_z;
    const char *name = reads_z ? "z" : "y";
    PyArrayObject *dz = NULL;
    PyArrayObject *x =
        gd_array_input(reads_z ? arg[2] : arg[3], name, NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    PyArrayObject *dy =
        x != NULL ? gd_array_input(arg[1], "dy", PyArray_TYPE(x), name, GD_CONTIGUOUS) : NULL;
    if (dy != NULL && same_shape(dy, "dy", x, name) == 0 && (dz = new_like(x)) != NULL) {
        const gd_kernels *kernels = gd_kernels_for((size_t)PyArray_ITEMSIZE(x));
        rows_and_width(x, &rows, &width);
        Py_BEGIN_ALLOW_THREADS
        kernels->activation[row.id].backward(rows, width, PyArray_DATA(dy), PyArray_DATA(x),
                                             PyArray_DATA(x), PyArray_DATA(dz), row.param);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(x);
    Py_XDECREF(dy);
    return PyArray_Return(dz);
}

PyDoc_STRVAR(check_doc, "check_activation(spec)\n--\n\nWhat is wrong with the row's parameters, or "
                        "None.");

static PyObject *check_activation(PyObject *module, PyObject *spec)
{
    gd_function row;
    (void)module;
    if (gd_function_from(spec, GD_ACTIVATIONS, &row) < 0)
        return NULL;
    const char *message = gd_activation_rows[row.id].check(row.param);
    if (message == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(message);
}

/* ---- Losses ---------------------------------------------------------------------------------- */

/* ndim and shape are y_pred's when it came: converting another argument may run user code, which
 * may give the array another shape. */
typedef struct {
    PyArrayObject *pred, *target, *weights, *losses, *grad;
    int type, ndim;
    npy_intp shape[NPY_MAXDIMS];
} loss_arrays;

static void release(loss_arrays *a)
{
    Py_XDECREF(a->pred);
    Py_XDECREF(a->target);
    Py_XDECREF(a->weights);
    Py_XDECREF(a->losses);
    Py_XDECREF(a->grad);
}

/* 0 where the target's shape agrees, else -1 with a ValueError. */
static int check_target_shape(PyArrayObject *true_, int pred_ndim, const npy_intp *pred_shape,
                              const char *wanted)
{
    char found[96], text[96];
    if (gd_array_agrees(true_, pred_ndim, pred_shape))
        return 0;
    gd_shape_text(PyArray_NDIM(true_), PyArray_DIMS(true_), found, sizeof found);
    gd_shape_text(pred_ndim, pred_shape, text, sizeof text);
    PyErr_Format(PyExc_ValueError,
                 "y_true has shape %s; %s %s is wanted, up to axes of length 1 (nothing is "
                 "broadcast)",
                 found, wanted, text);
    return -1;
}

static int borrow_pred(PyObject *value, loss_arrays *a)
{
    a->pred = gd_array_input(value, "y_pred", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    if (a->pred == NULL)
        return -1;
    a->type = PyArray_TYPE(a->pred);
    a->ndim = PyArray_NDIM(a->pred);
    for (int i = 0; i < a->ndim; i++)
        a->shape[i] = PyArray_DIM(a->pred, i);
    return 0;
}

static int refuse_pairs(const loss_arrays *a)
{
    char found[96];
    gd_shape_text(a->ndim, a->shape, found, sizeof found);
    PyErr_Format(PyExc_ValueError,
                 "y_pred has shape %s; a last axis of length 2 is wanted, the two predictions for "
                 "each target (np.stack([first, second], axis=-1))",
                 found);
    return -1;
}

static int borrow_target(PyObject *value, gd_kind kind, loss_arrays *a)
{
    const int ndim = a->ndim;
    const npy_intp *shape = a->shape, last = ndim > 0 ? shape[ndim - 1] : 1;
    if (kind == GD_PAIRED && last != 2)
        return refuse_pairs(a);
    a->target = kind == GD_SPARSE
                    ? gd_array_labels(value, "y_true", last)
                    : gd_array_input(value, "y_true", a->type, "y_pred", GD_CONTIGUOUS);
    if (a->target == NULL)
        return -1;
    if (kind == GD_SPARSE || kind == GD_PAIRED)
        return check_target_shape(a->target, ndim > 0 ? ndim - 1 : 0, shape,
                                  "y_pred's shape without its last axis,");
    return check_target_shape(a->target, ndim, shape, "y_pred's shape");
}

static int borrow_weights(PyObject *value, npy_intp rows, loss_arrays *a)
{
    if (value == Py_None)
        return 0;
    a->weights = gd_array_input(value, "sample_weight", a->type, "y_pred", GD_CONTIGUOUS);
    if (a->weights == NULL)
        return -1;
    if (PyArray_SIZE(a->weights) == rows)
        return 0;
    PyErr_Format(PyExc_ValueError,
                 "sample_weight has %zd elements; one for each of the %zd rows of y_pred is wanted",
                 (Py_ssize_t)PyArray_SIZE(a->weights), (Py_ssize_t)rows);
    return -1;
}

/* The rows of a loss: axis 0, or for losses per row everything but the last axis. A 1-D or 0-d
 * prediction of a pointwise loss has one output per row. */
static void loss_shape(const loss_arrays *a, gd_kind kind, size_t *rows, size_t *width)
{
    const int row_axes = a->ndim == 0 ? 0 : kind == GD_POINTWISE ? 1 : a->ndim - 1;
    *rows = *width = 1;
    for (int i = 0; i < a->ndim; i++)
        *(i < row_axes ? rows : width) *= (size_t)a->shape[i];
}

/* The arrays of losses (reduction "none") and of the gradient. */
static int make_outputs(gd_kind kind, gd_reduction reduction, bool want_grad, loss_arrays *a)
{
    const int ndim = a->ndim;
    if (reduction == GD_NONE)
        a->losses = (PyArrayObject *)PyArray_SimpleNew(
            kind == GD_POINTWISE || ndim == 0 ? ndim : ndim - 1, a->shape, a->type);
    if (want_grad)
        a->grad = (PyArrayObject *)PyArray_SimpleNew(ndim, a->shape, a->type);
    return (reduction == GD_NONE && a->losses == NULL) || (want_grad && a->grad == NULL) ? -1 : 0;
}

/* The gradient of an array is an array, 0-d too; that of a number a NumPy scalar. */
static PyObject *loss_result(const gd_loss_job *job, loss_arrays *a, PyObject *pred)
{
    PyObject *value = a->losses != NULL ? PyArray_Return((PyArrayObject *)Py_NewRef(a->losses))
                                        : gd_scalar(job->value, a->type);
    if (a->grad == NULL || value == NULL)
        return value;
    PyArrayObject *grad = (PyArrayObject *)Py_NewRef(a->grad);
    return Py_BuildValue("NN", value,
                         PyArray_Check(pred) ? (PyObject *)grad : PyArray_Return(grad));
}

PyDoc_STRVAR(loss_doc, "loss(spec, y_true, y_pred, sample_weight, reduction, want_grad)\n--\n\n"
                       "A row of the losses: its value, or (value, gradient) with want_grad.");

static PyObject *loss(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    static const char *const names[] = {"spec",          "y_true",    "y_pred",
                                        "sample_weight", "reduction", "want_grad", NULL};
    PyObject *arg[6], *result = NULL;
    gd_loss_job job = {.value = 0};
    loss_arrays a = {.pred = NULL};
    (void)module;
    if (gd_parse("loss", names, 6, 6, args, nargs, NULL, arg) < 0 ||
        gd_function_from(arg[0], GD_LOSSES, &job.loss) < 0)
        return NULL;
    const gd_kind kind = gd_loss_rows[job.loss.id].kind;
    const long reduction = PyLong_AsLong(arg[4]);
    const int want_grad = PyObject_IsTrue(arg[5]);
    if (PyErr_Occurred())
        return NULL;
    if (reduction < GD_MEAN || reduction > GD_NONE)
        return PyErr_Format(PyExc_ValueError, "there is no reduction %ld", reduction);
    job.reduction = (gd_reduction)reduction;
    if (borrow_pred(arg[2], &a) < 0)
        goto done;
    loss_shape(&a, kind, &job.rows, &job.width);
    /* The target comes last: no user code runs once its class numbers have been checked. */
    if (borrow_weights(arg[3], (npy_intp)job.rows, &a) < 0 ||
        borrow_target(arg[1], kind, &a) < 0 ||
        make_outputs(kind, job.reduction, want_grad != 0, &a) < 0)
        goto done;
    job.real_size = a.type == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    job.target = PyArray_DATA(a.target);
    job.y = PyArray_DATA(a.pred);
    job.weights = a.weights != NULL ? PyArray_DATA(a.weights) : NULL;
    job.losses = a.losses != NULL ? PyArray_DATA(a.losses) : NULL;
    job.dy = a.grad != NULL ? PyArray_DATA(a.grad) : NULL;
    bool enough;
    Py_BEGIN_ALLOW_THREADS
    enough = gd_loss_evaluate(&job);
    Py_END_ALLOW_THREADS
    result = enough ? loss_result(&job, &a, arg[2]) : PyErr_NoMemory();
done:
    release(&a);
    return result;
}

PyDoc_STRVAR(check_loss_doc, "check_loss(spec)\n--\n\nRaise for a parameter outside its domain.");

static PyObject *check_loss(PyObject *module, PyObject *spec)
{
    gd_function loss;
    (void)module;
    if (gd_function_from(spec, GD_LOSSES, &loss) < 0)
        return NULL;
    const gd_function_row *row = &gd_loss_rows[loss.id];
    for (size_t i = 0; row->param[i].name != NULL; i++)
        if (!gd_in_domain(row->param[i].domain, loss.param[i])) {
            PyObject *number = PyFloat_FromDouble(loss.param[i]);
            if (number != NULL)
                PyErr_Format(PyExc_ValueError, "%s: %s is %R; %s is accepted", row->name,
                             row->param[i].name, number, gd_domain_text(row->param[i].domain));
            Py_XDECREF(number);
            return NULL;
        }
    Py_RETURN_NONE;
}

/* ---- Sums, norms, clipping ------------------------------------------------------------------- */

PyDoc_STRVAR(sum_doc, "sum(x)\n--\n\nSum in double by the fixed order of the core.");

static PyObject *sum(PyObject *module, PyObject *value)
{
    (void)module;
    PyArrayObject *x = gd_array_input(value, "x", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    if (x == NULL)
        return NULL;
    const double result =
        gd_sum((size_t)PyArray_ITEMSIZE(x), (size_t)PyArray_SIZE(x), PyArray_DATA(x));
    Py_DECREF(x);
    return PyFloat_FromDouble(result);
}

PyDoc_STRVAR(norm_doc, "norm(x)\n--\n\nEuclidean norm in double by the fixed order of the core.");

static PyObject *norm(PyObject *module, PyObject *value)
{
    (void)module;
    PyArrayObject *x = gd_array_input(value, "x", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    if (x == NULL)
        return NULL;
    const double result =
        gd_norm((size_t)PyArray_ITEMSIZE(x), (size_t)PyArray_SIZE(x), PyArray_DATA(x));
    Py_DECREF(x);
    return PyFloat_FromDouble(result);
}

PyDoc_STRVAR(dot_doc, "dot(x, y)\n--\n\nSum of products in double by the fixed order of the core.");

static PyObject *dot(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    static const char *const names[] = {"x", "y", NULL};
    PyObject *arg[2], *result = NULL;
    (void)module;
    if (gd_parse("dot", names, 2, 2, args, nargs, NULL, arg) < 0)
        return NULL;
    PyArrayObject *x = gd_array_input(arg[0], "x", NPY_NOTYPE, NULL, GD_CONTIGUOUS);
    PyArrayObject *y =
        x != NULL ? gd_array_input(arg[1], "y", PyArray_TYPE(x), "x", GD_CONTIGUOUS) : NULL;
    if (y != NULL && same_shape(y, "y", x, "x") == 0)
        result = PyFloat_FromDouble(gd_dot((size_t)PyArray_ITEMSIZE(x), (size_t)PyArray_SIZE(x),
                                           PyArray_DATA(x), PyArray_DATA(y)));
    Py_XDECREF(x);
    Py_XDECREF(y);
    return result;
}

typedef struct {
    PyObject *arrays; /* list */
    double norm;
    gd_span *spans;
} gradients;

static int gradient_leaf(void *context, PyObject *grad, PyObject *unused, const gd_path *path)
{
    gradients *found = context;
    gd_buffer buffer;
    (void)unused;
    if (gd_step_param(grad, "grads", path, &buffer) < 0)
        return -1;
    const size_t real_size = buffer.type == NPY_FLOAT32 ? sizeof(float) : sizeof(double);
    found->norm = gd_add_norm(found->norm, gd_norm(real_size, buffer.size, buffer.data));
    return PyList_Append(found->arrays, grad);
}

/* 0 where no two share memory: they would be scaled twice. */
static int refuse_overlap(gradients *found, PyObject *grads)
{
    const size_t n = (size_t)PyList_GET_SIZE(found->arrays);
    found->spans = gd_alloc(n, sizeof *found->spans);
    if (found->spans == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        PyArrayObject *array = (PyArrayObject *)PyList_GET_ITEM(found->arrays, (Py_ssize_t)i);
        const char *low = PyArray_BYTES(array);
        found->spans[i] = (gd_span){low, low + PyArray_NBYTES(array), i};
    }
    const gd_span *twice = gd_spans_overlap(found->spans, gd_sort_spans(found->spans, n));
    if (twice == NULL)
        return 0;
    PyObject *first = gd_leaf_name(grads, "grads", twice[0].index);
    PyObject *second = first != NULL ? gd_leaf_name(grads, "grads", twice[1].index) : NULL;
    if (second != NULL)
        PyErr_Format(PyExc_ValueError,
                     "%U and %U are the same array or share memory; each gradient is scaled once: "
                     "pass it once, or a copy",
                     first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return -1;
}

static void scale_gradients(PyObject *arrays, double factor)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(arrays); i++) {
        PyArrayObject *g = (PyArrayObject *)PyList_GET_ITEM(arrays, i);
        gd_kernels_for((size_t)PyArray_ITEMSIZE(g))
            ->weigh(1, (size_t)PyArray_SIZE(g), NULL, factor, PyArray_DATA(g));
    }
}

PyDoc_STRVAR(clip_doc, "clip_by_global_norm(grads, max_norm)\n--\n\nSee gdcore.");

static PyObject *clip_by_global_norm(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *kwnames)
{
    static const char *const names[] = {"grads", "max_norm", NULL};
    PyObject *arg[2], *result = NULL;
    (void)module;
    if (gd_parse("clip_by_global_norm", names, 2, 2, args, nargs, kwnames, arg) < 0)
        return NULL;
    const double limit = PyFloat_AsDouble(arg[1]);
    const bool failed = limit == -1.0 && PyErr_Occurred() != NULL;
    const bool no_number = failed && PyErr_ExceptionMatches(PyExc_TypeError);
    if (failed && !no_number)
        return NULL;
    if (!(limit >= 0))
        return PyErr_Format(no_number ? PyExc_TypeError : PyExc_ValueError,
                            "max_norm is %R; a number >= 0 is accepted", arg[1]);
    gradients found = {PyList_New(0), 0, NULL};
    if (found.arrays != NULL && gd_walk(arg[0], NULL, gradient_leaf, &found) == 0 &&
        refuse_overlap(&found, arg[0]) == 0)
        result = PyFloat_FromDouble(found.norm);
    if (result != NULL && found.norm > limit)
        scale_gradients(found.arrays, limit / found.norm);
    gd_free(found.spans);
    Py_XDECREF(found.arrays);
    return result;
}

PyMethodDef gd_function_methods[] = {
    {"activate", (PyCFunction)(void (*)(void))activate, METH_FASTCALL, activate_doc},
    {"activate_grad", (PyCFunction)(void (*)(void))activate_grad, METH_FASTCALL,
     activate_grad_doc},
    {"check_activation", check_activation, METH_O, check_doc},
    {"loss", (PyCFunction)(void (*)(void))loss, METH_FASTCALL, loss_doc},
    {"check_loss", check_loss, METH_O, check_loss_doc},
    {"sum", sum, METH_O, sum_doc},
    {"norm", norm, METH_O, norm_doc},
    {"dot", (PyCFunction)(void (*)(void))dot, METH_FASTCALL, dot_doc},
    {"clip_by_global_norm", (PyCFunction)(void (*)(void))clip_by_global_norm,
     METH_FASTCALL | METH_KEYWORDS, clip_doc},
    {NULL, NULL, 0, NULL},
};
