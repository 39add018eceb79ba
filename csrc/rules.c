/* rules.c: ops.def expanded into the constant data of rules.h. No logic but the rows' own checks
 * and choices of variant. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* ---- Hyper-parameters of each optimizer ------------------------------------------------------ */

#define REQUIRED NAN
#define DOMAIN(domain) GD_##domain
#define REAL(name, domain, torch, keras, optax)                                                  \
    {#name, 1, DOMAIN(domain), {{torch, 0, 0}, {keras, 0, 0}, {optax, 0, 0}}},
#define PAIR(name, domain, first, second)                                                        \
    {#name, 2, DOMAIN(domain), {{first, second, 0}, {first, second, 0}, {first, second, 0}}},
#define TRIPLE(name, domain, a, b, c) {#name, 3, DOMAIN(domain), {{a, b, c}, {a, b, c}, {a, b, c}}},
#define FLAG(name) {#name, 1, GD_BOOLEAN, {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}},
#define OPTIMIZER(name, class, decay, needs, hypers, ...)                                        \
    static const gd_hyper hyper_##name[] = {hypers};                                             \
    _Static_assert(sizeof(struct gd_##name) <= GD_MAX_HYPERS * sizeof(double),                   \
                   #name ": too many hyper-parameters");
#include "ops.def"

/* ---- Checks that concern several of them ----------------------------------------------------- */

#define CHECK(holds, message)                                                                    \
    if (!(holds))                                                                                \
        return message;
#define OPTIMIZER(name, class, decay, needs, hypers, checks, ...)                                \
    static const char *check_##name(const void *hyper, gd_dialect dialect)                       \
    {                                                                                            \
        const struct gd_##name *h = hyper;                                                       \
        (void)h, (void)dialect;                                                                  \
        checks return NULL;                                                                      \
    }
#include "ops.def"

/* ---- Variants -------------------------------------------------------------------------------- */

#define STATE(name, initial)                                                                     \
    found->state[found->state_count++] = (gd_state){#name, GD_FILLED, initial};
#define COPY(name) found->state[found->state_count++] = (gd_state){#name, GD_COPIED, 0};
#define NUMBER(name, initial)                                                                    \
    found->state[found->state_count++] = (gd_state){#name, GD_NUMBER, initial};
#define VARIANT(kernel_name, when, states)                                                       \
    if (when) {                                                                                  \
        found->kernel = #kernel_name;                                                            \
        states return;                                                                           \
    }                                                                                            \
    found->index++;
#define OPTIMIZER(name, class, decay, needs, hypers, checks, variants, ...)                      \
    static void variant_##name(const void *hyper, gd_variant *found)                             \
    {                                                                                            \
        const struct gd_##name *h = hyper;                                                       \
        (void)h;                                                                                 \
        found->index = found->state_count = 0;                                                   \
        variants                                                                                 \
    }
#include "ops.def"

/* ---- The rows -------------------------------------------------------------------------------- */

#define OPTIMIZER(name, class, decay, needs, hypers, checks, variants, paper, help)              \
    [GD_OPTIMIZER_##name] = {#name,                                                              \
                             #class,                                                             \
                             GD_##decay,                                                         \
                             GD_##needs,                                                         \
                             hyper_##name,                                                       \
                             sizeof hyper_##name / sizeof *hyper_##name,                         \
                             check_##name,                                                       \
                             variant_##name,                                                     \
                             paper,                                                              \
                             help},
const gd_rule gd_rules[GD_OPTIMIZERS] = {
#include "ops.def"
};

#define PARAM(name, value, domain) const double name = *param++; (void)name;
#define CHECK(holds, message)                                                                    \
    if (!(holds))                                                                                \
        return message;
#define ACTIVATION(name, kind, reads, params, checks, ...)                                       \
    static const char *check_activation_##name(const double *param)                              \
    {                                                                                            \
        (void)param;                                                                             \
        params checks return NULL;                                                               \
    }
#include "ops.def"

/* param ends with an entry without a name, so that a row without parameters is valid C too */
#define PARAM(name, value, domain) {#name, value, DOMAIN(domain)},
#define FROM_Z true
#define FROM_Y false
#define ACTIVATION(name, kind, reads, params, checks, paper, help, example)                      \
    [GD_ACTIVATION_##name] = {                                                                   \
        #name, "", GD_##kind, reads, {params{NULL, 0, 0}}, check_activation_##name,              \
        paper, help, example},
const gd_function_row gd_activation_rows[GD_ACTIVATIONS] = {
#include "ops.def"
};

#define PARAM(name, value, domain) {#name, value, DOMAIN(domain)},
#define LOSS(name, aliases, kind, params, paper, help)                                           \
    [GD_LOSS_##name] = {#name, aliases, GD_##kind, false, {params{NULL, 0, 0}}, NULL,            \
                        paper, help, ""},
const gd_function_row gd_loss_rows[GD_LOSSES] = {
#include "ops.def"
};

const gd_hyper *gd_find_hyper(const gd_rule *rule, const char *name, size_t *offset)
{
    *offset = 0;
    for (size_t i = 0; i < rule->hyper_count; i++) {
        if (strcmp(rule->hyper[i].name, name) == 0)
            return &rule->hyper[i];
        *offset += rule->hyper[i].count;
    }
    return NULL;
}

size_t gd_momentum_at(const gd_rule *rule)
{
    size_t offset = 0;
    if (gd_find_hyper(rule, "momentum", &offset) == NULL &&
        gd_find_hyper(rule, "betas", &offset) == NULL)
        return 0;
    return offset;
}

bool gd_in_domain(gd_domain domain, double value)
{
    switch (domain) {
    case GD_FINITE:
        return isfinite(value);
    case GD_NON_NEGATIVE:
        return value >= 0 && isfinite(value);
    case GD_POSITIVE:
        return value > 0 && isfinite(value);
    case GD_UNIT:
        return value >= 0 && value < 1;
    case GD_OPEN_UNIT:
        return value > 0 && value < 1;
    case GD_AT_LEAST_ONE:
        return value >= 1 && isfinite(value);
    case GD_BOOLEAN:
        return value == 0 || value == 1;
    }
    return false;
}

const char *gd_domain_text(gd_domain domain)
{
    static const char *const text[] = {
        [GD_FINITE] = "a finite number",
        [GD_NON_NEGATIVE] = "a finite number >= 0",
        [GD_POSITIVE] = "a finite number > 0",
        [GD_UNIT] = "a number in [0, 1)",
        [GD_OPEN_UNIT] = "a number in (0, 1)",
        [GD_AT_LEAST_ONE] = "a finite number >= 1",
        [GD_BOOLEAN] = "True or False",
    };
    return text[domain];
}
