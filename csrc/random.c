/* random.c: Philox4x64-10, bits for the units of a row, and the order of an epoch. No state and no
 * allocation; on every level the same code, since products of 128 bits have no vector form. A block
 * takes 8 ns, a shuffle 2 ns a row. */
#include "random.h"

__extension__ typedef unsigned __int128 wide;

static const uint64_t MULTIPLIER[2] = {0xD2E7470EE14C6C93u, 0xCA5A826395121157u};
static const uint64_t WEYL[2] = {0x9E3779B97F4A7C15u, 0xBB67AE8584CAA73Bu};

enum {
    PHILOX_ROUNDS = 10,
    BLOCK_UNITS = 8,  /* numbers of 32 bits in a block */
    SHUFFLE_BITS = 64 /* of them that a shuffle draws at once, so that blocks overlap */
};

static inline void philox(const gd_key *key, const uint64_t counter[4], uint64_t out[4])
{
    uint64_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint64_t k0 = key->word[0], k1 = key->word[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const wide first = (wide)MULTIPLIER[0] * a, second = (wide)MULTIPLIER[1] * c;
        a = (uint64_t)(second >> 64) ^ b ^ k0;
        b = (uint64_t)second;
        c = (uint64_t)(first >> 64) ^ d ^ k1;
        d = (uint64_t)first;
        k0 += WEYL[0];
        k1 += WEYL[1];
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

void gd_philox(const gd_key *key, const uint64_t counter[4], uint64_t out[4])
{
    philox(key, counter, out);
}

/* bits[i] = half i of the blocks from the counter on, whose first word moves on */
static void fill(const gd_key *key, uint64_t counter[4], size_t n, uint32_t *bits)
{
    uint64_t word[BLOCK_UNITS / 2];
    for (; n >= BLOCK_UNITS; n -= BLOCK_UNITS, bits += BLOCK_UNITS, counter[0]++) {
        philox(key, counter, word);
        for (size_t k = 0; k < BLOCK_UNITS; k++)
            bits[k] = (uint32_t)(word[k / 2] >> k % 2 * 32);
    }
    if (n == 0)
        return;
    philox(key, counter, word);
    for (size_t k = 0; k < n; k++)
        bits[k] = (uint32_t)(word[k / 2] >> k % 2 * 32);
    counter[0]++;
}

void gd_random_bits(const gd_key *key, gd_purpose purpose, uint64_t step, uint64_t layer,
                    uint64_t row, size_t n, uint32_t *bits)
{
    uint64_t counter[4] = {0, row, step, (uint64_t)purpose | layer << 8};
    fill(key, counter, n, bits);
}

/* ---- Up to GD_ORDER_TABLE rows: a shuffle ---------------------------------------------------- */

/* The bits of an epoch, drawn a few blocks at a time; `left` of them are wanted unless numbers are
 * refused. */
typedef struct {
    const gd_key *key;
    uint64_t counter[4];
    uint32_t bits[SHUFFLE_BITS];
    size_t next, drawn, left;
} stream;

static uint32_t next_bits(stream *s)
{
    if (s->next == s->drawn) {
        s->drawn = s->left < SHUFFLE_BITS ? (s->left / BLOCK_UNITS + 1) * BLOCK_UNITS
                                          : SHUFFLE_BITS;
        s->left -= s->left < s->drawn ? s->left : s->drawn;
        s->next = 0;
        fill(s->key, s->counter, s->drawn, s->bits);
    }
    return s->bits[s->next++];
}

/* A number in [0, range), each equally likely: the high half of bits * range, refused where the low
 * half is one of the 2^32 mod range that some numbers would have more of (Lemire 2019). */
static inline uint32_t below(stream *s, uint32_t range)
{
    uint64_t product = (uint64_t)next_bits(s) * range;
    if ((uint32_t)product < range) {
        const uint32_t more = (0u - range) % range;
        while ((uint32_t)product < more)
            product = (uint64_t)next_bits(s) * range;
    }
    return (uint32_t)(product >> 32);
}

/* Fisher-Yates from the front: row i changes places with one of the rows up to itself. */
static void shuffle(const gd_order *order)
{
    uint32_t *table = order->table;
    stream s = {.key = &order->key, .left = order->n};
    s.counter[2] = order->epoch;
    s.counter[3] = GD_FOR_ORDER;
    for (uint32_t i = 0; i < order->n; i++) {
        table[i] = i;
        const uint32_t place = i > 0 ? below(&s, i + 1) : 0, row = table[place];
        table[place] = i;
        table[i] = row;
    }
}

/* ---- Beyond that, or without a table: a network ---------------------------------------------- */

/* The halves of a place: `right_bits` bits, and as many values of the left one as n takes, so that
 * hardly any place lies outside and is walked on from (by halves of equal bits 65,537 rows lie on
 * 2^18 places, and take 88 ns each, not 8). Halves have 16 values at least: on 2 x 3 places for
 * five rows, some orders would come 1.4 times as often as they should. */
static void lay_out(gd_order *order)
{
    unsigned bits = 0;
    while (bits < 64 && order->n > (uint64_t)1 << bits)
        bits++;
    order->right_bits = bits < 8 ? 4 : bits / 2;
    order->left = order->n == 0 ? 1 : ((order->n - 1) >> order->right_bits) + 1;
    if (order->left < 16)
        order->left = 16;
}

/* 64 bits of one half and a round's key: two products, since after one alone the halves 0, 1, 2
 * would give a sequence of equal steps. */
static inline uint64_t mix(uint64_t half, uint64_t key)
{
    uint64_t x = (half ^ key) * MULTIPLIER[0];
    x ^= x >> 32;
    return x * MULTIPLIER[1];
}

static inline size_t walk(const gd_order *order, uint64_t place)
{
    const unsigned bits = order->right_bits;
    uint64_t left = place >> bits, right = place & (((uint64_t)1 << bits) - 1);
    do {
        for (int round = 0; round < GD_ORDER_ROUNDS; round += 2) {
            left += ((mix(right, order->round[round]) >> 32) * order->left) >> 32;
            left -= left < order->left ? 0 : order->left;
            right ^= mix(left, order->round[round + 1]) >> (64 - bits);
        }
        place = left << bits | right;
    } while (place >= order->n);
    return place;
}

void gd_order_start(gd_order *order, size_t n, const gd_key *key, uint64_t epoch, uint32_t *table)
{
    uint64_t counter[4] = {0, 0, epoch, GD_FOR_ORDER}, word[4];
    *order = (gd_order){.n = n, .key = *key, .epoch = epoch};
    if (table != NULL && n <= GD_ORDER_TABLE) {
        order->table = table;
        shuffle(order);
        return;
    }
    lay_out(order);
    for (size_t r = 0; r < GD_ORDER_ROUNDS; r++) {
        counter[0] = r / 4;
        if (r % 4 == 0)
            philox(key, counter, word);
        order->round[r] = word[r % 4];
    }
}

void gd_order_rows(const gd_order *order, size_t from, size_t count, size_t *rows)
{
    if (order->table != NULL)
        for (size_t i = 0; i < count; i++)
            rows[i] = order->table[from + i];
    else
        for (size_t i = 0; i < count; i++)
            rows[i] = walk(order, from + i);
}
