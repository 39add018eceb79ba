/* kernels_avx512.c: the level of processors with AVX-512 F, DQ, VL and BW (x86-64-v4). System
 * headers stand before the pragma. prefer-vector-width: gcc 12 would use 256 bits without it. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "gd.h"
#include "linear.h"
#if defined(__x86_64__)
#define GD_ISA avx512
#define GD_HAS_FMA 1
#define GD_VECTOR_BYTES 64
#if defined(__clang__)
#pragma clang attribute push(                                                                    \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi2"))),                 \
    apply_to = function)
#else
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#endif
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int gd_no_avx512_here; /* ISO C wants a declaration in every file */
#endif
