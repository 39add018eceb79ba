/* kernels_base.c: the level that every processor runs (SSE2 on x86-64, NEON on ARM64). */
#include <float.h>
#include <math.h>
#include <string.h>
#include "gd.h"
#include "linear.h"
#define GD_ISA base
#if defined(__aarch64__)
#define GD_HAS_FMA 1
#else
#define GD_HAS_FMA 0
#endif
#define GD_VECTOR_BYTES 16
#include "kernels.inc"
