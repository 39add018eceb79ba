/* memory.c: the one way to memory, and what pieces of it overlap. The bindings hand in Python's raw
 * allocator at import, so that tracemalloc counts what the engine holds and tests can make it
 * fail. */
#include "gd.h"

#include <stdlib.h>
#include <string.h>

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

/* The head of a part of a pool; pieces follow it. */
typedef struct part {
    struct part *next;
    size_t used, room;
} part;

enum { LINE = 64, PART_BYTES = 16 * 1024 };

/* A new part with room for at least that many bytes, in front of the others. */
static part *pool_grow(gd_pool *pool, size_t bytes)
{
    const size_t room = bytes > PART_BYTES ? bytes : PART_BYTES;
    part *made = room <= SIZE_MAX - 2 * LINE - sizeof(part)
                     ? gd_alloc(sizeof(part) + room + 2 * LINE, 1)
                     : NULL;
    if (made == NULL)
        return NULL;
    *made = (part){pool->parts, 0, room};
    pool->parts = made;
    return made;
}

void *gd_pool_take(gd_pool *pool, size_t count, size_t size)
{
    part *last = pool->parts;
    if (size != 0 && count > (SIZE_MAX - LINE) / size)
        return NULL;
    const size_t bytes = (count * size + LINE - 1) / LINE * LINE;
    if (last == NULL || last->room - last->used < bytes)
        last = pool_grow(pool, bytes);
    if (last == NULL)
        return NULL;
    const uintptr_t start = ((uintptr_t)(last + 1) + LINE - 1) / LINE * LINE;
    void *place = (char *)last + (start - (uintptr_t)last) + last->used;
    last->used += bytes;
    return memset(place, 0, bytes);
}

void gd_pool_free(gd_pool *pool)
{
    for (part *p = pool->parts, *next; p != NULL; p = next) {
        next = p->next;
        gd_free(p);
    }
    pool->parts = NULL;
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
