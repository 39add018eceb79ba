/* fused.c: the full-batch pass of linear models. Prediction, residual, loss and gradient of a
 * chunk follow each other while it is in L1; X is read from memory once and nothing of its length
 * is written. */
#include "gradient.h"
#include "loss.h"
#include "rules.h"

typedef struct {
    const void *target, *bias;
    const gd_function *loss;
    gd_operand w;
    size_t target_width; /* elements of target per row */
    size_t target_size;  /* of one, in bytes */
} fused;

/* Prediction, losses and d of some rows. */
static void make_residual(const gd_gradient *gradient, const gd_chunk *chunk, const gd_matrix *x,
                          size_t first, size_t at)
{
    const fused *const f = gradient->context;
    const size_t m = gradient->outputs, size = gradient->real_size;
    void *const y = gd_at_out(chunk->y, at * m, size);
    gradient->kernels->linear->product(x, &f->w, f->bias, y);
    gradient->kernels->loss[f->loss->id](
        x->rows, m, gd_at(f->target, first * f->target_width, f->target_size), y,
        gd_at_out(chunk->loss, at * gradient->losses, size), gd_at_out(chunk->d, at * m, size),
        f->loss->param);
}

/* All of a chunk at once. */
static bool whole_chunk(const gd_gradient *gradient, const gd_matrix *x, size_t first,
                        double *slice)
{
    const fused *const f = gradient->context;
    return gradient->kernels->linear->fused(x, gd_at(f->target, first, gradient->real_size),
                                            f->w.data, f->bias, f->loss->id, slice);
}

bool gd_linear_value_and_grad(size_t real_size, const gd_matrix *x, const void *target,
                              const void *w, size_t outputs, const void *bias,
                              const gd_function *loss, double *value, void *dw, void *db)
{
    const gd_kind kind = gd_loss_rows[loss->id].kind;
    const size_t losses = kind == GD_POINTWISE ? outputs : 1;
    const double count = (double)x->rows * (double)losses;
    fused f = {
        .target = target, .bias = bias, .loss = loss,
        .target_width = gd_target_width(loss->id, outputs),
        .target_size = gd_target_size(loss->id, real_size),
    };
    const gd_kernels *const kernels = gd_kernels_for(real_size);
    const struct gd_linear_kernels *const linear = kernels->linear;
    const bool one_pass = linear->fused && outputs == 1 && bias;
    const gd_gradient gradient = {
        .kernels = kernels, .real_size = real_size, .x = *x, .outputs = outputs, .losses = losses,
        .make = make_residual, .whole = one_pass ? whole_chunk : NULL, .context = &f,
        .needs_y = true, .divisor = count > 0 ? count : 1, .dw = dw, .db = db, .value = value,
    };
    gd_room room = {0};
    bool done = false;
    if (outputs == 0) {
        *value = 0;
        return true;
    }
    gd_operand_plan(linear, w, x->columns, outputs, &room, real_size);
    if (!gd_room_open(&room))
        goto done;
    f.w = gd_operand_plan(linear, w, x->columns, outputs, &room, real_size);
    gd_operand_pack(linear, &f.w, x->columns, real_size);
    done = gd_gradient_run(&gradient);
done:
    gd_room_close(&room);
    return done;
}
