/* reduce.h: sums over arrays of any length, cut into blocks of GD_SUM_BLOCK whose double sums are
 * added in a fixed order: the same bits for any number of threads. */
#ifndef GD_REDUCE_H
#define GD_REDUCE_H

#include "gd.h"

double gd_sum(size_t real_size, size_t n, const void *x);
double gd_dot(size_t real_size, size_t n, const void *x, const void *y);

/* max |x|: infinite or NaN where an element is. */
double gd_largest(size_t real_size, size_t n, const void *x);

/* The Euclidean norm, also where squares would overflow or vanish; infinite or NaN only where an
 * element is (or where the norm itself exceeds a double). */
double gd_norm(size_t real_size, size_t n, const void *x);

/* sqrt(a^2 + b^2) without overflow; NaN where one is (in C's hypot an infinity would win). */
double gd_add_norm(double a, double b);

#endif
