/* memory.c: the one way to memory. The bindings hand in Python's raw allocator at import, so that
 * tracemalloc counts what the engine holds and tests can make it fail. */
#include "gd.h"

static void *(*allocate_bytes)(size_t);
static void (*release_bytes)(void *);

void gd_set_allocator(void *(*allocate)(size_t), void (*release)(void *))
{
    allocate_bytes = allocate;
    release_bytes = release;
}

void *gd_alloc(size_t count, size_t size)
{
    if (allocate_bytes == NULL || (size != 0 && count > SIZE_MAX / size))
        return NULL;
    return allocate_bytes(count * size > 0 ? count * size : 1);
}

void gd_free(void *memory)
{
    if (memory != NULL)
        release_bytes(memory);
}
