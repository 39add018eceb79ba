/* reduce.c: long sums in blocks, with threads where they pay. Allocates nothing: block sums stand
 * on the stack, GD_SEGMENT blocks at a time. */
#include "reduce.h"

#include <float.h>
#include <math.h>

#include "threads.h"

enum {
    GD_SEGMENT = 512,  /* blocks whose sums are held at once: 2 million elements, 4 KB of sums */
    GD_TASK_BLOCKS = 8 /* blocks in one task: about 5 us of work in cache */
};

typedef struct {
    const gd_kernels *kernels;
    size_t real_size, n;
    const char *x, *y; /* y NULL: a plain sum */
    double scale;      /* not 0: sum of (x / scale)^2 */
    size_t first;      /* block number of the segment's start */
    double *sums;
} gd_blocks;

static double block_sum(const gd_blocks *b, size_t block)
{
    const size_t start = block * GD_SUM_BLOCK;
    const size_t n = b->n - start < GD_SUM_BLOCK ? b->n - start : GD_SUM_BLOCK;
    const char *x = b->x + start * b->real_size;
    if (b->scale != 0)
        return b->kernels->reduce.scaled_squares(n, x, b->scale);
    if (b->y != NULL)
        return b->kernels->reduce.dot(n, x, b->y + start * b->real_size);
    return b->kernels->reduce.sum(n, x);
}

static void sum_task(void *context, size_t task)
{
    const gd_blocks *b = context;
    const size_t blocks = (b->n + GD_SUM_BLOCK - 1) / GD_SUM_BLOCK - b->first;
    const size_t from = task * GD_TASK_BLOCKS;
    const size_t count = blocks < GD_SEGMENT ? blocks : GD_SEGMENT;
    for (size_t i = from; i < from + GD_TASK_BLOCKS && i < count; i++)
        b->sums[i] = block_sum(b, b->first + i);
}

static double sum_blocks(gd_blocks *b)
{
    const size_t blocks = (b->n + GD_SUM_BLOCK - 1) / GD_SUM_BLOCK;
    const gd_kernels *doubles = gd_kernels_for(sizeof(double));
    double sums[GD_SEGMENT], total = 0;
    if (blocks == 1)
        return block_sum(b, 0);
    b->sums = sums;
    for (b->first = 0; b->first < blocks; b->first += GD_SEGMENT) {
        const size_t left = blocks - b->first, count = left < GD_SEGMENT ? left : GD_SEGMENT;
        gd_parallel((count + GD_TASK_BLOCKS - 1) / GD_TASK_BLOCKS, gd_threads_get(), sum_task, b);
        total += doubles->reduce.sum(count, sums); /* by lanes: 245 one by one lose up to 6 ULP */
    }
    return total;
}

double gd_add_blocks(size_t count, const double *sums)
{
    const gd_kernels *doubles = gd_kernels_for(sizeof(double));
    double total = 0;
    if (count == 1)
        return sums[0];
    for (size_t i = 0; i < count; i += GD_SEGMENT)
        total += doubles->reduce.sum(count - i < GD_SEGMENT ? count - i : GD_SEGMENT, sums + i);
    return total;
}

double gd_sum(size_t real_size, size_t n, const void *x)
{
    gd_blocks b = {gd_kernels_for(real_size), real_size, n, x, NULL, 0, 0, NULL};
    return sum_blocks(&b);
}

double gd_dot(size_t real_size, size_t n, const void *x, const void *y)
{
    gd_blocks b = {gd_kernels_for(real_size), real_size, n, x, y, 0, 0, NULL};
    return sum_blocks(&b);
}

double gd_largest(size_t real_size, size_t n, const void *x)
{
    return gd_kernels_for(real_size)->reduce.largest(n, x);
}

bool gd_norm_is_exact(double squares)
{
    return isfinite(squares) && squares >= DBL_MIN / DBL_EPSILON;
}

/* It scales without rounding; its exponent stays where 1 / scale is normal. */
double gd_norm_scale(double largest)
{
    int exponent;
    frexp(largest, &exponent);
    return ldexp(1.0, exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent);
}

double gd_norm(size_t real_size, size_t n, const void *x)
{
    if (n == 1) /* the root of a square is exact, its range is not: 2 ns instead of 30 */
        return fabs(real_size == sizeof(float) ? (double)*(const float *)x : *(const double *)x);
    const double squares = gd_dot(real_size, n, x, x);
    if (gd_norm_is_exact(squares))
        return sqrt(squares);
    const double top = gd_largest(real_size, n, x);
    if (top == 0 || !isfinite(top))
        return top;
    const double scale = gd_norm_scale(top);
    gd_blocks b = {gd_kernels_for(real_size), real_size, n, x, NULL, scale, 0, NULL};
    return scale * sqrt(sum_blocks(&b));
}

double gd_add_norm(double a, double b)
{
    if (a == 0)
        return fabs(b);
    return isnan(a + b) ? a + b : hypot(a, b);
}
