/* rules.h: the rows of ops.def as data: names, defaults, domains, variants, references. What the
 * bindings show to Python and what the engine asks before a step. */
#ifndef GD_RULES_H
#define GD_RULES_H

#include "gd.h"

/* The values that a hyper-parameter may take; all must be finite. */
typedef enum {
    GD_NON_NEGATIVE, /* x >= 0 */
    GD_UNIT,         /* 0 <= x < 1 */
    GD_BOOLEAN,      /* 0 or 1 */
} gd_domain;

typedef struct {
    const char *name;
    size_t count; /* doubles: 1, or 2 for a pair */
    gd_domain domain;
    double defaults[GD_DIALECTS][2]; /* NaN: required */
} gd_hyper;

typedef struct {
    const char *name;
    double initial;
} gd_state;

typedef struct {
    size_t index; /* into gd_optimizer_kernels.step */
    const char *kernel;
    size_t state_count;
    gd_state state[GD_MAX_STATES];
} gd_variant;

typedef struct {
    const char *name, *class_name;
    bool coupled; /* weight decay in the gradient (never in Keras's dialect) */
    const gd_hyper *hyper;
    size_t hyper_count;
    const char *(*check)(const void *hyper, gd_dialect dialect); /* NULL: sound */
    void (*variant)(const void *hyper, gd_variant *found);
    const char *paper, *help;
} gd_rule;

typedef enum { GD_ELEMENTWISE, GD_POINTWISE, GD_ROWWISE, GD_SPARSE } gd_kind;

typedef struct {
    const char *name;
    double value;
} gd_parameter_default;

/* A row of the activations or of the losses. */
typedef struct {
    const char *name, *aliases;
    gd_kind kind;
    bool reads_z; /* activations: the gradient needs z, not y */
    gd_parameter_default param[GD_MAX_PARAMS + 1]; /* ends where name is NULL */
    const char *paper, *help;
    const char *example; /* activations: what becomes of [-1.0, 0.0, 2.0] */
} gd_function_row;

extern const gd_rule gd_rules[GD_OPTIMIZERS];
extern const gd_function_row gd_activation_rows[GD_ACTIVATIONS];
extern const gd_function_row gd_loss_rows[GD_LOSSES];

/* Whether the value lies in the domain; NaN and infinities never do. */
bool gd_in_domain(gd_domain domain, double value);

#endif
