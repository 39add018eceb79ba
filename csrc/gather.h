/* gather.h: rows of the caller's data brought into the model's real type, chunk by chunk, whatever
 * their type and strides; and what in them cannot be trained on. Data are read, never written;
 * nothing here allocates or fails. */
#ifndef GD_GATHER_H
#define GD_GATHER_H

#include "gd.h"

typedef enum {
    GD_DATA_F32,
    GD_DATA_F64,
    GD_DATA_BOOL,
    GD_DATA_I8,
    GD_DATA_U8,
    GD_DATA_I16,
    GD_DATA_U16,
    GD_DATA_I32,
    GD_DATA_U32,
    GD_DATA_I64,
    GD_DATA_U64,
    GD_DATA_TYPES
} gd_data_type;

/* Rows of the caller's, aligned to their type. */
typedef struct {
    const char *data;
    gd_data_type type;
    size_t rows, columns;
    ptrdiff_t row_stride, column_stride; /* bytes, of any sign or 0 */
} gd_source;

/* out[i][j] = source[rows[i]][j] as a real of real_size, rounded as NumPy's astype does; rows NULL:
 * rows first, first + 1, ... of the source. `out` is C-contiguous. */
void gd_gather(const gd_source *source, const size_t *rows, size_t first, size_t count,
               size_t real_size, void *out);

/* out[i] = source[rows[i]][0], cut to a whole number; -1 for what no int64 holds, so that any
 * memory may be read: the caller may have written into it since gd_find_bad_label. */
void gd_gather_labels(const gd_source *source, const size_t *rows, size_t first, size_t count,
                      int64_t *out);

/* Whether the rows can be read where they are: as a matrix of reals of that size whose columns are
 * adjacent and whose rows row_stride / real_size reals apart, no less than there are columns. */
bool gd_source_is_plain(const gd_source *source, size_t real_size);

/* The first NaN or infinity, in C order, of rows [from, to); false: there is none. */
bool gd_find_nonfinite(const gd_source *source, size_t from, size_t to, size_t *row,
                       size_t *column);

/* The first row whose label, in column 0, is not a whole number in [0, classes); false: none. */
bool gd_find_bad_label(const gd_source *source, size_t classes, size_t *row);

#endif
