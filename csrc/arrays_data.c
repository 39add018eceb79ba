/* temporary */
#include "arrays.h"
#include "gather.h"
int gd_array_source(PyObject *value, const char *name, gd_source *source)
{
    if (!PyArray_Check(value)) { PyErr_Format(PyExc_TypeError, "%s", name); return -1; }
    PyArrayObject *a = (PyArrayObject *)value;
    static const int types[] = {NPY_FLOAT32, NPY_FLOAT64, NPY_BOOL, NPY_INT8, NPY_UINT8, NPY_INT16, NPY_UINT16, NPY_INT32, NPY_UINT32, NPY_INT64, NPY_UINT64};
    int t = -1;
    for (int i = 0; i < 11; i++) if (PyArray_TYPE(a) == types[i]) t = i;
    if (t < 0 || PyArray_NDIM(a) < 1 || PyArray_NDIM(a) > 2) { PyErr_Format(PyExc_TypeError, "%s", name); return -1; }
    *source = (gd_source){PyArray_DATA(a), (gd_data_type)t, (size_t)PyArray_DIM(a, 0), PyArray_NDIM(a) > 1 ? (size_t)PyArray_DIM(a, 1) : 1, PyArray_STRIDE(a, 0), PyArray_NDIM(a) > 1 ? PyArray_STRIDE(a, 1) : PyArray_ITEMSIZE(a)};
    return 0;
}
