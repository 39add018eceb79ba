/* arrays_data.c: looks inside arrays of data to train on, and says what is wrong with them. Nothing
 * is converted or copied here: gather.c reads such arrays where they are. */
#include "arrays.h"

/* GD_DATA_TYPES where there is none. By kind and size: C has several types of one size. */
static gd_data_type data_type(PyArrayObject *array)
{
    static const gd_data_type whole[2][4] = {
        {GD_DATA_I8, GD_DATA_I16, GD_DATA_I32, GD_DATA_I64},
        {GD_DATA_U8, GD_DATA_U16, GD_DATA_U32, GD_DATA_U64},
    };
    const char kind = PyArray_DESCR(array)->kind;
    const npy_intp size = PyArray_ITEMSIZE(array);
    if (kind == 'b')
        return GD_DATA_BOOL;
    if (kind == 'f')
        return size == 4 ? GD_DATA_F32 : size == 8 ? GD_DATA_F64 : GD_DATA_TYPES;
    for (int i = 0; (kind == 'i' || kind == 'u') && i < 4; i++)
        if (size == 1 << i)
            return whole[kind == 'u'][i];
    return GD_DATA_TYPES;
}

static int refuse_type(PyArrayObject *array, const char *name)
{
    PyErr_Format(PyExc_TypeError,
                 "%s has dtype %S; float32, float64, integers and booleans are accepted: convert "
                 "it once with %s.astype(np.float32) or %s.astype(np.float64)",
                 name, (PyObject *)PyArray_DESCR(array), name, name);
    return -1;
}

static int refuse_shape(PyArrayObject *array, const char *name)
{
    char shape[128];
    gd_shape_text(PyArray_NDIM(array), PyArray_DIMS(array), shape, sizeof shape);
    PyErr_Format(PyExc_ValueError,
                 "%s has shape %s; rows and columns (2-D) or one column (1-D) are accepted: "
                 "%s.reshape(len(%s), -1) makes a row of each element of the first axis",
                 name, shape, name, name);
    return -1;
}

static int check_memory(PyArrayObject *array, const char *name)
{
    if (!PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_ValueError,
                     "%s has non-native byte order (%S); native order is accepted: convert it once "
                     "with %s.astype(%s.dtype.newbyteorder('='))",
                     name, (PyObject *)PyArray_DESCR(array), name, name);
        return -1;
    }
    if (!PyArray_ISALIGNED(array)) {
        PyErr_Format(PyExc_ValueError,
                     "%s is not aligned to its type (a view into packed bytes?); aligned memory is "
                     "accepted: %s.copy() gives it",
                     name, name);
        return -1;
    }
    return 0;
}

int gd_array_source(PyObject *value, const char *name, gd_source *source)
{
    if (!PyArray_Check(value)) {
        PyErr_Format(PyExc_TypeError,
                     "%s is %.80s; a NumPy array of rows and columns (2-D) or of one column (1-D) "
                     "is accepted: np.asarray(%s) may give one",
                     name, Py_TYPE(value)->tp_name, name);
        return -1;
    }
    PyArrayObject *array = (PyArrayObject *)value;
    if (gd_array_unmasked(array, name) < 0) /* first: it may run code of a subclass */
        return -1;
    const int ndim = PyArray_NDIM(array);
    const gd_data_type type = data_type(array);
    if (type == GD_DATA_TYPES)
        return refuse_type(array, name);
    if (ndim < 1 || ndim > 2)
        return refuse_shape(array, name);
    if (check_memory(array, name) < 0)
        return -1;
    const npy_intp size = PyArray_ITEMSIZE(array);
    const npy_intp rows = PyArray_DIM(array, 0), columns = ndim == 2 ? PyArray_DIM(array, 1) : 1;
    const bool empty = PyArray_SIZE(array) == 0; /* NumPy's strides are 0 then */
    *source = (gd_source){
        .data = PyArray_BYTES(array),
        .type = type,
        .rows = (size_t)rows,
        .columns = (size_t)columns,
        .row_stride = rows > 1 && !empty ? PyArray_STRIDE(array, 0) : columns * size,
        .column_stride = columns > 1 && !empty ? PyArray_STRIDE(array, 1) : size,
    };
    return 0;
}
