/* module_inputs.c: the arrays that a program reads. Arrays of its reals are borrowed with their
 * strides; booleans and integers are converted at each run, because their contents may have
 * changed. An array of another shape or type than the program was built for is refused. */
#include "module_program.h"

static bool is_declared(PyArrayObject *array, const gd_program_input *input)
{
    if (PyArray_NDIM(array) != (int)input->ndim)
        return false;
    for (int i = 0; i < (int)input->ndim; i++)
        if ((size_t)PyArray_DIM(array, i) != input->shape[i])
            return false;
    return true;
}

/* Whether the elements can be read where they are. */
static bool is_native(PyArrayObject *array, const gd_program_input *input)
{
    const int type = input->indices ? NPY_INT64
                                    : input->real_size == sizeof(float) ? NPY_FLOAT32
                                                                        : NPY_FLOAT64;
    return PyArray_TYPE(array) == type && PyArray_ISBEHAVED_RO(array);
}

static bool has_strides(PyArrayObject *array, const gd_program_input *input)
{
    const npy_intp size = PyArray_ITEMSIZE(array);
    for (int i = 0; i < (int)input->ndim && PyArray_SIZE(array) > 0; i++)
        if (input->shape[i] > 1 && PyArray_STRIDE(array, i) != input->stride[i] * size)
            return false;
    return true;
}

static PyArrayObject *refuse(PyArrayObject *array, const gd_program_input *input)
{
    char found[96], wanted[96];
    npy_intp shape[GD_MAX_AXES];
    for (size_t i = 0; i < input->ndim; i++)
        shape[i] = (npy_intp)input->shape[i];
    gd_shape_text(PyArray_NDIM(array), PyArray_DIMS(array), found, sizeof found);
    gd_shape_text((int)input->ndim, shape, wanted, sizeof wanted);
    PyErr_Format(PyExc_ValueError,
                 "an input of the program is %S of shape %s; %s of shape %s, with the strides that "
                 "it was built for, is wanted (build a program for this array)",
                 (PyObject *)PyArray_DESCR(array), found,
                 input->indices ? "int64" : input->real_size == 4 ? "float32" : "float64", wanted);
    return NULL;
}

/* The array, or for integers, booleans and other byte orders a C-contiguous conversion of it. */
static PyArrayObject *input_from(PyObject *value, const gd_program_input *input)
{
    ptrdiff_t stride = 1;
    if (value == NULL || !PyArray_Check(value)) {
        PyErr_Format(PyExc_TypeError, "an input of a program is %.80s; an array is wanted",
                     value != NULL ? Py_TYPE(value)->tp_name : "missing");
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)value;
    if (!is_declared(array, input))
        return refuse(array, input);
    if (is_native(array, input))
        return has_strides(array, input) ? (PyArrayObject *)Py_NewRef(value)
                                         : refuse(array, input);
    for (size_t i = input->ndim; i-- > 0; stride *= (ptrdiff_t)input->shape[i])
        if (input->shape[i] > 1 && input->stride[i] != stride)
            return refuse(array, input);
    const bool number = PyTypeNum_ISINTEGER(PyArray_TYPE(array)) ||
                        PyArray_TYPE(array) == NPY_BOOL || PyTypeNum_ISFLOAT(PyArray_TYPE(array));
    if (!number || input->indices)
        return refuse(array, input);
    const int type = input->real_size == sizeof(float) ? NPY_FLOAT32 : NPY_FLOAT64;
    return (PyArrayObject *)PyArray_FROMANY(value, type, 0, 0,
                                            NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST |
                                                NPY_ARRAY_NOTSWAPPED);
}

/* Room for so many inputs: `small`, or memory of its own; -1 with a MemoryError. */
static int make_room(size_t count, gd_inputs *inputs)
{
    enum { POINTERS = 3 }; /* for each input: data, array, a number */
    inputs->count = 0;
    inputs->memory = inputs->kept = NULL;
    const void **room = inputs->small;
    if (count * POINTERS > sizeof inputs->small / sizeof *inputs->small) {
        room = inputs->memory = gd_alloc(count, POINTERS * sizeof *room);
        if (room == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    inputs->data = room;
    inputs->array = (PyArrayObject **)(void *)(room + count);
    inputs->narrow = (float *)(void *)(room + 2 * count);
    return 0;
}

/* The address of a number in the type in which the program reads it. */
static const void *number_at(const gd_program_input *input, const double *number, float *narrow)
{
    if (input->real_size == sizeof(double))
        return number;
    *narrow = (float)*number;
    return narrow;
}

int gd_inputs_take(const program_object *self, PyObject *const *arrays, const double *numbers,
                   size_t count, gd_inputs *inputs)
{
    const size_t wanted = gd_program_input_count(self->program);
    if (make_room(wanted, inputs) < 0)
        return -1;
    if (count < self->slots) {
        PyErr_Format(PyExc_ValueError, "the program reads %zu arrays, not %zu", self->slots,
                     count);
        gd_inputs_release(inputs);
        return -1;
    }
    for (size_t i = 0; i < wanted; i++) {
        const gd_program_input *input = gd_program_input_at(self->program, i);
        PyArrayObject *array = NULL;
        if (arrays[input->slot] != NULL || numbers == NULL || input->indices || input->ndim > 0) {
            array = input_from(arrays[input->slot], input);
            if (array == NULL) {
                gd_inputs_release(inputs);
                return -1;
            }
        }
        inputs->array[inputs->count++] = array;
        inputs->data[i] = array != NULL ? PyArray_DATA(array)
                                        : number_at(input, &numbers[input->slot],
                                                    &inputs->narrow[i]);
    }
    return 0;
}

void gd_inputs_release(gd_inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++)
        Py_XDECREF(inputs->array[i]);
    gd_free(inputs->memory);
    gd_free(inputs->kept);
    inputs->count = 0;
    inputs->memory = inputs->kept = NULL;
}
