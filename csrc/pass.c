/* pass.c: the memory of a pass, and what forward and backward share: rows brought to a desk,
 * losses. Everything is taken in one piece, so that a pass under way allocates nothing. */
#include <math.h>
#include <string.h>

#include "loss.h"
#include "pass_parts.h"
#include "reduce.h"
#include "rules.h"
#include "threads.h"

static const double POLL_SECONDS = 0.01;
enum { PACK_THREADED = 128 * 1024 }; /* parameters from which threads share their transposes */

bool gd_watch_says_stop(gd_watch *watch)
{
    const double time = watch != NULL && watch->poll != NULL ? gd_seconds() : 0;
    if (watch == NULL || watch->poll == NULL || time - watch->last < POLL_SECONDS)
        return false;
    watch->last = time;
    return watch->poll(watch->context);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Where the sums of each array stand in a slice: behind the loss, wide weights last. */
static void plan_slice(gd_pass *pass)
{
    const gd_network *n = pass->settings.network;
    size_t at = 1;
    for (int wide = 0; wide < 2; wide++) {
        for (size_t p = 0; p < n->param_count; p++)
            if (pass->wide[p] == (wide == 1)) {
                pass->offset[p] = at;
                at += n->param_size[p];
            }
        if (wide == 0)
            pass->small_size = at;
    }
    pass->slice_size = at;
}

/* The most slices that a batch needs: a smaller one may have more of them than the largest. */
static size_t most_slices(const gd_pass *pass)
{
    const size_t pieces = (pass->settings.batch + GD_CHUNK - 1) / GD_CHUNK;
    size_t most = pieces < GD_MAX_SLICES ? pieces : GD_MAX_SLICES, params = 1;
    for (size_t p = 0; p < pass->settings.network->param_count; p++)
        params += pass->settings.network->param_size[p];
    while (most > 1 && params > GD_SLICE_BYTES / sizeof(double) / most)
        most--;
    return most > 0 ? most : 1;
}

static size_t block_size(const gd_network *n)
{
    size_t block = 0;
    for (size_t i = 0; i < n->stage_count; i++) {
        const size_t m = n->stage[i].outputs;
        const size_t need = (GD_PRODUCT_ROWS + GD_PRODUCT_BLOCK / m) * m;
        if (n->stage[i].kind == GD_STAGE_dense && need > block)
            block = need;
    }
    return block;
}

/* The packed weights of each stage; while the room is closed, their size. */
static void plan_packed(gd_pass *pass, gd_room *room)
{
    const gd_network *n = pass->settings.network;
    const struct gd_linear_kernels *linear = pass->weights.kernels->linear;
    const size_t first = gd_network_first_back(n);
    pass->packed = gd_room_take(room, n->stage_count, sizeof(gd_packed));
    for (size_t i = 0; i < n->stage_count; i++) {
        const gd_stage *s = &n->stage[i];
        if (s->kind != GD_STAGE_dense)
            continue;
        const void *w = pass->settings.param[s->param[0]];
        const gd_packed packed = {
            gd_operand_plan(linear, w, s->inputs, s->outputs, room, n->real_size),
            pass->settings.training && i >= first
                ? gd_operand_transpose(linear, w, s->inputs, s->outputs, room, n->real_size)
                : (gd_operand){0},
        };
        if (pass->packed)
            pass->packed[i] = packed;
    }
}

static void plan_sums(gd_pass *pass, gd_room *room)
{
    const gd_network *n = pass->settings.network;
    pass->offset = gd_room_take(room, n->param_count, sizeof(size_t));
    pass->wide = gd_room_take(room, n->param_count, sizeof(bool));
    if (pass->wide) {
        memset(pass->wide, 0, n->param_count * sizeof(bool));
        for (size_t i = 0; i < n->stage_count; i++)
            if (n->stage[i].kind == GD_STAGE_dense && n->stage[i].outputs > GD_NARROW)
                pass->wide[n->stage[i].param[0]] = true;
        plan_slice(pass);
    }
    size_t size = 1;
    for (size_t p = 0; p < n->param_count; p++)
        size += n->param_size[p];
    pass->sums = gd_room_take(room, most_slices(pass), size * sizeof(double));
    for (size_t i = 0; i < pass->threads; i++) {
        void *block = gd_room_take(room, block_size(n), n->real_size);
        if (pass->block)
            pass->block[i] = block;
    }
}

/* Everything that a pass holds; while the room is closed, its size. */
static void plan(gd_pass *pass, gd_room *room)
{
    const gd_pass_settings *s = &pass->settings;
    const gd_network *n = s->network;
    const gd_objective *o = s->objective;
    const size_t target = o == NULL ? 0 : o->target_width * (o->labels ? sizeof(int64_t)
                                                                       : n->real_size);
    const size_t chunks = s->training ? 0 : (s->data->rows + pass->chunk - 1) / pass->chunk;
    pass->desk = gd_room_take(room, pass->desks, sizeof(gd_desk));
    pass->status = gd_room_take(room, pass->threads, sizeof(gd_run_status));
    pass->count = gd_room_take(room, pass->threads, 2 * n->stage_count * sizeof(uint64_t));
    pass->block = gd_room_take(room, pass->threads, sizeof(void *));
    pass->chunk_loss = gd_room_take(room, chunks, sizeof(double));
    pass->chunk_weight = gd_room_take(room, chunks, sizeof(double));
    plan_packed(pass, room);
    if (s->training)
        plan_sums(pass, room);
    for (size_t i = 0; i < pass->desks; i++) {
        gd_desk desk;
        gd_desk_plan(n, s->training, pass->chunk, o != NULL ? o->losses : 0, target, room, &desk);
        if (pass->desk)
            pass->desk[i] = desk;
    }
}

/* How the rows go: in chunks or all together, over how many desks. */
static void choose(gd_pass *pass)
{
    const gd_pass_settings *s = &pass->settings;
    const gd_network *n = s->network;
    const bool first_dense = n->stage_count > 0 && n->stage[0].kind == GD_STAGE_dense;
    const size_t rows = s->training ? s->batch : s->data->rows;
    const bool scalar = s->objective != NULL && s->objective->scalar;
    pass->work = gd_network_work(n);
    pass->whole = scalar || n->whole || (s->training && gd_network_crosses_rows(n));
    pass->by_chunks = gd_network_has_functions(n) || (s->objective != NULL && s->objective->own);
    pass->chunk = pass->whole || rows < GD_CHUNK ? (rows > 0 ? rows : 1) : GD_CHUNK;
    pass->direct_x = first_dense && gd_source_is_plain(&s->data->x, n->real_size);
    pass->threads = gd_threads_for(rows, (size_t)fmin(pass->work, 1e15), 1) > 1 ? s->threads : 1;
    if (pass->threads == 0)
        pass->threads = 1;
    const size_t chunks = (rows + pass->chunk - 1) / pass->chunk;
    const size_t most = s->training ? most_slices(pass) : chunks;
    pass->desks = pass->threads < most ? pass->threads : most > 0 ? most : 1;
    if (s->training && most_slices(pass) == 1)
        pass->desks = 1;
    if (pass->whole)
        pass->desks = 1;
    size_t elements = 0;
    for (size_t p = 0; p < n->param_count; p++)
        elements += n->param_size[p];
    pass->pack_tasks = s->training && elements > PACK_THREADED ? pass->threads : 1;
}

gd_pass *gd_pass_open(const gd_pass_settings *settings)
{
    gd_pass *pass = gd_alloc(1, sizeof *pass);
    bool opened;
    if (pass == NULL)
        return NULL;
    *pass = (gd_pass){.settings = *settings};
    pass->weights = (gd_weights){
        .network = settings->network,
        .kernels = gd_kernels_for(settings->network->real_size),
        .param = settings->param,
        .buffer = settings->buffer,
        .training = settings->training,
    };
    choose(pass);
    plan(pass, &pass->room);
    if (!gd_room_open(&pass->room)) {
        gd_free(pass);
        return NULL;
    }
    plan(pass, &pass->room);
    pass->weights.packed = pass->packed;
    pass->weights.watch = pass->whole ? settings->watch : NULL;
    opened = true;
    for (size_t i = 0; i < pass->desks; i++)
        memset(pass->desk[i].run, 0, 2 * settings->network->part_count * sizeof(gd_run *));
    for (size_t i = 0; i < pass->desks; i++)
        opened = gd_desk_open(settings->network, &pass->desk[i]) && opened;
    if (!opened) {
        gd_pass_close(pass);
        return NULL;
    }
    gd_pass_pack(pass);
    return pass;
}

void gd_pass_close(gd_pass *pass)
{
    if (pass == NULL)
        return;
    for (size_t i = 0; i < pass->desks; i++)
        gd_desk_close(pass->settings.network, &pass->desk[i]);
    gd_room_close(&pass->room);
    gd_free(pass);
}

/* Task `index` of so many: its share of the rows of each W^T, and of the stages' tails. */
static void pack_share(void *context, size_t index)
{
    const gd_pass *pass = context;
    const gd_network *n = pass->settings.network;
    const struct gd_linear_kernels *linear = pass->weights.kernels->linear;
    const size_t tasks = pass->pack_tasks;
    for (size_t i = 0; i < n->stage_count; i++) {
        const gd_stage *s = &n->stage[i];
        const gd_packed *packed = &pass->packed[i];
        if (s->kind != GD_STAGE_dense)
            continue;
        if (i % tasks == index)
            gd_operand_pack(linear, &packed->w, s->inputs, n->real_size);
        if (packed->transposed.data == NULL)
            continue;
        const size_t from = gd_share(s->outputs, tasks, index);
        const size_t rows = gd_share(s->outputs, tasks, index + 1) - from;
        const size_t stride = packed->transposed.row_stride;
        const gd_matrix source = {gd_at(packed->w.data, from, n->real_size), rows, s->inputs, 1,
                                  (ptrdiff_t)s->outputs};
        linear->pack(&source, 0,
                     (void *)gd_at(packed->transposed.data, from * stride, n->real_size), stride);
    }
}

void gd_pass_pack(gd_pass *pass)
{
    gd_parallel(pass->pack_tasks, pass->pack_tasks, pack_share, pass);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

void gd_pass_seat(const gd_pass *pass, gd_desk *desk, size_t first, size_t rows)
{
    const gd_network *n = pass->settings.network;
    const gd_source *x = &pass->settings.data->x;
    const gd_batch *b = &pass->batch;
    const bool in_order = b->order == NULL && b->given == NULL && !pass->settings.data->index;
    desk->input = (gd_matrix){desk->x, rows, n->inputs, (ptrdiff_t)n->inputs, 1};
    if (!pass->direct_x || !in_order)
        return;
    desk->input.data = x->data + (ptrdiff_t)(b->first + first) * x->row_stride;
    desk->input.row_stride = x->row_stride / (ptrdiff_t)n->real_size;
}

void gd_pass_number(const gd_pass *pass, size_t p, size_t count, size_t *row)
{
    const gd_batch *b = &pass->batch;
    const int64_t *index = pass->settings.data->index;
    if (b->order != NULL)
        gd_order_rows(b->order, p, count, row);
    else
        for (size_t i = 0; i < count; i++)
            row[i] = b->given != NULL ? (size_t)b->given[p + i] : p + i;
    for (size_t i = 0; index != NULL && i < count; i++)
        row[i] = (size_t)index[row[i]];
}

/* The weights of rows as reals. */
static void fetch_weights(const gd_pass *pass, const gd_desk *desk, size_t from, size_t rows)
{
    const double *weights = pass->settings.data->weights;
    const size_t *row = desk->row + from;
    float *narrow = (float *)desk->weights + from;
    double *wide = (double *)desk->weights + from;
    for (size_t i = 0; i < rows; i++)
        if (pass->settings.network->real_size == sizeof(float))
            narrow[i] = (float)weights[row[i]];
        else
            wide[i] = weights[row[i]];
}

/* Run it chunk by chunk, with looks at the caller where rows may be many. */
typedef gd_run_status rows_fn(const gd_pass *pass, const gd_desk *desk, size_t first, size_t from,
                              size_t rows, void *dy);

static gd_run_status by_chunks(const gd_pass *pass, const gd_desk *desk, size_t first, size_t from,
                               size_t rows, void *dy, rows_fn *run)
{
    const gd_network *n = pass->settings.network;
    gd_run_status status = GD_RUN_DONE;
    if (pass->weights.watch == NULL)
        return run(pass, desk, first, from, rows, dy);
    for (size_t r = 0; r < rows && status == GD_RUN_DONE; r += GD_CHUNK) {
        status = run(pass, desk, first, from + r, rows - r < GD_CHUNK ? rows - r : GD_CHUNK,
                     dy != NULL ? gd_at_out(dy, r * n->outputs, n->real_size) : NULL);
        if (gd_watch_says_stop(pass->weights.watch))
            status = GD_RUN_STOPPED;
    }
    return status;
}

static gd_run_status fetch(const gd_pass *pass, const gd_desk *desk, size_t first, size_t from,
                           size_t rows, void *unused)
{
    const gd_data *data = pass->settings.data;
    const gd_objective *o = pass->settings.objective;
    const size_t size = pass->settings.network->real_size, p = pass->batch.first + first + from;
    size_t *row = desk->row + from;
    (void)unused;
    gd_pass_number(pass, p, rows, row);
    if (desk->input.data == desk->x)
        gd_gather(&data->x, row, 0, rows, size,
                  gd_at_out(desk->x, from * data->x.columns, size));
    if (o == NULL)
        return GD_RUN_DONE;
    if (o->labels) {
        int64_t *label = (int64_t *)desk->target + from;
        gd_gather_labels(&data->target, row, 0, rows, label);
        for (size_t i = 0; !o->own && i < rows; i++)
            if (label[i] < 0 || (uint64_t)label[i] >= pass->settings.network->outputs)
                return GD_RUN_BAD_INDEX;
    } else {
        gd_gather(&data->target, row, 0, rows, size,
                  gd_at_out(desk->target, from * o->target_width, size));
    }
    if (data->weights != NULL)
        fetch_weights(pass, desk, from, rows);
    return GD_RUN_DONE;
}

gd_run_status gd_pass_fetch(const gd_pass *pass, const gd_desk *desk, size_t first, size_t from,
                            size_t rows)
{
    return by_chunks(pass, desk, first, from, rows, NULL, fetch);
}

/* ---- Losses ---------------------------------------------------------------------------------- */

/* The factors of the losses of a user's program: weights times the factor, or the factor alone. */
static void fill_factors(const gd_pass *pass, const gd_desk *desk, size_t rows)
{
    const bool weighted = pass->settings.data->weights != NULL;
    float *narrow = desk->weights;
    double *wide = desk->weights;
    for (size_t i = 0; i < rows; i++)
        if (pass->settings.network->real_size == sizeof(float))
            narrow[i] = (float)pass->factor * (weighted ? narrow[i] : 1.0f);
        else
            wide[i] = pass->factor * (weighted ? wide[i] : 1.0);
}

/* Losses of a program are weighted by the factors that it was given: its sum is the loss itself. */
static gd_run_status own_losses(const gd_pass *pass, const gd_desk *desk, size_t rows, void *dy)
{
    const gd_part *part = NULL;
    gd_run *run =
        gd_desk_run(pass->settings.network, desk, GD_PART_OF_LOSS, rows, false, &part);
    const void *const first[] = {desk->target, gd_desk_output(pass->settings.network, desk),
                                 desk->weights};
    void *const outputs[] = {desk->loss, dy};
    if (run == NULL)
        return GD_RUN_NO_MEMORY;
    fill_factors(pass, desk, pass->settings.objective->scalar ? 1 : rows);
    const gd_run_status status = gd_run_part(run, part, first, 3, outputs);
    if (!pass->settings.objective->scalar)
        pass->weights.kernels->weigh(rows, 1, desk->weights, 1, desk->loss);
    return status;
}

static gd_run_status losses(const gd_pass *pass, const gd_desk *desk, size_t unused, size_t from,
                            size_t rows, void *dy)
{
    const gd_objective *o = pass->settings.objective;
    const gd_network *n = pass->settings.network;
    const size_t size = n->real_size, target = o->labels ? sizeof(int64_t) : size;
    const void *weights =
        pass->settings.data->weights ? gd_at(desk->weights, from, size) : NULL;
    void *loss = gd_at_out(desk->loss, from * o->losses, size);
    (void)unused;
    pass->weights.kernels->loss[o->loss.id](
        rows, n->outputs, gd_at(desk->target, from * o->target_width, target),
        gd_at(gd_desk_output(n, desk), from * n->outputs, size), loss, dy, o->loss.param);
    if (weights != NULL)
        pass->weights.kernels->weigh(rows, o->losses, weights, 1, loss);
    if (pass->settings.training && (weights != NULL || pass->factor != 1))
        pass->weights.kernels->weigh(rows, n->outputs, weights, pass->factor, dy);
    return GD_RUN_DONE;
}

gd_run_status gd_pass_losses(const gd_pass *pass, const gd_desk *desk, size_t from, size_t rows,
                             void *dy)
{
    return pass->settings.objective->own ? own_losses(pass, desk, rows, dy)
                                         : by_chunks(pass, desk, 0, from, rows, dy, losses);
}

double gd_pass_sum_losses(const gd_pass *pass, const gd_desk *desk, size_t rows)
{
    const gd_objective *o = pass->settings.objective;
    const size_t n = o->own && o->scalar ? 1 : rows * o->losses;
    return gd_sum(pass->settings.network->real_size, n, desk->loss);
}

void gd_pass_show(const gd_pass *pass, const gd_desk *desk, size_t from, size_t rows, void *seen)
{
    const gd_network *n = pass->settings.network;
    const gd_function linear = {.id = GD_ACTIVATION_linear};
    const gd_function *f =
        pass->settings.objective != NULL ? &pass->settings.objective->probability : &linear;
    pass->weights.kernels->activation[f->id].forward(
        rows, n->outputs, gd_at(gd_desk_output(n, desk), from * n->outputs, n->real_size), seen,
        f->param);
}

double gd_penalty(const gd_network *n, void *const *param, const double *penalty)
{
    enum { BLOCK = 256 };
    const gd_kernels *kernels = gd_kernels_for(n->real_size);
    double total = 0, magnitude[BLOCK];
    for (size_t p = 0; penalty != NULL && p < n->param_count; p++) {
        const double l1 = penalty[2 * p], l2 = penalty[2 * p + 1];
        double absolute = 0;
        for (size_t i = 0; l1 != 0 && i < n->param_size[p]; i += BLOCK) {
            const size_t left = n->param_size[p] - i, count = left < BLOCK ? left : BLOCK;
            const void *const x[] = {gd_at(param[p], i, n->real_size)};
            kernels->map[GD_OP_absolute](count, x, magnitude, NULL);
            absolute += kernels->reduce.sum(count, magnitude);
        }
        const double norm = l2 != 0 ? gd_norm(n->real_size, n->param_size[p], param[p]) : 0;
        total += l1 * absolute + l2 * norm * norm;
    }
    return total;
}
