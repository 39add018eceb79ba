/* program_check.c: whether an instruction is sound: operands before it, shapes and types that fit.
 * What passes here cannot make the builder or a run leave its memory. */
#include <string.h>

#include "program.h"
#include "rules.h"

typedef enum { LEAF, VIEW, MAP, FUNCTION, MOVE, REDUCE, PRODUCT } kind_of_op;

enum { MANY = GD_MAX_MAPPED + 1 };

static const struct {
    kind_of_op kind;
    size_t operands;
} ops[GD_OPS] = {
#define INSTRUCTION(name, kind, operands, ...) {kind, operands},
#include "ops.def"
};

/* Elements of a shape; SIZE_MAX where bytes of doubles would overflow half of memory. Of an empty
 * array the other axes count, because strides are made of them. */
static size_t elements(size_t ndim, const size_t *shape)
{
    const size_t most = SIZE_MAX / 4 / sizeof(double);
    size_t size = 1;
    bool empty = false;
    for (size_t i = 0; i < ndim; i++) {
        const size_t n = shape[i] > 0 ? shape[i] : 1;
        empty = empty || shape[i] == 0;
        if (n > most / size)
            return SIZE_MAX;
        size *= n;
    }
    return empty ? 0 : size;
}

static bool same_shape(const gd_instruction *a, const gd_instruction *b)
{
    return a->ndim == b->ndim && memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) == 0;
}

/* A parameter that is a whole number in [low, high]. */
static bool whole(double value, double low, double high)
{
    return value >= low && value <= high && value == (double)(int64_t)value;
}

static const char *check_leaf(const gd_instruction *x)
{
    if (x->op == GD_OP_constant)
        return x->ndim == 0 && x->param_count == 1 ? NULL : "a constant has one number and no axis";
    const size_t wanted = x->op == GD_OP_input ? 1 + x->ndim : 1;
    const bool empty = elements(x->ndim, x->shape) == 0;
    if (x->param_count != wanted || !whole(x->param[0], 0, GD_MAX_SLOTS - 1))
        return "a slot, and for reals the stride of each axis, are wanted";
    for (size_t i = 0; i + 1 < wanted && !empty; i++) { /* no address may overflow */
        const double most = 0x1p52 / (double)x->shape[i];
        if (x->shape[i] > 1 && !whole(x->param[1 + i], -most, most))
            return "a stride is no whole number, or leaves the memory that there is";
    }
    if (x->op == GD_OP_indices && (x->ndim != 1 || x->real_size != sizeof(int64_t)))
        return "indices have one axis and 8 bytes";
    return NULL;
}

/* starts and steps of `inner` stay within `outer`. */
static bool stays_inside(const gd_instruction *x, const size_t *inner, const size_t *outer)
{
    for (size_t i = 0; i < x->ndim; i++) {
        const double start = x->param[i], step = x->param[x->ndim + i];
        const double last = start + step * ((double)inner[i] - 1), end = (double)outer[i];
        if (!whole(step, -0x1p52, 0x1p52) || !whole(start, -0x1p52, 0x1p52))
            return false;
        if (inner[i] > 0 && (start < 0 || start >= end || last < 0 || last >= end))
            return false;
    }
    return true;
}

static bool is_permutation(const gd_instruction *x, const gd_instruction *of)
{
    bool seen[GD_MAX_AXES] = {false};
    if (x->param_count != x->ndim || x->ndim != of->ndim)
        return false;
    for (size_t i = 0; i < x->ndim; i++) {
        if (!whole(x->param[i], 0, (double)x->ndim - 1) || seen[(size_t)x->param[i]] ||
            x->shape[i] != of->shape[(size_t)x->param[i]])
            return false;
        seen[(size_t)x->param[i]] = true;
    }
    return true;
}

static bool broadcasts(const gd_instruction *x, const gd_instruction *of)
{
    if (x->ndim < of->ndim)
        return false;
    for (size_t i = 0; i < of->ndim; i++)
        if (of->shape[i] != 1 && of->shape[i] != x->shape[x->ndim - of->ndim + i])
            return false;
    return true;
}

static const char *check_view(const gd_instruction *x, const gd_instruction *of)
{
    bool sound = false;
    if (x->real_size != of->real_size)
        return "a view has its operand's type";
    if (x->op == GD_OP_reshape)
        sound = elements(x->ndim, x->shape) == elements(of->ndim, of->shape);
    else if (x->op == GD_OP_transpose)
        sound = is_permutation(x, of);
    else if (x->op == GD_OP_expand)
        sound = broadcasts(x, of);
    else if (x->ndim == of->ndim && x->param_count == 2 * x->ndim)
        sound = stays_inside(x, x->shape, of->shape);
    return sound ? NULL : "the view leaves its operand";
}

static const char *check_map(const gd_instruction *list, const gd_instruction *x)
{
    for (size_t k = 0; k < x->operand_count; k++) {
        const gd_instruction *of = &list[x->operand[k]];
        const bool other = x->op == GD_OP_cast;
        if (!same_shape(x, of) || (x->real_size == of->real_size) == other)
            return "operands of other shapes or types";
    }
    if (x->op == GD_OP_integer_power && (x->param_count != 1 || !whole(x->param[0], -64, 64)))
        return "the power is no whole number from -64 to 64";
    return NULL;
}

/* Whether the first parameter is a row of the family, whose own parameters follow. */
static bool names_row(const gd_instruction *x, const gd_function_row *rows, size_t count)
{
    size_t params = 0;
    if (x->param_count == 0 || !whole(x->param[0], 0, (double)count - 1))
        return false;
    while (rows[(size_t)x->param[0]].param[params].name != NULL)
        params++;
    return x->param_count == 1 + params;
}

static const char *check_loss(const gd_instruction *x, const gd_instruction *target,
                              const gd_instruction *y)
{
    if (!names_row(x, gd_loss_rows, GD_LOSSES))
        return "no row of the losses";
    const gd_kind kind = gd_loss_rows[(size_t)x->param[0]].kind;
    const size_t size = elements(y->ndim, y->shape);
    const size_t width = y->ndim > 0 ? y->shape[y->ndim - 1] : 1;
    const size_t rows = width > 0 ? size / width : 0;
    const size_t targets = kind == GD_SPARSE || kind == GD_PAIRED ? rows : size;
    const size_t results = x->op == GD_OP_loss_grad || kind == GD_POINTWISE ? size : rows;
    if ((kind == GD_SPARSE) != (target->op == GD_OP_indices) || (kind == GD_PAIRED && width != 2))
        return "targets of another kind";
    if (elements(target->ndim, target->shape) != targets || elements(x->ndim, x->shape) != results)
        return "targets or losses of another number";
    return x->real_size == y->real_size &&
                   (kind == GD_SPARSE || target->real_size == y->real_size)
               ? NULL
               : "operands of other types";
}

static const char *check_function(const gd_instruction *list, const gd_instruction *x)
{
    const gd_instruction *first = &list[x->operand[0]];
    if (x->op == GD_OP_loss || x->op == GD_OP_loss_grad)
        return check_loss(x, first, &list[x->operand[1]]);
    if (!names_row(x, gd_activation_rows, GD_ACTIVATIONS))
        return "no row of the activations";
    for (size_t k = 0; k < x->operand_count; k++)
        if (!same_shape(x, &list[x->operand[k]]) ||
            x->real_size != list[x->operand[k]].real_size)
            return "operands of other shapes or types";
    return NULL;
}

static const char *check_concatenate(const gd_instruction *list, const gd_instruction *x,
                                     size_t axis)
{
    size_t length = 0;
    for (size_t k = 0; k < x->operand_count; k++) {
        const gd_instruction *of = &list[x->operand[k]];
        if (of->ndim != x->ndim || of->real_size != x->real_size)
            return "parts of other types";
        for (size_t i = 0; i < x->ndim; i++)
            if (i != axis && of->shape[i] != x->shape[i])
                return "parts of other shapes";
        if (of->shape[axis] > x->shape[axis] - length)
            return "parts longer than the whole";
        length += of->shape[axis];
    }
    return length == x->shape[axis] ? NULL : "parts shorter than the whole";
}

static const char *check_move(const gd_instruction *list, const gd_instruction *x)
{
    const gd_instruction *of = &list[x->operand[0]];
    if (x->op == GD_OP_embed)
        return x->ndim == of->ndim && x->real_size == of->real_size &&
                       x->param_count == 2 * x->ndim && stays_inside(x, of->shape, x->shape)
                   ? NULL
                   : "the operand leaves the result";
    if (x->param_count != 1 || x->ndim == 0 || !whole(x->param[0], 0, (double)x->ndim - 1))
        return "no such axis";
    const size_t axis = (size_t)x->param[0];
    if (x->op == GD_OP_concatenate)
        return check_concatenate(list, x, axis);
    const gd_instruction *indices = &list[x->operand[1]];
    const size_t count = x->op == GD_OP_gather ? x->shape[axis] : of->shape[axis];
    if (indices->op != GD_OP_indices || of->ndim != x->ndim || of->real_size != x->real_size ||
        indices->shape[0] != count)
        return "indices of another number";
    for (size_t i = 0; i < x->ndim; i++)
        if (i != axis && of->shape[i] != x->shape[i])
            return "shapes that differ beside the axis";
    return NULL;
}

static const char *check_reduce(const gd_instruction *x, const gd_instruction *of)
{
    size_t kept = 0, next = 0;
    if (x->real_size != of->real_size || x->param_count == 0)
        return "no axes, or another type";
    for (size_t axis = 0; axis < of->ndim; axis++) {
        if (next < x->param_count && x->param[next] == (double)axis)
            next++;
        else if (kept >= x->ndim || x->shape[kept++] != of->shape[axis])
            return "shapes that differ beside the axes";
    }
    if (next != x->param_count || kept != x->ndim)
        return "axes out of order or range";
    const bool any = elements(of->ndim, of->shape) > 0 || elements(x->ndim, x->shape) == 0;
    return any || x->op == GD_OP_sum || x->op == GD_OP_prod ? NULL : "the largest of nothing";
}

static const char *check_product(const gd_instruction *x, const gd_instruction *a,
                                 const gd_instruction *b)
{
    const size_t n = x->ndim;
    if (n < 2 || a->ndim != n || b->ndim != n || a->real_size != x->real_size ||
        b->real_size != x->real_size)
        return "operands of other types or numbers of axes";
    for (size_t i = 0; i + 2 < n; i++)
        if (a->shape[i] != x->shape[i] || b->shape[i] != x->shape[i])
            return "leading axes that differ";
    return a->shape[n - 2] == x->shape[n - 2] && b->shape[n - 1] == x->shape[n - 1] &&
                   a->shape[n - 1] == b->shape[n - 2]
               ? NULL
               : "shapes that do not fit";
}

static const char *check_kind(const gd_instruction *list, const gd_instruction *x)
{
    const gd_instruction *first = &list[x->operand_count > 0 ? x->operand[0] : 0];
    switch (ops[x->op].kind) {
    case LEAF: return check_leaf(x);
    case VIEW: return check_view(x, first);
    case MAP: return check_map(list, x);
    case FUNCTION: return check_function(list, x);
    case MOVE: return check_move(list, x);
    case REDUCE: return check_reduce(x, first);
    case PRODUCT: return check_product(x, first, &list[x->operand[1]]);
    }
    return NULL;
}

const char *gd_instruction_check(const gd_instruction *list, size_t i)
{
    const gd_instruction *x = &list[i];
    if ((size_t)x->op >= GD_OPS)
        return "no such instruction";
    if ((x->real_size != sizeof(float) && x->real_size != sizeof(double)) ||
        x->ndim > GD_MAX_AXES)
        return "reals of 4 or 8 bytes and at most 8 axes are wanted";
    if (elements(x->ndim, x->shape) == SIZE_MAX)
        return "too many elements";
    const size_t wanted = ops[x->op].operands;
    if (wanted == MANY ? x->operand_count == 0 : x->operand_count != wanted)
        return "another number of operands is wanted";
    for (size_t k = 0; k < x->operand_count; k++) {
        const bool indices = x->operand[k] < i && list[x->operand[k]].op == GD_OP_indices;
        if (x->operand[k] >= i)
            return "an operand stands behind the instruction";
        if (indices && x->op != GD_OP_gather && x->op != GD_OP_scatter && x->op != GD_OP_loss &&
            x->op != GD_OP_loss_grad)
            return "indices are no operand of it";
    }
    return check_kind(list, x);
}
