/* gradient.h: the chunk rule. Rows go through forward, loss and backward GD_CHUNK at a time; the
 * gradient of chunk i is added, in order, to slice i mod S in double, and a fixed tree adds the
 * slices. S follows from shapes alone, so any number of threads gives the same bits. */
#ifndef GD_GRADIENT_H
#define GD_GRADIENT_H

#include "linear.h"

enum {
    GD_MAX_SLICES = 8,
    GD_SLICE_BYTES = 8 << 20, /* of all slices together */
    GD_PRODUCT_BLOCK = 4096,  /* elements of X^T d that stay in L1 between product and sum */
    GD_PRODUCT_ROWS = 12,     /* the tallest tile */
};

/* ---- Scratch memory of one call: sizes first, then one allocation, then the same again ------ */

typedef struct {
    void *memory;  /* what gd_room_close frees */
    char *base;    /* NULL while sizes are added up */
    size_t used;
    bool overflow;
} gd_room;

/* The next count * size bytes, at a multiple of 64; NULL while base is. */
void *gd_room_take(gd_room *room, size_t count, size_t size);
/* Allocate what was added up and start again; false where it overflowed or memory is short. */
bool gd_room_open(gd_room *room);
void gd_room_close(gd_room *room);

/* ---- Parts of arrays ------------------------------------------------------------------------ */

/* Element i of an array of reals. */
static inline const void *gd_at(const void *data, size_t i, size_t real_size)
{
    return (const char *)data + i * real_size;
}

static inline void *gd_at_out(void *data, size_t i, size_t real_size)
{
    return (char *)data + i * real_size;
}

/* Rows [first, first + rows) of x. */
gd_matrix gd_matrix_rows(const gd_matrix *x, size_t first, size_t rows, size_t real_size);

/* Whether x goes through gd_linear_kernels.columns before a product with so many outputs. */
bool gd_by_columns(const gd_matrix *x, size_t outputs);

/* W, or a block of one, as right operand; the tail takes rows * lanes reals of room. */
gd_operand gd_operand_plan(const struct gd_linear_kernels *linear, const void *w, size_t rows,
                           size_t columns, gd_room *room, size_t real_size);
/* Fill the operand's tail. */
void gd_operand_pack(const struct gd_linear_kernels *linear, const gd_operand *operand,
                     size_t rows, size_t real_size);

/* W^T in whole vectors, zeros behind; what lies beyond the last whole vector is the tail. Takes its
 * room, and is filled where that is open. */
gd_operand gd_operand_transpose(const struct gd_linear_kernels *linear, const void *w,
                                size_t inputs, size_t outputs, gd_room *room, size_t real_size);

/* Threads that pay for so many rows of so many multiply-adds. */
size_t gd_threads_for(size_t rows, size_t inputs, size_t outputs);

/* Where part i of `parts` of n things begins. */
size_t gd_share(size_t n, size_t parts, size_t i);

/* ---- Sums over chunks ----------------------------------------------------------------------- */

/* Slices of so many chunks, with so many sums in each; one or more. */
size_t gd_slices_for(size_t chunks, size_t sums);

/* The fixed tree: for h = 4, 2, 1, slice s += slice s + h where both exist. */
void gd_add_slices(double *sums, size_t slice_size, size_t slices);

/* Where X^T d goes. */
typedef struct {
    const struct gd_linear_kernels *linear;
    size_t outputs, real_size;
    double *sums; /* inputs x outputs, which are added to */
    void *block;  /* GD_PRODUCT_BLOCK elements or a tile's rows of X^T d */
    void *result; /* with more than GD_NARROW outputs, written in the place of sums; or NULL */
} gd_products;

/* Rows [from, to) of X^T d; in blocks that stay in L1 until they are added. */
void gd_add_product(const gd_products *products, const gd_matrix *x, const gd_operand *d,
                    size_t from, size_t to);

/* ---- The gradient of a layer ---------------------------------------------------------------- */

/* What one task holds of a chunk. */
typedef struct {
    void *columns;  /* X by columns where gd_by_columns, else NULL */
    void *d;        /* GD_CHUNK x outputs: gradient with respect to z */
    void *y;        /* GD_CHUNK x outputs, for the maker of d */
    void *loss;     /* GD_CHUNK x losses per row, or NULL */
    void *block;    /* a block of X^T d before it is added up */
    gd_operand d_operand;
} gd_chunk;

typedef struct gd_gradient gd_gradient;
struct gd_gradient {
    const gd_kernels *kernels;
    size_t real_size;
    gd_matrix x;
    size_t outputs;
    size_t losses;     /* per row: 0 (there is no loss), 1 or outputs */
    const void *d;     /* all rows of d, or NULL: `make` writes them chunk by chunk */
    /* Rows [first, first + rows) of X, which are rows [at, at + rows) of the chunk and stand in
     * x: writes chunk->d and chunk->loss there, and whatever else comes of d. NULL: nothing. */
    void (*make)(const gd_gradient *gradient, const gd_chunk *chunk, const gd_matrix *x,
                 size_t first, size_t at);
    /* The whole of rows [first, first + x->rows) added to a slice, where it can; else false. NULL:
     * never. The same bits as make and the sums. */
    bool (*whole)(const gd_gradient *gradient, const gd_matrix *x, size_t first, double *slice);
    const void *context; /* of make and whole */
    bool needs_y;        /* make uses chunk->y */
    double divisor;      /* of all results */
    void *dw, *db;
    double *value;       /* sum of the losses / divisor, or NULL */
};

/* Run the chunk rule; false where memory is short. */
bool gd_gradient_run(const gd_gradient *gradient);

#endif
