/* reduce.h: sums over arrays of any length, cut into blocks of GD_SUM_BLOCK whose double sums are
 * added in a fixed order: the same bits for any number of threads. */
#ifndef GD_REDUCE_H
#define GD_REDUCE_H

#include "gd.h"

double gd_sum(size_t real_size, size_t n, const void *x);
double gd_dot(size_t real_size, size_t n, const void *x, const void *y);

/* The sums of the blocks of an array added up, as gd_sum does it. */
double gd_add_blocks(size_t count, const double *sums);

/* max |x|: infinite or NaN where an element is. */
double gd_largest(size_t real_size, size_t n, const void *x);

/* The Euclidean norm, also where squares would overflow or vanish; infinite or NaN only where an
 * element is (or where the norm itself exceeds a double). */
double gd_norm(size_t real_size, size_t n, const void *x);

/* Whether a sum of squares is in the range where its root is the norm: nothing has overflowed, and
 * no squares of doubles have lost digits to underflow. */
bool gd_norm_is_exact(double squares);

/* A power of two near the largest magnitude of an array, by which its elements are divided where
 * their squares leave that range. */
double gd_norm_scale(double largest);

/* sqrt(a^2 + b^2) without overflow; NaN where one is (in C's hypot an infinity would win). */
double gd_add_norm(double a, double b);

#endif
