/* network.c: what a network is made of, and where a desk keeps it. Stages that need the output of
 * the one before them no more write over it: activations whose gradient reads their result, and
 * every gradient that its stage does not need again. */
#include "network.h"

#include "rules.h"

/* ---- Description ----------------------------------------------------------------------------- */

/* Whether array k of stage i is one of a stage before it too, or of the stage itself. */
static bool is_taken(const gd_network *n, size_t i, size_t k)
{
    for (size_t j = 0; j <= i; j++)
        for (size_t m = 0; m < (j < i ? n->stage[j].param_count : k); m++)
            if (n->stage[j].param[m] == n->stage[i].param[k])
                return true;
    return false;
}

static const char *check_params(const gd_network *n, size_t i)
{
    const gd_stage *s = &n->stage[i];
    const bool norm = s->kind == GD_STAGE_layer_norm || s->kind == GD_STAGE_batch_norm;
    const size_t least = s->kind == GD_STAGE_dense ? 1 : norm ? 2 : 0;
    const size_t most = least > 0 ? 2 : 0;
    if (s->param_count < least || s->param_count > most)
        return "a stage has another number of arrays";
    for (size_t k = 0; k < s->param_count; k++) {
        const bool first = k == 0 && s->kind == GD_STAGE_dense;
        size_t wanted = s->outputs;
        if (s->param[k] >= n->param_count)
            return "a stage names an array that is not there";
        if (first && __builtin_mul_overflow(s->inputs, s->outputs, &wanted))
            return "a stage is too large";
        if (n->param_size[s->param[k]] != wanted)
            return "an array of a stage has another size";
        if (is_taken(n, i, k))
            return "an array belongs to two stages";
    }
    return NULL;
}

const char *gd_stage_check(const gd_network *n, size_t i)
{
    const gd_stage *s = &n->stage[i];
    if (s->inputs != (i == 0 ? n->inputs : n->stage[i - 1].outputs))
        return "a stage does not take what the one before it gives";
    if (s->inputs == 0 || s->outputs == 0 || s->inputs > INT32_MAX || s->outputs > INT32_MAX)
        return "a stage has no width, or too large a one";
    if (s->kind != GD_STAGE_dense && s->inputs != s->outputs)
        return "only a dense stage changes the width";
    if (s->kind == GD_STAGE_dropout && !(s->number[0] >= 0 && s->number[0] < 1))
        return "the rate of dropout is not in [0, 1)";
    if (s->kind == GD_STAGE_batch_norm &&
        (n->buffer_count < 2 || s->partner > n->buffer_count - 2))
        return "a stage names moving statistics that are not there";
    if (s->kind == GD_STAGE_batch_norm && (n->buffer_size[s->partner] != s->outputs ||
                                           n->buffer_size[s->partner + 1] != s->outputs))
        return "moving statistics of a stage have another size";
    if (s->kind == GD_STAGE_join) {
        const size_t f = s->partner;
        if (f >= i || n->stage[f].kind != GD_STAGE_fork || n->stage[f].outputs != s->outputs)
            return "a join has no fork of its width before it";
        if (n->stage[f].partner != 0)
            return "a fork has two joins";
    }
    return check_params(n, i);
}

bool gd_network_crosses_rows(const gd_network *n)
{
    for (size_t i = 0; i < n->stage_count; i++)
        if (n->stage[i].kind == GD_STAGE_batch_norm)
            return true;
    return false;
}

bool gd_network_has_functions(const gd_network *n)
{
    for (size_t i = 0; i < n->stage_count; i++)
        if (n->stage[i].kind == GD_STAGE_function)
            return true;
    return false;
}

double gd_network_work(const gd_network *n)
{
    double work = 0;
    for (size_t i = 0; i < n->stage_count; i++) {
        const gd_stage *s = &n->stage[i];
        const double width = (double)s->outputs;
        work += s->kind == GD_STAGE_dense ? (double)s->inputs * width : 4 * width;
    }
    return work;
}

size_t gd_network_first_back(const gd_network *n)
{
    size_t i = 0;
    while (i < n->stage_count && n->stage[i].param_count == 0)
        i++;
    return i + 1;
}

/* ---- Desks ----------------------------------------------------------------------------------- */

/* Whether the stage may write its output over that of the stage before it. */
static bool in_place(const gd_network *n, size_t i, bool training)
{
    const gd_stage *s = &n->stage[i];
    if (s->kind == GD_STAGE_fork || (s->kind == GD_STAGE_dropout && !training))
        return true;
    if (i == 0 || s->kind != GD_STAGE_activation)
        return false;
    const gd_stage_kind before = n->stage[i - 1].kind;
    if (before == GD_STAGE_fork || (!training && before == GD_STAGE_dropout))
        return false;
    return !training ||
           (!gd_activation_rows[s->activation.id].reads_z && before != GD_STAGE_activation);
}

/* Whether the gradient of the stage's input may stand where that of its output does. */
static bool in_place_back(const gd_stage *s)
{
    return s->kind == GD_STAGE_activation || s->kind == GD_STAGE_dropout ||
           s->kind == GD_STAGE_fork;
}

/* Room for what a stage keeps: the mask of a dropout, the statistics of a norm. */
static void *plan_extra(const gd_network *n, const gd_stage *s, size_t rows, gd_room *room)
{
    switch (s->kind) {
    case GD_STAGE_dropout: return gd_room_take(room, rows, s->outputs * n->real_size);
    case GD_STAGE_layer_norm: return gd_room_take(room, rows, 2 * n->real_size);
    /* mean and rstd as reals, then mean, variance and two means of its gradient as doubles */
    case GD_STAGE_batch_norm: return gd_room_take(room, 6 * sizeof(double), s->outputs);
    default: return NULL;
    }
}

static void plan_forward(const gd_network *n, bool training, size_t rows, gd_room *room,
                         gd_desk *desk)
{
    size_t bits = 0, widest = 0;
    for (size_t i = 0; i < n->stage_count; i++) {
        const gd_stage *s = &n->stage[i];
        const bool norm = s->kind == GD_STAGE_layer_norm || s->kind == GD_STAGE_batch_norm;
        void *before = i > 0 && desk->y ? desk->y[i - 1] : desk->x;
        void *y = in_place(n, i, training) ? before
                                           : gd_room_take(room, rows, s->outputs * n->real_size);
        void *extra = plan_extra(n, s, rows, room);
        if (desk->y) {
            desk->y[i] = y;
            desk->extra[i] = extra;
        }
        if (s->kind == GD_STAGE_dropout && s->outputs > bits)
            bits = s->outputs;
        if (norm && s->outputs > widest)
            widest = s->outputs;
    }
    desk->bits_width = bits;
    desk->terms_width = widest;
    desk->bits = training ? gd_room_take(room, rows, bits * sizeof(uint32_t)) : NULL;
    desk->terms = gd_room_take(room, rows, widest * n->real_size);
}

static void plan_backward(const gd_network *n, size_t rows, gd_room *room, gd_desk *desk)
{
    const struct gd_linear_kernels *linear = gd_kernels_for(n->real_size)->linear;
    void **const d = gd_room_take(room, n->stage_count, sizeof(void *));
    desk->d = d;
    desk->operand = gd_room_take(room, n->stage_count, sizeof(gd_operand));
    for (size_t i = n->stage_count; i-- > 0;) {
        const gd_stage *s = &n->stage[i];
        const bool last = i + 1 == n->stage_count;
        void *place = !last && in_place_back(&n->stage[i + 1])
                          ? (d ? d[i + 1] : NULL)
                          : gd_room_take(room, rows, s->outputs * n->real_size);
        if (d)
            d[i] = place;
        if (s->kind != GD_STAGE_dense)
            continue;
        const gd_operand operand =
            gd_operand_plan(linear, place, rows, s->outputs, room, n->real_size);
        if (desk->operand)
            desk->operand[i] = operand;
    }
}

void gd_desk_plan(const gd_network *n, bool training, size_t rows, size_t losses,
                  size_t target_bytes, gd_room *room, gd_desk *desk)
{
    *desk = (gd_desk){0};
    desk->x = gd_room_take(room, rows, n->inputs * n->real_size);
    desk->y = gd_room_take(room, n->stage_count, sizeof(void *));
    desk->extra = gd_room_take(room, n->stage_count, sizeof(void *));
    desk->row = gd_room_take(room, rows, sizeof(size_t));
    desk->target = gd_room_take(room, rows, target_bytes);
    desk->loss = gd_room_take(room, rows, losses * n->real_size);
    desk->weights = gd_room_take(room, rows, n->real_size);
    desk->run = gd_room_take(room, 2 * n->part_count, sizeof(gd_run *));
    plan_forward(n, training, rows, room, desk);
    if (training)
        plan_backward(n, rows, room, desk);
    else /* where a loss writes the gradient that nobody asked for */
        desk->terms = losses > 0 ? gd_room_take(room, rows, n->outputs * n->real_size)
                                 : desk->terms;
}

bool gd_desk_open(const gd_network *n, gd_desk *desk)
{
    bool opened = true;
    for (size_t i = 0; i < n->part_count; i++) {
        const gd_program *back = n->part[i].backward;
        desk->run[2 * i] = gd_run_open(n->part[i].forward, 1);
        desk->run[2 * i + 1] = back != NULL ? gd_run_open(back, 1) : NULL;
        opened = opened && desk->run[2 * i] != NULL && (back == NULL || desk->run[2 * i + 1]);
    }
    return opened;
}

void gd_desk_close(const gd_network *n, gd_desk *desk)
{
    for (size_t i = 0; i < 2 * n->part_count; i++)
        gd_run_close(desk->run[i]);
}

void *gd_desk_output(const gd_network *n, const gd_desk *desk)
{
    return n->stage_count > 0 ? desk->y[n->stage_count - 1] : desk->x;
}

/* ---- Functions of the user's ----------------------------------------------------------------- */

gd_run *gd_desk_run(const gd_network *n, const gd_desk *desk, int64_t stage, size_t rows,
                    bool backward, const gd_part **part)
{
    for (size_t i = 0; i < n->part_count; i++)
        if (n->part[i].stage == stage && n->part[i].rows == rows) {
            *part = &n->part[i];
            return desk->run[2 * i + backward];
        }
    return NULL;
}

gd_run_status gd_run_part(gd_run *run, const gd_part *part, const void *const *first,
                          size_t first_count, void *const *outputs)
{
    enum { MOST = 64 }; /* arrays that a function may capture, looked at where parts are read */
    const gd_program *program = gd_run_program(run);
    const void *input[MOST];
    for (size_t i = 0; i < gd_program_input_count(program) && i < MOST; i++) {
        const size_t slot = gd_program_input_at(program, i)->slot;
        input[i] = slot < first_count ? first[slot] : part->captured[slot - first_count];
    }
    return gd_run_once(run, input, outputs);
}
