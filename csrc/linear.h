/* linear.h: products of dense layers: X W + b, their gradients, and the fused pass of linear
 * models. Kernels are compiled per level (linear.inc); the functions here cut the work into
 * chunks and threads (linear.c, fused.c), so that shapes alone decide the bits. */
#ifndef GD_LINEAR_H
#define GD_LINEAR_H

#include "gd.h"

enum {
    GD_NARROW = 4,   /* outputs up to which a product runs along rows instead of columns */
    GD_COLUMNS = 16, /* columns of X up to which the narrow path goes column by column */
};

/* A matrix that is read: strides in elements, any sign. */
typedef struct {
    const void *data;
    size_t rows, columns;
    ptrdiff_t row_stride, column_stride;
} gd_matrix;

/* An activation or loss of the table with its parameters. */
typedef struct {
    int id;
    double param[GD_MAX_PARAMS];
} gd_function;

/* The right operand of a product: rows contiguous. The columns beyond the last whole vector stand
 * in `tail`, padded with zeros to one vector (unread where there are none). */
typedef struct {
    const void *data;
    void *tail;
    size_t columns, row_stride, tail_stride;
} gd_operand;

/* ---- Kernels of one real type at one level (linear.inc): void, no allocation, cannot fail --- */

struct gd_linear_kernels {
    size_t lanes; /* reals in one vector */
    /* Columns [from, columns) of b, one stride of which is 1; each row is padded with zeros to
     * `stride` elements. */
    void (*pack)(const gd_matrix *b, size_t from, void *packed, size_t stride);
    /* c = a b + bias (NULL: none): every element is one accumulator over a's columns in order,
     * fused multiply-add where the level has it, then the bias. Any size. c overlaps nothing. */
    void (*product)(const gd_matrix *a, const gd_operand *b, const void *bias, void *c);
    /* columns[j GD_CHUNK + r] = x[r][j]: a chunk of at most GD_CHUNK rows, column by column. */
    void (*columns)(const gd_matrix *x, void *columns);
    /* sums[j outputs + c] += sum over rows of x[r][j] d[r][c], for at most GD_CHUNK rows and
     * GD_NARROW outputs; one stride of x is 1. Row r goes to lane r mod GD_LANES of double
     * accumulators, a fixed tree adds the lanes. */
    void (*narrow_grad)(const gd_matrix *x, const void *d, size_t outputs, double *sums);
    /* sums[c] += sum over rows of d[r width + c], for at most GD_CHUNK rows: lanes and tree as in
     * narrow_grad. */
    void (*column_sums)(size_t rows, size_t width, const void *d, double *sums);
    /* The whole of a chunk for one output and a squared loss, slice += loss, sum of d, X^T d; false
     * where the shape, the order of x or the loss is not provided for, and nothing is done. NULL
     * on levels with narrow registers. */
    bool (*fused)(const gd_matrix *x, const void *target, const void *w, const void *bias,
                  int loss, double *slice);
    /* sum[i] += x[i] */
    void (*add)(size_t n, const void *x, double *sum);
    /* out[i] = sum[i] / divisor, rounded once */
    void (*quotient)(size_t n, const double *sum, double divisor, void *out);
};

/* ---- The engine. real_size is 4 or 8; W is C-contiguous, x->columns rows of `outputs`; every
 * function returns false where memory is short, and its outputs are undefined then. */

/* y = act(z), z = X W + bias. bias and z may be NULL, activation too (y = z). */
bool gd_dense(size_t real_size, const gd_matrix *x, const void *w, size_t outputs,
              const void *bias, const gd_function *activation, void *y, void *z);

/* y = X W without memory of its own: in `room`, which has gd_product_room bytes for so many tasks,
 * by as many threads. Cannot fail. */
size_t gd_product_room(size_t real_size, const gd_matrix *x, size_t outputs, size_t tasks);
void gd_product_in(size_t real_size, const gd_matrix *x, const void *w, size_t outputs, void *y,
                   size_t tasks, void *room);

/* d = act'(z) dy: dX = d W^T, dW = X^T d, db = sum of d over rows. dx may be NULL. Of y and z one
 * may be NULL, z only where the activation's gradient reads y; both where activation is NULL. */
bool gd_dense_grad(size_t real_size, const void *dy, const gd_matrix *x, const void *w,
                   size_t outputs, const void *y, const void *z, const gd_function *activation,
                   void *dx, void *dw, void *db);

/* Mean loss of X W + bias against target, and its gradient: the mean runs over rows x outputs for
 * losses per element, else over rows; over nothing it is 0, as is the gradient. target as the
 * loss kernel reads it. */
bool gd_linear_value_and_grad(size_t real_size, const gd_matrix *x, const void *target,
                              const void *w, size_t outputs, const void *bias,
                              const gd_function *loss, double *value, void *dw, void *db);

#endif
