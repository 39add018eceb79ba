/* kernels_avx2.c: the level of processors with AVX2 and FMA (Haswell, Zen and later). */
#include <float.h>
#include <math.h>
#include <string.h>
#include "gd.h"
#include "linear.h"
#if defined(__x86_64__)
#define GD_ISA avx2
#define GD_HAS_FMA 1
#define GD_VECTOR_BYTES 32
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi2")
#endif
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int gd_no_avx2_here; /* ISO C wants a declaration in every file */
#endif
