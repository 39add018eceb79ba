/* module_ufuncs.c: the elementwise activations as NumPy ufuncs of float32 and float64. Booleans and
 * integers go to float64; float16, long double, complex and object are a TypeError. */
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

/* One inner loop of NumPy's. The floating-point flags are left as they were found: plain functions
 * follow IEEE 754 and warn of nothing. */
static void map(size_t size, gd_activation_fn *forward, char **args, const npy_intp *dimensions,
                const npy_intp *steps)
{
    const size_t n = (size_t)dimensions[0];
    const npy_intp whole = (npy_intp)size;
    double x[UFUNC_BLOCK], y[UFUNC_BLOCK];
    fexcept_t flags;
    fegetexceptflag(&flags, FE_ALL_EXCEPT);
    if (steps[0] == whole && steps[1] == whole && aligned(args[0], size) &&
        aligned(args[1], size)) {
        forward(1, n, args[0], args[1], NULL);
    } else {
        for (size_t i = 0; i < n; i += UFUNC_BLOCK) {
            const size_t count = n - i < UFUNC_BLOCK ? n - i : UFUNC_BLOCK;
            gather((char *)x, args[0] + (npy_intp)i * steps[0], steps[0], count, size);
            forward(1, count, x, y, NULL);
            scatter((char *)y, args[1] + (npy_intp)i * steps[1], steps[1], count, size);
        }
    }
    fesetexceptflag(&flags, FE_ALL_EXCEPT);
}

static gd_activation_fn *forward_of(size_t size, const void *row)
{
    return gd_kernels_for(size)->activation[(const gd_function_row *)row - gd_activation_rows]
        .forward;
}

static void loop_f32(char **args, const npy_intp *dimensions, const npy_intp *steps, void *row)
{
    map(sizeof(float), forward_of(sizeof(float), row), args, dimensions, steps);
}

static void loop_f64(char **args, const npy_intp *dimensions, const npy_intp *steps, void *row)
{
    map(sizeof(double), forward_of(sizeof(double), row), args, dimensions, steps);
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

/* NumPy would send float16 and small integers to float32, the first loop that holds them. */
static int resolve(PyUFuncObject *ufunc, NPY_CASTING casting, PyArrayObject **operands,
                   PyObject *type_tuple, PyArray_Descr **descrs)
{
    const int type = loop_type(ufunc, operands[0]);
    if (type < 0)
        return -1;
    if (type_tuple != NULL)
        return PyUFunc_DefaultTypeResolver(ufunc, casting, operands, type_tuple, descrs);
    for (int i = 0; i < 2; i++)
        descrs[i] = PyArray_DescrFromType(type);
    if (PyUFunc_ValidateCasting(ufunc, casting, operands, descrs) < 0) {
        Py_CLEAR(descrs[0]);
        Py_CLEAR(descrs[1]);
        return -1;
    }
    return 0;
}

/* ---- Docstrings ------------------------------------------------------------------------------ */

/* Of a row: help, references or nothing, name, example. NumPy puts the signature in front. */
static const char doc_format[] =
    "%s, element by element.\n\n"
    "Parameters\n----------\n"
    "x : array-like\n"
    "    float32 or float64; booleans and integers are read as float64.\n"
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
    "%s%s%s"
    "Examples\n--------\n"
    ">>> gd.%s([-1.0, 0.0, 2.0])\n"
    "array(%s)\n";

static char docs[GD_ACTIVATIONS][sizeof doc_format + 256]; /* a ufunc keeps the pointer */

/* Write the docstring of row i; -1 with an exception where it has no room. */
static int write_doc(int i)
{
    const gd_function_row *row = &gd_activation_rows[i];
    const bool cited = row->paper[0] != '\0';
    const int length = PyOS_snprintf(docs[i], sizeof docs[i], doc_format, row->help,
                                     cited ? "References\n----------\n" : "", row->paper,
                                     cited ? "\n\n" : "", row->name, row->example);
    if (length >= 0 && (size_t)length < sizeof docs[i])
        return 0;
    PyErr_Format(PyExc_ImportError, "the docstring of %s has no room", row->name);
    return -1;
}

/* ---- The ufuncs ------------------------------------------------------------------------------ */

static PyUFuncGenericFunction loops[] = {loop_f32, loop_f64};
static const char loop_types[] = {NPY_FLOAT32, NPY_FLOAT32, NPY_FLOAT64, NPY_FLOAT64};
static void *loop_data[GD_ACTIVATIONS][2];

int gd_add_ufuncs(PyObject *module)
{
    for (int i = 0; i < GD_ACTIVATIONS; i++) {
        const gd_function_row *row = &gd_activation_rows[i];
        if (row->kind != GD_ELEMENTWISE)
            continue;
        loop_data[i][0] = loop_data[i][1] = (void *)row;
        PyObject *ufunc = write_doc(i) == 0
                              ? PyUFunc_FromFuncAndData(loops, loop_data[i], loop_types, 2, 1, 1,
                                                        PyUFunc_None, row->name, docs[i], 0)
                              : NULL;
        if (ufunc == NULL)
            return -1;
        ((PyUFuncObject *)ufunc)->type_resolver = resolve;
        const int status = PyModule_AddObjectRef(module, row->name, ufunc);
        Py_DECREF(ufunc);
        if (status < 0)
            return -1;
    }
    return 0;
}
