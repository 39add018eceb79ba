/* module_ufuncs.c: the elementwise activations as NumPy ufuncs of float32 and float64, with their
 * default parameters; prelu takes its parameter as second operand. Booleans and integers go to
 * float64; float16, long double, complex and object are a TypeError. */
#include <fenv.h>
#include <string.h>

#include "module.h"

/* ---- Loops ----------------------------------------------------------------------------------- */

enum { UFUNC_BLOCK = 512 }; /* elements of a strided operand that pass through the stack at once */

static void gather(char *block, const char *from, npy_intp stride, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++, from += stride)
        memcpy(block + i * size, from, size);
}

static void scatter(const char *block, char *to, npy_intp stride, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++, to += stride)
        memcpy(to, block + i * size, size);
}

static bool aligned(const void *memory, size_t size)
{
    return (uintptr_t)memory % size == 0;
}

/* A row of the table in one real type. */
typedef struct {
    size_t size;
    gd_activation_fn *forward;
    gd_prelu_fn *prelu; /* forward with a parameter for each element, NULL for one operand */
    double param[GD_MAX_PARAMS];
} job;

/* y = act(x) for contiguous operands; alpha is NULL where the job's parameters hold throughout. */
static void run(const job *j, size_t n, const void *x, const void *alpha, void *y)
{
    if (alpha != NULL)
        j->prelu(n, x, alpha, y);
    else
        j->forward(1, n, x, y, j->param);
}

static bool contiguous(size_t size, const char *memory, npy_intp step)
{
    return step == (npy_intp)size && aligned(memory, size);
}

/* Operands of any strides, block by block; the second of three may be left out (step 0). */
static void run_blocks(const job *j, char **args, size_t n, const npy_intp *steps, bool each)
{
    double x[UFUNC_BLOCK], alpha[UFUNC_BLOCK], y[UFUNC_BLOCK];
    const int out = j->prelu != NULL ? 2 : 1;
    for (size_t i = 0; i < n; i += UFUNC_BLOCK) {
        const size_t count = n - i < UFUNC_BLOCK ? n - i : UFUNC_BLOCK;
        gather((char *)x, args[0] + (npy_intp)i * steps[0], steps[0], count, j->size);
        if (each)
            gather((char *)alpha, args[1] + (npy_intp)i * steps[1], steps[1], count, j->size);
        run(j, count, x, each ? alpha : NULL, y);
        scatter((char *)y, args[out] + (npy_intp)i * steps[out], steps[out], count, j->size);
    }
}

/* One inner loop of NumPy's. The floating-point flags are left as they were found: plain functions
 * follow IEEE 754 and warn of nothing. A parameter that stands still goes the way of the others. */
static void map(job *j, char **args, const npy_intp *dimensions, const npy_intp *steps)
{
    const size_t n = (size_t)dimensions[0];
    const int out = j->prelu != NULL ? 2 : 1;
    const bool each = j->prelu != NULL && steps[1] != 0;
    float narrow;
    fexcept_t flags;
    fegetexceptflag(&flags, FE_ALL_EXCEPT);
    if (j->prelu != NULL && !each && n > 0) {
        memcpy(j->size == sizeof narrow ? (void *)&narrow : j->param, args[1], j->size);
        if (j->size == sizeof narrow)
            j->param[0] = (double)narrow;
    }
    if (contiguous(j->size, args[0], steps[0]) && contiguous(j->size, args[out], steps[out]) &&
        (!each || contiguous(j->size, args[1], steps[1])))
        run(j, n, args[0], each ? args[1] : NULL, args[out]);
    else
        run_blocks(j, args, n, steps, each);
    fesetexceptflag(&flags, FE_ALL_EXCEPT);
}

static job job_of(size_t size, const gd_function_row *row)
{
    const gd_kernels *kernels = gd_kernels_for(size);
    job j = {
        .size = size,
        .forward = kernels->activation[row - gd_activation_rows].forward,
        .prelu = row->kind == GD_BINARY ? kernels->prelu : NULL,
    };
    for (int i = 0; row->param[i].name != NULL; i++)
        j.param[i] = row->param[i].value;
    return j;
}

static void loop_f32(char **args, const npy_intp *dimensions, const npy_intp *steps, void *row)
{
    job j = job_of(sizeof(float), row);
    map(&j, args, dimensions, steps);
}

static void loop_f64(char **args, const npy_intp *dimensions, const npy_intp *steps, void *row)
{
    job j = job_of(sizeof(double), row);
    map(&j, args, dimensions, steps);
}

/* ---- Types ----------------------------------------------------------------------------------- */

/* The type to compute in, or -1 with an exception. */
static int loop_type(PyUFuncObject *ufunc, PyArrayObject *operand)
{
    const int type = PyArray_TYPE(operand);
    if (type == NPY_FLOAT32 || type == NPY_FLOAT64)
        return type;
    if (PyTypeNum_ISINTEGER(type) || PyTypeNum_ISBOOL(type))
        return NPY_FLOAT64;
    PyErr_Format(PyExc_TypeError,
                 "%s: dtype %S is not supported; float32, float64, integers and booleans are: "
                 "convert it with .astype(np.float64) or .astype(np.float32)",
                 ufunc->name, (PyObject *)PyArray_DESCR(operand));
    return -1;
}

/* Every operand in one type; -1 with an exception where that is no safe cast. */
static int all_of_type(PyUFuncObject *ufunc, int type, NPY_CASTING casting,
                       PyArrayObject **operands, PyArray_Descr **descrs)
{
    for (int i = 0; i < ufunc->nargs; i++)
        descrs[i] = PyArray_DescrFromType(type);
    const int status = PyUFunc_ValidateCasting(ufunc, casting, operands, descrs);
    for (int i = 0; status < 0 && i < ufunc->nargs; i++)
        Py_CLEAR(descrs[i]);
    return status;
}

/* NumPy would send float16 and small integers to float32, the first loop that holds them. */
static int resolve(PyUFuncObject *ufunc, NPY_CASTING casting, PyArrayObject **operands,
                   PyObject *type_tuple, PyArray_Descr **descrs)
{
    const int type = loop_type(ufunc, operands[0]);
    if (type < 0)
        return -1;
    return type_tuple != NULL
               ? PyUFunc_DefaultTypeResolver(ufunc, casting, operands, type_tuple, descrs)
               : all_of_type(ufunc, type, casting, operands, descrs);
}

/* Two operands are of one type, but a Python number fits any. NumPy keeps what it resolved for a
 * pair of types, so that nothing but types may decide here. */
static int resolve_pair(PyUFuncObject *ufunc, NPY_CASTING casting, PyArrayObject **operands,
                        PyObject *type_tuple, PyArray_Descr **descrs)
{
    if (loop_type(ufunc, operands[1]) < 0)
        return -1;
    if (type_tuple != NULL || !PyArray_ISFLOAT(operands[0])) {
        if (resolve(ufunc, casting, operands, type_tuple, descrs) < 0)
            return -1;
    } else if (loop_type(ufunc, operands[0]) < 0 ||
               PyUFunc_DefaultTypeResolver(ufunc, casting, operands, NULL, descrs) < 0) {
        return -1;
    }
    if (type_tuple != NULL || descrs[2]->type_num == NPY_FLOAT32 ||
        (PyArray_TYPE(operands[0]) != NPY_FLOAT32 && PyArray_TYPE(operands[1]) != NPY_FLOAT32))
        return 0;
    PyErr_Format(PyExc_TypeError,
                 "%s: alpha is %S but x is %S; equal types are wanted (a Python number fits "
                 "both): convert one with .astype",
                 ufunc->name, (PyObject *)PyArray_DESCR(operands[1]),
                 (PyObject *)PyArray_DESCR(operands[0]));
    for (int i = 0; i < 3; i++)
        Py_CLEAR(descrs[i]);
    return -1;
}

/* ---- Docstrings ------------------------------------------------------------------------------ */

/* Of a row: help, second operand or nothing, parameters or nothing, references or nothing, name,
 * second operand, example. NumPy puts the signature in front. */
static const char doc_format[] =
    "%s, element by element.\n\n"
    "Parameters\n----------\n"
    "x : array-like\n"
    "    float32 or float64; booleans and integers are read as float64.\n"
    "%s"
    "out : ndarray, or tuple of one, optional\n"
    "    Where to write, of a shape that x broadcasts to; may be x itself.\n"
    "where : array-like of bool, optional\n"
    "    Where to compute; elsewhere out keeps what it holds.\n"
    "**kwargs\n"
    "    Those of every NumPy ufunc: dtype, casting, order, subok, signature.\n\n"
    "Returns\n-------\n"
    "y : ndarray or NumPy scalar\n"
    "    Of the shape of x; float32 for float32, else float64. IEEE 754 holds for infinities and\n"
    "    NaN, and nothing warns.\n\n"
    "Raises\n------\n"
    "TypeError\n"
    "    For float16, long double, complex and object.\n\n"
    "%s%s%s%s"
    "Examples\n--------\n"
    ">>> gd.%s([-1.0, 0.0, 2.0]%s)\n"
    "array(%s)\n";

static const char alpha_doc[] =
    "alpha : array-like\n"
    "    The slope below 0: a Python number, or an array of x's type that broadcasts with x (one\n"
    "    for each entry of the last axis, say).\n";

enum { DOC_ROOM = sizeof doc_format + sizeof alpha_doc + 512 };

static char docs[GD_ACTIVATIONS][DOC_ROOM]; /* a ufunc keeps the pointer */

/* "slope = 0.01" and the like into text, cut where it has no room. */
static void write_params(const gd_function_row *row, char *text, size_t room)
{
    size_t used = 0;
    for (int i = 0; row->param[i].name != NULL && used < room; i++) {
        const int length = PyOS_snprintf(text + used, room - used, "%s%s = %g", i > 0 ? ", " : "",
                                         row->param[i].name, row->param[i].value);
        used += length > 0 ? (size_t)length : room;
    }
}

/* Write the docstring of row i; -1 with an exception where it has no room. */
static int write_doc(int i)
{
    const gd_function_row *row = &gd_activation_rows[i];
    const bool cited = row->paper[0] != '\0', binary = row->kind == GD_BINARY;
    char params[64], notes[192] = "", alpha[32] = "";
    write_params(row, params, sizeof params);
    if (binary)
        PyOS_snprintf(alpha, sizeof alpha, ", %g", row->param[0].value);
    else if (row->param[0].name != NULL)
        PyOS_snprintf(notes, sizeof notes,
                      "Notes\n-----\n%s; other values:\n"
                      "``gd.activations.get(\"%s\", %s=...)``.\n\n",
                      params, row->name, row->param[0].name);
    const int length = PyOS_snprintf(
        docs[i], sizeof docs[i], doc_format, row->help, binary ? alpha_doc : "", notes,
        cited ? "References\n----------\n" : "", row->paper, cited ? "\n\n" : "", row->name, alpha,
        row->example);
    if (length >= 0 && (size_t)length < sizeof docs[i])
        return 0;
    PyErr_Format(PyExc_ImportError, "the docstring of %s has no room", row->name);
    return -1;
}

/* ---- The ufuncs ------------------------------------------------------------------------------ */

static PyUFuncGenericFunction loops[] = {loop_f32, loop_f64};
static const char loop_types[] = {NPY_FLOAT32, NPY_FLOAT32, NPY_FLOAT64, NPY_FLOAT64};
static const char binary_types[] = {NPY_FLOAT32, NPY_FLOAT32, NPY_FLOAT32,
                                    NPY_FLOAT64, NPY_FLOAT64, NPY_FLOAT64};
static void *loop_data[GD_ACTIVATIONS][2];

/* The ufunc of row i, or NULL with an exception. */
static PyObject *make_ufunc(int i)
{
    const gd_function_row *row = &gd_activation_rows[i];
    const bool binary = row->kind == GD_BINARY;
    loop_data[i][0] = loop_data[i][1] = (void *)row;
    if (write_doc(i) < 0)
        return NULL;
    PyObject *ufunc =
        PyUFunc_FromFuncAndData(loops, loop_data[i], binary ? binary_types : loop_types, 2,
                                binary ? 2 : 1, 1, PyUFunc_None, row->name, docs[i], 0);
    if (ufunc != NULL)
        ((PyUFuncObject *)ufunc)->type_resolver = binary ? resolve_pair : resolve;
    return ufunc;
}

int gd_add_ufuncs(PyObject *module)
{
    for (int i = 0; i < GD_ACTIVATIONS; i++) {
        const gd_function_row *row = &gd_activation_rows[i];
        if (row->kind != GD_ELEMENTWISE && row->kind != GD_BINARY)
            continue;
        PyObject *ufunc = make_ufunc(i);
        if (ufunc == NULL)
            return -1;
        const int status = PyModule_AddObjectRef(module, row->name, ufunc);
        Py_DECREF(ufunc);
        if (status < 0)
            return -1;
    }
    return 0;
}
