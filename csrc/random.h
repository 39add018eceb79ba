/* random.h: counter-based random numbers (Philox4x64-10: Salmon, Moraes, Dror and Shaw, "Parallel
 * random numbers: as easy as 1, 2, 3", 2011), and the order of an epoch made of them.
 *
 * A number is a function of its place alone: any thread gets the same one, and nothing is kept
 * between calls. Nothing here allocates or fails. */
#ifndef GD_RANDOM_H
#define GD_RANDOM_H

#include "gd.h"

typedef struct {
    uint64_t word[2];
} gd_key;

/* What numbers are for; those of two purposes share no counter. */
typedef enum { GD_FOR_ORDER = 1, GD_FOR_DROPOUT = 2 } gd_purpose;

/* One block: the counter encrypted by ten rounds. numpy.random.Philox counts up before its first
 * block, and so begins with this block of its counter plus one. */
void gd_philox(const gd_key *key, const uint64_t counter[4], uint64_t out[4]);

/* 32 random bits for each of n units of one row. Unit u takes half u mod 2 (the low one first) of
 * word (u mod 8) / 2 of the block whose counter is {u / 8, row, step, purpose + 256 layer}; layer
 * is below 2^56. */
void gd_random_bits(const gd_key *key, gd_purpose purpose, uint64_t step, uint64_t layer,
                    uint64_t row, size_t n, uint32_t *bits);

enum {
    GD_ORDER_TABLE = 65536, /* rows up to which an order is stored */
    GD_ORDER_ROUNDS = 6     /* of the network beyond that */
};

/* The order of an epoch, a permutation of n rows. */
typedef struct {
    size_t n;
    gd_key key;
    uint64_t epoch;
    uint32_t *table; /* the order itself, or NULL: then places go through the network */
    uint64_t round[GD_ORDER_ROUNDS];
    uint64_t left;       /* values of the left half of a place */
    unsigned right_bits; /* and bits of its right half */
} gd_order;

/* Both ways are made of the bits of GD_FOR_ORDER at step `epoch`, layer and row 0. Up to
 * GD_ORDER_TABLE rows: a Fisher-Yates shuffle in `table`, which has room for n and stays the
 * caller's: every permutation is equally likely. Beyond that, or where table is NULL: a keyed
 * bijection that stores nothing, by six rounds of a Feistel network on just more than n places
 * and cycle walking (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). */
void gd_order_start(gd_order *order, size_t n, const gd_key *key, uint64_t epoch,
                    uint32_t *table);

/* rows[i] = place from + i of the order; from + count is at most n. */
void gd_order_rows(const gd_order *order, size_t from, size_t count, size_t *rows);

#endif
