/* rules.h: the rows of ops.def as data: names, defaults, domains, variants, references. What the
 * bindings show to Python and what the engine asks before a step. */
#ifndef GD_RULES_H
#define GD_RULES_H

#include "gd.h"

/* The values that a hyper-parameter may take; all must be finite. */
typedef enum {
    GD_FINITE,
    GD_NON_NEGATIVE, /* x >= 0 */
    GD_POSITIVE,     /* x > 0 */
    GD_UNIT,         /* 0 <= x < 1 */
    GD_OPEN_UNIT,    /* 0 < x < 1 */
    GD_AT_LEAST_ONE, /* x >= 1 */
    GD_BOOLEAN,      /* 0 or 1 */
} gd_domain;

typedef struct {
    const char *name;
    size_t count; /* doubles: 1 to 3 */
    gd_domain domain;
    double defaults[GD_DIALECTS][3]; /* NaN: required */
} gd_hyper;

/* Where weight decay enters. Keras has it beside the gradient, whatever the rule. */
typedef enum {
    GD_COUPLED,   /* in the gradient */
    GD_DECOUPLED, /* beside the gradient */
    GD_OWN,       /* in the rule's formula (rules without weight decay too) */
} gd_decay;

/* What the constants of a step need beside settings and t. */
typedef enum {
    GD_NOTHING,
    GD_LOSS,       /* the loss, and the norm of all gradients */
    GD_ARRAY_SUMS, /* two sums over the array */
    GD_ALL_SUMS,   /* two sums over all arrays together */
} gd_needs;

typedef enum {
    GD_FILLED, /* an array like the parameter that starts at a value */
    GD_COPIED, /* an array like the parameter that starts as its copy */
    GD_NUMBER, /* one double that starts at a value */
} gd_state_kind;

typedef struct {
    const char *name;
    gd_state_kind kind;
    double initial;
} gd_state;

typedef struct {
    size_t index; /* into gd_optimizer_kernels.step */
    const char *kernel;
    size_t state_count;
    gd_state state[GD_MAX_STATES + GD_MAX_NUMBERS];
} gd_variant;

typedef struct {
    const char *name, *class_name;
    gd_decay decay;
    gd_needs needs;
    const gd_hyper *hyper;
    size_t hyper_count;
    const char *(*check)(const void *hyper, gd_dialect dialect); /* NULL: sound */
    void (*variant)(const void *hyper, gd_variant *found);
    const char *paper, *help;
} gd_rule;

typedef enum {
    GD_ELEMENTWISE,
    GD_BINARY,
    GD_POINTWISE,
    GD_ROWWISE,
    GD_SPARSE,
    GD_PAIRED
} gd_kind;

typedef struct {
    const char *name;
    double value;
    gd_domain domain;
} gd_parameter_default;

/* A row of the activations or of the losses. */
typedef struct {
    const char *name, *aliases;
    gd_kind kind;
    bool reads_z; /* activations: the gradient needs z, not y */
    gd_parameter_default param[GD_MAX_PARAMS + 1]; /* ends where name is NULL */
    const char *(*check)(const double *param);     /* activations; NULL: sound */
    const char *paper, *help;
    const char *example; /* activations: what becomes of [-1.0, 0.0, 2.0] */
} gd_function_row;

extern const gd_rule gd_rules[GD_OPTIMIZERS];
extern const gd_function_row gd_activation_rows[GD_ACTIVATIONS];
extern const gd_function_row gd_loss_rows[GD_LOSSES];

/* The hyper-parameter of this name and where its doubles begin in the rule's struct; NULL where the
 * rule has none. */
const gd_hyper *gd_find_hyper(const gd_rule *rule, const char *name, size_t *offset);

/* Where the setting that a schedule's momentum overrides begins; 0: there is none. */
size_t gd_momentum_at(const gd_rule *rule);

/* Whether the value lies in the domain; NaN and infinities never do. */
bool gd_in_domain(gd_domain domain, double value);

/* "a finite number > 0" and the like, for messages. */
const char *gd_domain_text(gd_domain domain);

#endif
