/* gd.h: every type that the kernels, the engine and the bindings share.
 *
 * The structs of hyper-parameters, the enums and the kernel tables are expanded from ops.def, so
 * a new row appears everywhere at once. Nothing here knows of Python, and nothing allocates. */
#ifndef GD_H
#define GD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GD_JOIN_(a, b) a##b
#define GD_JOIN(a, b) GD_JOIN_(a, b)

enum {
    GD_MAX_STATES = 4,     /* state arrays of one parameter array */
    GD_MAX_NUMBERS = 2,    /* numbers that one parameter array keeps from step to step */
    GD_SUMS = 2,           /* sums over the gradients that a rule may ask for */
    GD_MAX_VARIANTS = 4,   /* kernels of one optimizer row */
    GD_MAX_HYPERS = 16,    /* doubles in one struct of hyper-parameters */
    GD_MAX_SCALARS = 16,   /* reals in one struct of step constants */
    GD_MAX_PARAMS = 4,     /* real parameters of one activation or loss */
    GD_SUM_BLOCK = 4096,   /* elements of one block of a sum; blocks add up in a fixed order */
    GD_LANES = 16,         /* accumulators of every reduction, whatever the vector width */
    GD_UNIT_TILE = 16,     /* units whose norms are taken together: a cache line of floats */
    GD_CHUNK = 256,        /* rows that go through forward, loss and backward together */
    GD_MAX_AXES = 8,       /* axes of an array in a program */
    GD_MAX_MAPPED = 3,     /* operands of an elementwise instruction */
};

/* Whose formula and defaults a rule follows where the frameworks differ. */
typedef enum { GD_TORCH, GD_KERAS, GD_OPTAX, GD_DIALECTS } gd_dialect;

/* ---- The table's enums and structs ------------------------------------------------------- */

typedef enum {
#define OPTIMIZER(name, ...) GD_OPTIMIZER_##name,
#include "ops.def"
    GD_OPTIMIZERS
} gd_optimizer_id;

typedef enum {
#define ACTIVATION(name, ...) GD_ACTIVATION_##name,
#include "ops.def"
    GD_ACTIVATIONS
} gd_activation_id;

typedef enum {
#define LOSS(name, ...) GD_LOSS_##name,
#include "ops.def"
    GD_LOSSES
} gd_loss_id;

typedef enum {
#define INSTRUCTION(name, ...) GD_OP_##name,
#include "ops.def"
    GD_OPS
} gd_op;

/* One struct a rule, of doubles alone: the bindings fill it as a flat array in the row's order. */
#define REAL(name, ...) double name;
#define PAIR(name, ...) double name[2];
#define TRIPLE(name, ...) double name[3];
#define FLAG(name) double name;
#define OPTIMIZER(name, class, decay, needs, hypers, ...) struct gd_##name { hypers };
#include "ops.def"

/* ---- Kernels -------------------------------------------------------------------------------
 * All are void, contiguous, and cannot fail; `void *` stands for float or double of the table
 * they are found in. n == 0 is allowed everywhere. */

/* What the constants of one step depend on, beside the settings. */
typedef struct {
    int64_t t; /* number of the step, from 1 */
    gd_dialect dialect;
    bool maximize;
    double loss, grad_norm; /* of all arrays; for rows that need LOSS */
    const double *sums;     /* GD_SUMS, for rows that need sums; NULL until they are known */
    double *number[GD_MAX_NUMBERS]; /* what the array keeps, for rows with NUMBER */
} gd_now;

/* The constants of one step, computed in double and rounded once: `out` is the row's own struct
 * of at most GD_MAX_SCALARS reals. It moves the numbers on, once a step: where the row needs sums,
 * in the call that has them. */
typedef void gd_scalars_fn(const void *hyper, const gd_now *now, void *out);
/* One step of n elements: p and state in place; g does not overlap them. */
typedef void gd_step_fn(size_t n, void *p, const void *g, void *const *state, const void *scalars);
/* What comes before it in rows that need sums: state in place, and the terms of the two sums. */
typedef void gd_terms_fn(size_t n, const void *p, const void *g, void *const *state,
                         const void *scalars, double *first, double *second);

/* y = act(z) on rows x width elements; y may be z. */
typedef void gd_activation_fn(size_t rows, size_t width, const void *z, void *y,
                              const double *param);
/* dz = (d act / d z) dy from z or y, as the row says (the other is not read); dz may be dy. */
typedef void gd_activation_grad_fn(size_t rows, size_t width, const void *dy, const void *z,
                                   const void *y, void *dz, const double *param);

/* y = z for z > 0, else alpha z: prelu with an alpha for each element; y may be z or alpha. */
typedef void gd_prelu_fn(size_t n, const void *z, const void *alpha, void *y);

/* loss[i] and its gradient dy, unweighted: a loss per element (pointwise rows of the table) or
 * per row. target: reals shaped like y, or one a row: int64 class numbers within [0, width) of
 * sparse rows of the table, reals of paired ones, whose width is 2. */
typedef void gd_loss_fn(size_t rows, size_t width, const void *target, const void *y, void *loss,
                        void *dy, const double *param);

/* x[r][j] *= weights[r] * factor; weights NULL: 1 */
typedef void gd_weigh_fn(size_t rows, size_t width, const void *weights, double factor, void *x);

typedef struct {
    gd_scalars_fn *scalars;
    gd_terms_fn *terms; /* NULL where the row needs no sums */
    gd_step_fn *step[GD_MAX_VARIANTS];
} gd_optimizer_kernels;

typedef struct {
    gd_activation_fn *forward;
    gd_activation_grad_fn *backward;
} gd_activation_kernels;

/* What happens to a gradient before its rule sees it, and to a parameter beside it. */
typedef struct {
    /* out = min(max(scale g, -limit), limit); limit may be infinity; NaN goes through */
    void (*clip)(size_t n, const void *g, void *out, double scale, double limit);
    /* g += decay p: weight decay as part of the gradient (L2) */
    void (*decay_gradient)(size_t n, const void *p, void *g, double decay);
    /* p *= keep: weight decay beside the gradient, keep = 1 - lr decay */
    void (*decay_parameter)(size_t n, void *p, double keep);
    /* p = sign(p) max(|p| - limit, 0): the proximal step of l1; NaN goes through */
    void (*shrink)(size_t n, void *p, double limit);
    /* p = min(max(p, low), high); NaN goes through */
    void (*bound)(size_t n, void *p, double low, double high);
    /* average += share (p - average): what is kept beside a parameter */
    void (*average)(size_t n, const void *p, void *average, double share);
} gd_prepare_kernels;

/* Sums of at most GD_SUM_BLOCK elements: GD_LANES double accumulators, a fixed tree. */
typedef struct {
    double (*sum)(size_t n, const void *x);
    double (*dot)(size_t n, const void *x, const void *y);
    double (*largest)(size_t n, const void *x); /* max |x|, NaN where an element is NaN */
    /* sum of (x / scale)^2: the norm's rescue where squares overflow or vanish */
    double (*scaled_squares)(size_t n, const void *x, double scale);
    /* lane (i mod GD_LANES) += x[i], and the tree, which destroys the lanes: sum in two parts */
    void (*sum_lanes)(size_t n, const void *x, double *lane);
    double (*add_lanes)(double *lane);
    /* sums[k] += sum of x[r stride + k] over at most GD_SUM_BLOCK rows, k < count <= GD_UNIT_TILE,
     * each as `sum` adds it */
    void (*sum_columns)(size_t rows, size_t count, const void *x, size_t stride, double *sums);
    double (*product)(size_t n, const void *x);
    double (*top)(size_t n, const void *x);    /* max x, NaN where an element is */
    double (*bottom)(size_t n, const void *x); /* min x, likewise */
} gd_reduce_kernels;

/* How the elements of an array fall into units (see units.h), by position in memory. An array
 * without elements has no units. */
typedef struct {
    size_t count, length; /* units, and elements of each */
    bool interleaved;     /* element i is of unit i mod count (C order); else of i / length */
} gd_units;

/* Sums over units, each as gd_reduce_kernels adds it. */
typedef struct {
    /* sums[k] += sum of x[r stride + k]^2 over at most GD_SUM_BLOCK rows, k < count <= a tile */
    void (*squares)(size_t rows, size_t count, const void *x, size_t stride, double *sums);
    /* x *= the factor of each element's unit; x begins at element `first` of the array */
    void (*scale)(size_t n, void *x, const double *factor, const gd_units *units, size_t first);
    /* columns[k rows + r] = x[r stride + k], and back */
    void (*gather)(size_t rows, size_t count, const void *x, size_t stride, void *columns);
    void (*scatter)(size_t rows, size_t count, const void *columns, void *x, size_t stride);
    /* part = y and one = 1 where y = x - shift is above the threshold, else 0 */
    void (*above)(size_t n, const void *x, double shift, double threshold, double *part,
                  double *one);
    /* x = max((x - shift) - threshold, 0); NaN goes through */
    void (*lower)(size_t n, void *x, double shift, double threshold);
} gd_unit_kernels;

/* y = f(x[0], x[1], ...) element by element: an instruction of kind MAP. y may be one of the
 * operands; param: the instruction's numbers. */
typedef void gd_map_fn(size_t n, const void *const *x, void *y, const double *param);

/* y[i] = f(x[i]): the functions of math.inc, for tests of their accuracy. */
typedef void gd_math_fn(size_t n, const void *x, void *y);
enum {
    GD_MATH_exp,
    GD_MATH_log,
    GD_MATH_log1p,
    GD_MATH_expm1,
    GD_MATH_tanh,
    GD_MATH_sigmoid,
    GD_MATH_softplus,
    GD_MATH_sin,
    GD_MATH_cos,
    GD_MATHS
};

/* What a sweep asks of runs that go side by side (watch.inc); losses are reals. */
typedef struct {
    size_t (*going)(size_t n, const void *loss, const double *norm, const double *limit);
    void (*loss)(size_t n, const void *loss, const void *before, bool count, void *best,
                 double *rises);
    void (*largest)(size_t n, const void *loss, const double *norm, void *largest,
                    double *largest_norm);
    void (*slope)(size_t n, const void *g, double *norm);
    bool (*moved)(size_t n, size_t stride, const void *x, const void *start);
} gd_watch_kernels;

/* What stages of networks need beside these families, see layers.inc. stats of rows: mean and
 * 1 / deviation of each; of columns: all means, then all 1 / deviations. */
typedef struct {
    void (*dropout_mask)(size_t n, const uint32_t *bits, uint32_t threshold, double scale,
                         void *mask);
    void (*layer_norm)(size_t rows, size_t width, const void *x, const void *scale,
                     const void *shift, double epsilon, void *y, void *stats);
    void (*layer_norm_back)(size_t rows, size_t width, const void *dy, const void *x,
                          const void *stats, const void *scale, void *terms, void *dx);
    void (*layer_norm_terms)(size_t rows, size_t width, const void *dy, const void *x,
                           const void *stats, void *terms);
    void (*column_norm)(size_t rows, size_t width, const void *x, const void *stats,
                        const void *scale, const void *shift, void *y);
    void (*column_norm_terms)(size_t rows, size_t width, const void *dy, const void *x,
                              const void *stats, void *terms);
    void (*column_norm_grad)(size_t rows, size_t width, const void *dy, const void *x,
                             const void *stats, const void *scale, const double *first,
                             const double *second, void *dx);
    void (*count_units)(size_t n, const void *y, double low, double high, uint64_t *count);
    void (*penalise)(size_t n, const void *p, double l1, double l2, void *g);
} gd_layer_kernels;

/* Matrix products: see linear.h for the contracts. */
struct gd_linear_kernels;

/* All kernels of one real type at one level. */
typedef struct {
    gd_optimizer_kernels optimizer[GD_OPTIMIZERS];
    gd_prepare_kernels prepare;
    gd_activation_kernels activation[GD_ACTIVATIONS];
    gd_prelu_fn *prelu;
    gd_loss_fn *loss[GD_LOSSES];
    gd_weigh_fn *weigh;
    gd_reduce_kernels reduce;
    gd_unit_kernels units;
    const struct gd_linear_kernels *linear;
    gd_math_fn *math[GD_MATHS];
    gd_watch_kernels watch;
    gd_layer_kernels layer;
    gd_map_fn *map[GD_OPS]; /* NULL where an instruction is not of kind MAP */
} gd_kernels;

/* A level: what one shim compiles. */
typedef struct {
    const char *name;
    const gd_kernels *f32, *f64;
} gd_level;

extern const gd_level gd_level_base;
#if defined(__x86_64__)
extern const gd_level gd_level_avx2, gd_level_avx512;
#endif

/* ---- Dispatch (dispatch.c) ------------------------------------------------------------------ */

/* Pick the level once, by processor or by `forced` (NULL or "" for none). False where `forced` is
 * unknown or the processor lacks it; nothing changes then. */
bool gd_dispatch(const char *forced);
/* The level in force. */
const gd_level *gd_level_get(void);
/* The kernels of the level in force for reals of 4 or 8 bytes. */
const gd_kernels *gd_kernels_for(size_t real_size);
/* Name of the i-th level that this processor runs, best last; NULL past the end. */
const char *gd_level_available(size_t i);

/* ---- Memory --------------------------------------------------------------------------------- */

/* The one allocator: the bindings hand one in at import (PyMem_RawMalloc, so that tests can make
 * it fail); calls without it fail. gd_alloc(count, size) returns NULL where the product overflows
 * or memory is short; gd_free takes NULL. */
void gd_set_allocator(void *(*allocate)(size_t), void (*release)(void *));
void *gd_alloc(size_t count, size_t size);
void gd_free(void *memory);

/* Memory that is taken piece by piece and freed at once: zeroed, at multiples of 64; NULL where
 * memory is short. A zeroed pool is an empty one. */
typedef struct {
    void *parts;
} gd_pool;
void *gd_pool_take(gd_pool *pool, size_t count, size_t size);
void gd_pool_free(gd_pool *pool);

/* Bytes [low, high) of the array of this number in its list. */
typedef struct {
    const char *low, *high;
    size_t index;
} gd_span;

/* Sort by address, in place, and drop the empty ones; the number left. Cannot fail. */
size_t gd_sort_spans(gd_span *spans, size_t n);

/* Of sorted spans: the first that shares memory with the one behind it, else NULL. */
const gd_span *gd_spans_overlap(const gd_span *spans, size_t n);

/* Whether [low, high) meets one of the spans, which are sorted and do not overlap. */
bool gd_spans_meet(const gd_span *spans, size_t n, const char *low, const char *high);

#endif
