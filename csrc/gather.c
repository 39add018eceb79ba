/* gather.c: rows of data of any type and strides as reals or labels, and the search for what cannot
 * be trained on. Neither allocates; conversions are compiled once, since rows come from memory and
 * the wider vectors of a level would wait for it. */
#include "gather.h"

#include <stdatomic.h>
#include <string.h>

#include "threads.h"

enum {
    TILE = 16,                   /* columns that are read together: a cache line of floats */
    RUN = 4096,                  /* elements between two looks at what a search has found */
    TASK_ELEMENTS = 64 * 1024,   /* of one task of a search: 7 us of floats, 15 of doubles */
    THREADED_BYTES = 1024 * 1024 /* from which threads pay */
};

#define INLINE static inline __attribute__((always_inline))

static inline const char *row_of(const gd_source *source, const size_t *rows, size_t first,
                                 size_t i)
{
    const size_t row = rows != NULL ? rows[i] : first + i;
    return source->data + (ptrdiff_t)row * source->row_stride;
}

/* ---- Each type ------------------------------------------------------------------------------- */

/* Labels that are reals: compared so that NaN is none, and cut where that is defined. */
#define REAL_HOLDS_LABEL(x) ((double)(x) > -0x1p63 && (double)(x) < 0x1p63)
#define REAL_IS_LABEL(x, classes)                                                                 \
    ((x) >= 0 && (double)(x) < (double)(classes) && REAL_HOLDS_LABEL(x) &&                        \
     (double)(x) == (double)(int64_t)(x))
/* and whole numbers: negative ones become the largest */
#define WHOLE_IS_LABEL(x, classes) ((uint64_t)(x) < (classes))

#define item float
#define ITEM(name) GD_JOIN(name, _f32)
#define HOLDS_LABEL(x) REAL_HOLDS_LABEL(x)
#define IS_LABEL(x, classes) REAL_IS_LABEL(x, classes)
#define bits_t uint32_t
#define EXPONENT 0x7F800000u
#include "gather.inc"

#define item double
#define ITEM(name) GD_JOIN(name, _f64)
#define HOLDS_LABEL(x) REAL_HOLDS_LABEL(x)
#define IS_LABEL(x, classes) REAL_IS_LABEL(x, classes)
#define bits_t uint64_t
#define EXPONENT 0x7FF0000000000000u
#include "gather.inc"

#define item int8_t
#define ITEM(name) GD_JOIN(name, _i8)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item uint8_t
#define ITEM(name) GD_JOIN(name, _u8)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item int16_t
#define ITEM(name) GD_JOIN(name, _i16)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item uint16_t
#define ITEM(name) GD_JOIN(name, _u16)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item int32_t
#define ITEM(name) GD_JOIN(name, _i32)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item uint32_t
#define ITEM(name) GD_JOIN(name, _u32)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item int64_t
#define ITEM(name) GD_JOIN(name, _i64)
#define HOLDS_LABEL(x) true
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

#define item uint64_t
#define ITEM(name) GD_JOIN(name, _u64)
#define HOLDS_LABEL(x) ((x) <= INT64_MAX)
#define IS_LABEL(x, classes) WHOLE_IS_LABEL(x, classes)
#include "gather.inc"

typedef void gather_fn(const gd_source *source, const size_t *rows, size_t first, size_t count,
                       void *out);
typedef bool labels_fn(const gd_source *source, size_t from, size_t to, size_t classes);
typedef bool nonfinite_fn(size_t n, const char *x, ptrdiff_t step);

/* What there is for one type; whole numbers are finite. A boolean is a byte. */
typedef struct {
    size_t size;
    gather_fn *to_f32, *to_f64, *to_labels;
    labels_fn *bad_labels;
    nonfinite_fn *any_nonfinite;
} data_kernels;

#define OF_TYPE(size, type)                                                                       \
    size, gather_##type##_f32, gather_##type##_f64, gather_##type##_i64, bad_labels_##type

static const data_kernels kernels[GD_DATA_TYPES] = {
    [GD_DATA_F32] = {OF_TYPE(4, f32), any_nonfinite_f32},
    [GD_DATA_F64] = {OF_TYPE(8, f64), any_nonfinite_f64},
    [GD_DATA_BOOL] = {OF_TYPE(1, u8), NULL},
    [GD_DATA_I8] = {OF_TYPE(1, i8), NULL},
    [GD_DATA_U8] = {OF_TYPE(1, u8), NULL},
    [GD_DATA_I16] = {OF_TYPE(2, i16), NULL},
    [GD_DATA_U16] = {OF_TYPE(2, u16), NULL},
    [GD_DATA_I32] = {OF_TYPE(4, i32), NULL},
    [GD_DATA_U32] = {OF_TYPE(4, u32), NULL},
    [GD_DATA_I64] = {OF_TYPE(8, i64), NULL},
    [GD_DATA_U64] = {OF_TYPE(8, u64), NULL},
};

/* ---- Rows ------------------------------------------------------------------------------------ */

static bool is_real_of(gd_data_type type, size_t real_size)
{
    return type == (real_size == sizeof(float) ? GD_DATA_F32 : GD_DATA_F64);
}

/* Rows of that many bytes, a constant: what memcpy is inlined for. */
INLINE void copy_constant(const gd_source *source, const size_t *rows, size_t first, size_t count,
                          size_t bytes, char *out)
{
    for (size_t i = 0; i < count; i++)
        memcpy(out + i * bytes, row_of(source, rows, first, i), bytes);
}

/* Rows of 16 to 64 bytes, by 16 of them, the last overlapping what is before. */
static void copy_narrow(const gd_source *source, const size_t *rows, size_t first, size_t count,
                        size_t bytes, char *out)
{
    for (size_t i = 0; i < count; i++) {
        const char *x = row_of(source, rows, first, i);
        char *y = out + i * bytes;
        for (size_t k = 0; k + 16 < bytes; k += 16)
            memcpy(y + k, x + k, 16);
        memcpy(y + bytes - 16, x + bytes - 16, 16);
    }
}

/* Wide rows: each is asked for while those before it are copied, for rows in a drawn order make no
 * pattern that the processor sees (128 of 3 KB, of 63 MB: 15 us instead of 38). */
static void copy_wide(const gd_source *source, const size_t *rows, size_t first, size_t count,
                      size_t bytes, char *out)
{
    enum { AHEAD = 4, LINE = 64 };
    for (size_t i = 0; i < count; i++) {
        const char *next = row_of(source, rows, first, i + AHEAD < count ? i + AHEAD : i);
        for (size_t k = 0; k < bytes; k += LINE)
            __builtin_prefetch(next + k);
        memcpy(out + i * bytes, row_of(source, rows, first, i), bytes);
    }
}

/* Rows whose columns are adjacent. A call of memcpy a row costs 1.7 ns: 32 rows of two floats take
 * 11 ns without it, not 53, of eight floats 18, not 55; of 32 floats 48 with it, not 62. */
static void copy_rows(const gd_source *source, const size_t *rows, size_t first, size_t count,
                      size_t bytes, char *out)
{
    if (bytes == 4)
        copy_constant(source, rows, first, count, 4, out);
    else if (bytes == 8)
        copy_constant(source, rows, first, count, 8, out);
    else if (bytes == 12)
        copy_constant(source, rows, first, count, 12, out);
    else if (bytes <= 64)
        copy_narrow(source, rows, first, count, bytes, out);
    else
        copy_wide(source, rows, first, count, bytes, out);
}

void gd_gather(const gd_source *source, const size_t *rows, size_t first, size_t count,
               size_t real_size, void *out)
{
    const data_kernels *k = &kernels[source->type];
    gd_source s = *source;
    if (count == 0 || s.columns == 0)
        return;
    if (s.columns == 1)
        s.column_stride = (ptrdiff_t)k->size;
    const bool adjacent = s.column_stride == (ptrdiff_t)k->size;
    if (rows == NULL && adjacent && s.row_stride == (ptrdiff_t)(s.columns * k->size)) {
        s.data += first * s.columns * k->size; /* one long row */
        s.columns *= count;
        first = 0;
        count = 1;
    }
    if (adjacent && is_real_of(s.type, real_size))
        copy_rows(&s, rows, first, count, s.columns * k->size, out);
    else
        (real_size == sizeof(float) ? k->to_f32 : k->to_f64)(&s, rows, first, count, out);
}

void gd_gather_labels(const gd_source *source, const size_t *rows, size_t first, size_t count,
                      int64_t *out)
{
    const data_kernels *k = &kernels[source->type];
    gd_source s = *source;
    s.columns = 1;
    s.column_stride = (ptrdiff_t)k->size;
    k->to_labels(&s, rows, first, count, out);
}

bool gd_source_is_plain(const gd_source *source, size_t real_size)
{
    const ptrdiff_t size = (ptrdiff_t)real_size;
    return is_real_of(source->type, real_size) &&
           (source->columns <= 1 || source->column_stride == size) &&
           source->row_stride % size == 0 &&
           source->row_stride >= (ptrdiff_t)source->columns * size;
}

/* ---- What cannot be trained on --------------------------------------------------------------- */

/* Whether rows [from, to) hold what is searched for; `classes` where that is a bad label. */
typedef bool holds_fn(const gd_source *source, size_t from, size_t to, size_t classes);

typedef struct {
    const gd_source *source;
    holds_fn *holds;
    size_t from, to, step, classes;
    atomic_size_t found; /* the first task that holds it, or their number */
} search;

static void search_task(void *context, size_t task)
{
    search *s = context;
    size_t first = atomic_load_explicit(&s->found, memory_order_relaxed);
    if (task > first)
        return;
    const size_t from = s->from + task * s->step, left = s->to - from;
    if (!s->holds(s->source, from, from + (left < s->step ? left : s->step), s->classes))
        return;
    while (task < first && !atomic_compare_exchange_weak(&s->found, &first, task)) {
    }
}

/* The first row of [from, to) that holds it; false: none. Where all rows are one, so is the search:
 * a broadcast array has any number of them. */
static bool first_row(const gd_source *source, holds_fn *holds, size_t from, size_t to,
                      size_t classes, size_t *row)
{
    if (from < to && source->row_stride == 0)
        to = from + 1;
    const size_t columns = source->columns > 0 ? source->columns : 1;
    const size_t step = columns < TASK_ELEMENTS ? TASK_ELEMENTS / columns : 1;
    const size_t tasks = from < to ? (to - from - 1) / step + 1 : 0;
    const size_t row_bytes = columns * kernels[source->type].size;
    const bool threaded = (to - from) >= THREADED_BYTES / row_bytes;
    search s = {source, holds, from, to, step, classes, tasks};
    gd_parallel(tasks, threaded ? gd_threads_get() : 1, search_task, &s);
    if (s.found == tasks)
        return false;
    from += s.found * step;
    to = to - from < step ? to : from + step;
    while (to - from > 1) { /* the first is in [from, to) */
        const size_t middle = from + (to - from) / 2;
        if (holds(source, from, middle, classes))
            to = middle;
        else
            from = middle;
    }
    *row = from;
    return true;
}

/* By runs along the rows or along the columns, whichever elements are nearer. */
static bool holds_nonfinite(const gd_source *source, size_t from, size_t to, size_t unused)
{
    const data_kernels *k = &kernels[source->type];
    const ptrdiff_t down = source->row_stride, along = source->column_stride;
    const char *x = source->data + (ptrdiff_t)from * down;
    const size_t columns = along == 0 && source->columns > 0 ? 1 : source->columns;
    const size_t rows = to - from;
    (void)unused;
    if (along == (ptrdiff_t)k->size && down == along * (ptrdiff_t)columns)
        return k->any_nonfinite(rows * columns, x, along);
    if (columns == 1 || (down < 0 ? -down : down) < (along < 0 ? -along : along)) {
        for (size_t j = 0; j < columns; j++)
            if (k->any_nonfinite(rows, x + (ptrdiff_t)j * along, down))
                return true;
        return false;
    }
    for (size_t i = 0; i < rows; i++)
        if (k->any_nonfinite(columns, x + (ptrdiff_t)i * down, along))
            return true;
    return false;
}

bool gd_find_nonfinite(const gd_source *source, size_t from, size_t to, size_t *row,
                       size_t *column)
{
    if (kernels[source->type].any_nonfinite == NULL || source->columns == 0 ||
        !first_row(source, holds_nonfinite, from, to, 0, row))
        return false;
    /* its columns as the rows of one column */
    const gd_source across = {source->data + (ptrdiff_t)*row * source->row_stride, source->type,
                              source->columns, 1, source->column_stride, 0};
    first_row(&across, holds_nonfinite, 0, source->columns, 0, column);
    return true;
}

bool gd_find_bad_label(const gd_source *source, size_t classes, size_t *row)
{
    gd_source s = *source;
    s.columns = 1;
    return first_row(&s, kernels[s.type].bad_labels, 0, s.rows, classes, row);
}
