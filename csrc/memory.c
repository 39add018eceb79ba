/* memory.c: the one way to memory, and what pieces of it overlap. The bindings hand in Python's raw
 * allocator at import, so that tracemalloc counts what the engine holds and tests can make it
 * fail. */
#include "gd.h"

#include <stdlib.h>

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

static int by_address(const void *a, const void *b)
{
    const gd_span *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

size_t gd_sort_spans(gd_span *spans, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (spans[i].low < spans[i].high)
            spans[left++] = spans[i];
    qsort(spans, left, sizeof *spans, by_address);
    return left;
}

const gd_span *gd_spans_overlap(const gd_span *spans, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (spans[i].low < spans[i - 1].high)
            return &spans[i - 1];
    return NULL;
}

bool gd_spans_meet(const gd_span *spans, size_t n, const char *low, const char *high)
{
    size_t first = 0, last = n;
    while (first < last) {
        const size_t middle = first + (last - first) / 2;
        if (spans[middle].high <= low)
            first = middle + 1;
        else
            last = middle;
    }
    return first < n && low < high && spans[first].low < high;
}
