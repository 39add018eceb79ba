/* dispatch.c: picks the level of kernels once, at import, by what the processor and the operating
 * system can run (the compiler's probe looks at both). No state but that choice. */
#include <string.h>

#include "gd.h"

static const gd_level *level_in_force = &gd_level_base;

#if defined(__x86_64__)
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw");
}
#endif

/* The i-th level that this processor runs, best last; NULL past the end. */
static const gd_level *available(size_t i)
{
    const gd_level *levels[3] = {&gd_level_base, NULL, NULL};
#if defined(__x86_64__)
    levels[1] = runs_avx2() ? &gd_level_avx2 : NULL;
    levels[2] = runs_avx512() ? &gd_level_avx512 : NULL;
#endif
    return i < 3 ? levels[i] : NULL;
}

const char *gd_level_available(size_t i)
{
    const gd_level *level = available(i);
    return level != NULL ? level->name : NULL;
}

bool gd_dispatch(const char *forced)
{
    const bool any = forced == NULL || forced[0] == '\0';
    const gd_level *found = NULL;
    for (size_t i = 0; available(i) != NULL; i++)
        if (any || strcmp(forced, available(i)->name) == 0 ||
            (i == 0 && strcmp(forced, "base") == 0))
            found = available(i);
    if (found == NULL)
        return false;
    level_in_force = found;
    return true;
}

const gd_level *gd_level_get(void)
{
    return level_in_force;
}

const gd_kernels *gd_kernels_for(size_t real_size)
{
    return real_size == sizeof(float) ? level_in_force->f32 : level_in_force->f64;
}
