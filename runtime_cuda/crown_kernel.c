/* Backward bounds of fully connected networks, a box at a time: what `crown.Propagator` computes, without the batch.

   The idea.  NumPy needs batches, and a batch must take the rows and columns that any of its boxes needs.  Late in a
   search a box has 5 to 15 live neurons a layer out of 50, and which ones differs from box to box.  So one box at a
   time is taken through the whole network: every layer's matrix is gathered into the rows that can be positive and the
   columns that can be nonzero in this very box, and all rows of the box run on those small matrices, in the first and
   second level cache.  The steps are those of crown.py: an interval pass with its error term, backward rows for the
   neurons that were unstable in the parent (both signs), intersection, relaxation; then the rows of the property under
   several lower slopes.  How much each input matters (branching.py) is summed up on the way, while the coefficients of
   the neurons' rows over the input are still at hand; they are never stored.

   A neuron with upper bound <= 0 contributes nothing, so dropping it changes no bound; a neuron that was already dead
   in the parent keeps the parent's bounds.

   Why it is sound.  The bounds are those of crown.py, and the error terms those of rounding.py: every rounding here is
   covered by |Lambda| E with E >= engine_gamma(count) (|W| U + |b|), whatever the order of a sum and whether or not a
   product is fused with its addition (so contraction is allowed, and vectors add up as they lie).  native.py makes
   `count` such that for every layer of n rows

       n + N <= count + 256,    N = ceil(widest / 2) + layers + 32,

   n for the product Lambda W; N for the longest way of a constant Lambda_j b_j into the bound: its product, at most
   ceil(widest / 2) additions in one element of the narrowest vectors, 7 more to join three sums and the elements of a
   vector and to charge what is cut, an addition a layer, and those of `concretise`.  An intercept t is below U, so that
   the same term covers its way; t itself and the product of a coefficient and a slope are covered where the lines are
   made, as in crown.lines.

   NaN and infinity never prove: a bound that is not finite becomes minus infinity, comparisons are written so that a
   NaN leaves the inherited bound in place, and the compiler may not assume that there are none (no -ffast-math).

   C11 with vector types and, on x86-64, loops for three instruction sets (crown_lanes.h), chosen at run time.  No global
   state, no threads, no memory kept between calls. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LAYOUT 1  /* counts changes of what native.py hands over */
#define LANES 8   /* everything is padded to whole vectors of the widest kind */
#define BLOCK 6   /* rows of a register block: with two vectors of columns 12 accumulators, and 15 registers in all */
#define CHUNK 48  /* rows substituted together, a multiple of BLOCK: 21 KB of coefficients for layers of 56 */
#define RULES 3   /* lower slopes: adaptive, zero, parallel, as numbered in crown.py */
#define U64 0x1p-53
#define INLINE static inline __attribute__((always_inline))

/* A chain of affine layers; layer k reads v_k (v_0 the input) and v_{k+1} is its value, through a Relu where relu[k].
   Mirrored field by field in native.py. */
struct network {
    int64_t inputs, layers, width, total, widest;
    int64_t lanes;               /* the most doubles that a vector may hold: 8 unless a test wants fewer */
    const int64_t *rows, *cols, *relu;
    const int64_t *slot;         /* first column of the layer in the storage of bounds, where relu[k] */
    const int64_t *start;        /* first row of the layer in bias, magnitude and weight_sum */
    const int64_t *matrix_start; /* in matrix: rows padded with zeros to a multiple of LANES */
    const double *matrix, *bias, *magnitude, *weight_sum;
    const double *gamma; /* E = (M gamma + (weight_sum + sum U + 1) floor + sum U resolution + underflow) (1 + 32 u) */
    const double *floor;
    const double *raise; /* above all roundings of a sum over the columns */
    const double *peak;  /* an execution may reach M + peak (1 + sum U) on the way (Rounding.peak) */
    const double *limit; /* E is infinite where that and its error are not below the limit */
    double resolution;   /* what a fixed-point checker loses: a unit of every intercept, and of sum U a layer and row */
    double raise_intercept, underflow, tiny;
};

/* A layer as one box sees it: rows in `active` only, columns those of the layer before. */
struct view {
    int64_t count, padded;       /* active rows, and rounded up to LANES */
    int64_t stride;              /* of matrix: the padded count of the layer before */
    double cut;                  /* resolution sum U */
    int64_t *active;
    double *matrix;              /* (count, stride), zeros beyond the columns */
    double *bias, *error;        /* (padded), zeros beyond count, as all that follow */
    double *upper, *intercept;   /* relu(z) <= upper z + intercept */
    double *lower[RULES];        /* relu(z) >= lower z */
    double *effect;              /* (count, padded inputs): what input i narrows of the neuron's relaxation */
};

struct work {
    struct view *views;
    double *mid, *rad, *mag;     /* of v_k, compact */
    double *low, *high;          /* bounds of the candidates of one layer, by their position in `active` */
    int64_t *wanted;             /* positions in `active` of neurons with rows of their own */
    double *influence;           /* (rows, 2, padded inputs): coefficients over the input of the neurons' rows */
    double *coef, *lambda;       /* (CHUNK, padded widest) */
    double *constant, *value;    /* (CHUNK) */
    double *score;               /* (CHUNK, padded inputs) */
    int64_t rule[CHUNK];
    double *x_low, *x_high, *x_mag; /* (padded inputs) */
    int64_t wide, wide_inputs;   /* padded widest layer, padded inputs */
    void *memory;

    /* Rows over v_top (in coef, constants in constant, lower slopes in rule) down to the input, and their bounds into
       value; x_rows, if any, are added there: (count, inputs).  The first `scored` rows leave in score how much each
       input matters to them. */
    void (*substitute)(const struct network *, struct work *, int64_t top, int64_t count, int64_t scored,
                       const double *const *x_rows);
    /* W m, |W| r and |W| U of one gathered row. */
    void (*products)(const struct work *, const double *restrict row, int64_t stride, double *restrict to);
};

static int64_t pad(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

INLINE double larger(double a, double inherited) { return a > inherited ? a : inherited; }
INLINE double smaller(double a, double inherited) { return a < inherited ? a : inherited; }

/* Inner loops by instruction set --------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define NAME(f) f##_512
#define WIDTH 8
#define TARGET __attribute__((target("avx512f")))
#include "crown_lanes.h"
#define NAME(f) f##_256
#define WIDTH 4
#define TARGET __attribute__((target("avx,fma")))
#include "crown_lanes.h"
#endif
#define NAME(f) f##_128
#define WIDTH 2
#define TARGET
#include "crown_lanes.h"

static void choose(struct work *w, int64_t lanes) {
    w->substitute = substitute_128;
    w->products = products_128;
#if defined(__x86_64__)
    if (lanes >= 8 && __builtin_cpu_supports("avx512f")) {
        w->substitute = substitute_512;
        w->products = products_512;
    } else if (lanes >= 4 && __builtin_cpu_supports("avx") && __builtin_cpu_supports("fma")) {
        w->substitute = substitute_256;
        w->products = products_256;
    }
#else
    (void)lanes;
#endif
}

/* Memory ------------------------------------------------------------------------------------------------------------ */

static void *carve(char **at, int64_t bytes) {
    void *result = *at;
    if (*at != NULL) *at += (bytes + 63) / 64 * 64;
    return result;
}

static int64_t doubles(int64_t n) { return (n * 8 + 63) / 64 * 64; }

static int prepare(const struct network *net, struct work *w) {
    const int64_t wide_inputs = pad(net->inputs);
    int64_t bytes = doubles(net->layers * (int64_t)((sizeof(struct view) + 7) / 8));
    for (int64_t k = 0; k < net->layers; k++) {
        const int64_t rows = pad(net->rows[k]);
        bytes += doubles(rows * pad(net->cols[k])) + doubles(rows * wide_inputs) + (6 + RULES) * doubles(rows);
    }
    const int64_t wide = pad(net->widest);
    bytes += 6 * doubles(wide) + doubles(wide * 2 * wide_inputs) + 2 * doubles(CHUNK * wide) + 2 * doubles(CHUNK);
    bytes += doubles(CHUNK * wide_inputs) + 3 * doubles(wide_inputs);
    char *at = aligned_alloc(64, (size_t)bytes);
    if (at == NULL) return -1;
    memset(at, 0, (size_t)bytes);
    choose(w, net->lanes);
    w->memory = at;
    w->wide = wide;
    w->wide_inputs = wide_inputs;
    w->views = carve(&at, net->layers * (int64_t)sizeof(struct view));
    for (int64_t k = 0; k < net->layers; k++) {
        struct view *view = &w->views[k];
        const int64_t rows = pad(net->rows[k]);
        view->matrix = carve(&at, 8 * rows * pad(net->cols[k]));
        view->effect = carve(&at, 8 * rows * wide_inputs);
        view->active = carve(&at, 8 * rows);
        view->bias = carve(&at, 8 * rows);
        view->error = carve(&at, 8 * rows);
        view->upper = carve(&at, 8 * rows);
        view->intercept = carve(&at, 8 * rows);
        for (int r = 0; r < RULES; r++) view->lower[r] = carve(&at, 8 * rows);
    }
    w->mid = carve(&at, 8 * wide);
    w->rad = carve(&at, 8 * wide);
    w->mag = carve(&at, 8 * wide);
    w->low = carve(&at, 8 * wide);
    w->high = carve(&at, 8 * wide);
    w->wanted = carve(&at, 8 * wide);
    w->influence = carve(&at, 8 * wide * 2 * wide_inputs);
    w->coef = carve(&at, 8 * CHUNK * wide);
    w->lambda = carve(&at, 8 * CHUNK * wide);
    w->constant = carve(&at, 8 * CHUNK);
    w->value = carve(&at, 8 * CHUNK);
    w->score = carve(&at, 8 * CHUNK * wide_inputs);
    w->x_low = carve(&at, 8 * wide_inputs);
    w->x_high = carve(&at, 8 * wide_inputs);
    w->x_mag = carve(&at, 8 * wide_inputs);
    return 0;
}

/* Views of the layers ------------------------------------------------------------------------------------------------ */

/* Row j of layer k, restricted to the columns that are alive. */
INLINE void gather(const struct network *net, const struct work *w, int64_t k, int64_t j, double *restrict row) {
    const int64_t cols = net->cols[k], stride = w->views[k].stride;
    const double *restrict from = net->matrix + net->matrix_start[k] + j * pad(cols);
    if (k == 0 || w->views[k - 1].count == cols) {
        memcpy(row, from, (size_t)stride * sizeof(double));
        return;
    }
    const int64_t *restrict active = w->views[k - 1].active;
    const int64_t count = w->views[k - 1].count;
    for (int64_t i = 0; i < count; i++) row[i] = from[active[i]];
    for (int64_t i = count; i < stride; i++) row[i] = 0.0;
}

/* Relaxations of the neuron at place i of a view with bounds l, u > 0; as crown.lines. */
INLINE void relax_neuron(const struct network *net, struct view *view, int64_t i, double l, double u) {
    const double on = l >= 0 ? 1.0 : 0.0;
    double s = on, t = 0.0, adaptive = on;
    if (!(l >= 0)) { /* infinities included */
        s = floor(256.0 * u / (u - l) + 0.5) / 256.0;
        s = s < 0 ? 0.0 : s > 1 ? 1.0 : s;
        const double at_low = -s * l, at_high = (1.0 - s) * u;
        t = at_low > at_high ? at_low : at_high;
        t = t * net->raise_intercept + 16 * U64 * (-l > u ? -l : u) + net->resolution;
        adaptive = u + l > 0 ? 1.0 : 0.0;
    }
    view->upper[i] = s;
    view->intercept[i] = t;
    view->lower[0] [i] = adaptive;
    view->lower[1] [i] = on;
    view->lower[2] [i] = s;
}

/* Close a view of `count` rows: padded size, and zeros in the padding. */
INLINE void finish(struct view *view, int64_t count) {
    view->count = count;
    view->padded = pad(count);
    for (int64_t i = count; i < view->padded; i++) {
        view->bias[i] = view->error[i] = view->upper[i] = view->intercept[i] = 0.0;
        for (int r = 0; r < RULES; r++) view->lower[r][i] = 0.0;
    }
}

static void enter(const struct network *net, struct work *w, const double *x_lower, const double *x_upper) {
    for (int64_t i = 0; i < net->inputs; i++) {
        w->x_low[i] = x_lower[i];
        w->x_high[i] = x_upper[i];
        w->x_mag[i] = fmax(fabs(x_lower[i]), fabs(x_upper[i]));
    }
}

/* Interval bounds and errors of layer k's candidates: all rows, or with a Relu those that the parent leaves alive. */
static void intervals(const struct network *net, struct work *w, int64_t k, const double *upper) {
    struct view *view = &w->views[k];
    const int64_t stride = view->stride, start = net->start[k];
    double total = 0;
    for (int64_t i = 0; i < stride; i++) total += w->mag[i];
    const double u_sum = total * net->raise[k];
    view->cut = net->resolution * u_sum;
    int64_t count = 0;
    for (int64_t j = 0; j < net->rows[k]; j++) {
        if (net->relu[k] && upper[j] <= 0) continue;
        double *row = view->matrix + count * stride, sums[3];
        gather(net, w, k, j, row);
        w->products(w, row, stride, sums);
        const double m = (net->magnitude[start + j] + sums[2]) * net->raise[k];
        const double floor = (net->weight_sum[start + j] + u_sum + 1.0) * net->floor[k];
        const double reach = m + net->peak[k] * (u_sum + 1.0);
        double error = (m * net->gamma[k] + floor + u_sum * net->resolution + net->underflow) * (1.0 + 32 * U64);
        if (!((reach + reach * net->gamma[k] + floor) * (1.0 + 32 * U64) < net->limit[k])) error = INFINITY;
        const double center = net->bias[start + j] + sums[0], radius = sums[1] * net->raise[k] + error;
        w->low[count] = center - radius;
        w->high[count] = center + radius;
        view->active[count] = j;
        view->bias[count] = net->bias[start + j];
        view->error[count] = error;
        count++;
    }
    view->count = count;
}

/* Bounds of the wanted candidates by backward rows; their coefficients over the input into w->influence. */
static void tighten(const struct network *net, struct work *w, int64_t k, int64_t wanted, int64_t *empty) {
    const struct view *view = &w->views[k];
    const int64_t half = CHUNK / 2, wide_inputs = w->wide_inputs;
    for (int64_t begin = 0; begin < wanted; begin += half) {
        const int64_t n = wanted - begin < half ? wanted - begin : half;
        for (int64_t r = 0; r < n; r++) {
            const int64_t place = w->wanted[begin + r];
            const double *row = view->matrix + place * view->stride;
            double *plus = w->coef + r * w->wide, *minus = w->coef + (n + r) * w->wide;
            for (int64_t i = 0; i < view->stride; i++) {
                plus[i] = row[i];
                minus[i] = -row[i];
            }
            w->constant[r] = view->bias[place] - view->error[place] - view->cut;
            w->constant[n + r] = -view->bias[place] - view->error[place] - view->cut;
            w->rule[r] = w->rule[n + r] = 0;
        }
        w->substitute(net, w, k, 2 * n, 0, NULL);
        for (int64_t r = 0; r < n; r++) {
            const int64_t place = w->wanted[begin + r];
            double l = larger(w->value[r], w->low[place]), u = smaller(-w->value[n + r], w->high[place]);
            if (l > u) {
                *empty = 1;
                return;
            }
            w->low[place] = l;
            w->high[place] = u;
            double *influence = w->influence + place * 2 * wide_inputs;
            memcpy(influence, w->coef + r * w->wide, (size_t)wide_inputs * sizeof(double));
            memcpy(influence + wide_inputs, w->coef + (n + r) * w->wide, (size_t)wide_inputs * sizeof(double));
        }
    }
}

/* Keep the candidates that can be positive (all of them without a Relu), relax them, and make v_{k+1}. */
static void settle(const struct network *net, struct work *w, int64_t k) {
    struct view *view = &w->views[k];
    const int64_t stride = view->stride, wide_inputs = w->wide_inputs;
    int64_t count = 0;
    for (int64_t place = 0; place < view->count; place++) {
        double l = w->low[place], u = w->high[place];
        if (net->relu[k] && u <= 0) continue;
        if (count != place) {
            memmove(view->matrix + count * stride, view->matrix + place * stride, (size_t)stride * sizeof(double));
            view->active[count] = view->active[place];
            view->bias[count] = view->bias[place];
            view->error[count] = view->error[place];
        }
        double *effect = view->effect + count * wide_inputs;
        if (net->relu[k]) {
            relax_neuron(net, view, count, l, u);
            if (l < 0) {
                /* d = u / (u - l): the intercept's derivatives in l and u are -d^2 and (1 - d)^2. */
                const double *plus = w->influence + place * 2 * wide_inputs, *minus = plus + wide_inputs;
                const double d = u / (u - l);
                for (int64_t i = 0; i < wide_inputs; i++)
                    effect[i] = d * d * fabs(plus[i]) + (1 - d) * (1 - d) * fabs(minus[i]);
                l = 0.0;
            } else {
                memset(effect, 0, (size_t)wide_inputs * sizeof(double));
            }
        } else {
            relax_neuron(net, view, count, 0.0, INFINITY); /* the identity */
        }
        w->mid[count] = 0.5 * (l + u);
        w->rad[count] = fmax(u - w->mid[count], w->mid[count] - l);
        w->mag[count] = fmax(fabs(l), fabs(u));
        count++;
    }
    finish(view, count);
    for (int64_t i = count; i < view->padded; i++) w->mid[i] = w->rad[i] = w->mag[i] = 0.0;
}

/* One box through all layers; lower, upper hold the parent's bounds and get the box's own.  False: the box is empty. */
static int refine(const struct network *net, struct work *w, double *lower, double *upper, double *errors) {
    for (int64_t i = 0; i < w->wide_inputs; i++) {
        w->mid[i] = 0.5 * (w->x_low[i] + w->x_high[i]);
        w->rad[i] = fmax(w->x_high[i] - w->mid[i], w->mid[i] - w->x_low[i]);
        w->mag[i] = w->x_mag[i];
    }
    for (int64_t k = 0; k < net->layers; k++) {
        struct view *view = &w->views[k];
        view->stride = k == 0 ? w->wide_inputs : w->views[k - 1].padded;
        double *l = lower + net->slot[k], *u = upper + net->slot[k];
        intervals(net, w, k, u);
        for (int64_t place = 0; place < view->count; place++)
            errors[net->start[k] + k + view->active[place]] = view->error[place];
        errors[net->start[k] + k + net->rows[k]] = view->cut;
        if (net->relu[k]) {
            int64_t wanted = 0, empty = 0;
            for (int64_t place = 0; place < view->count; place++) {
                const int64_t j = view->active[place];
                l[j] = l[j] == l[j] ? l[j] : -INFINITY; /* a NaN bounds nothing */
                u[j] = u[j] == u[j] ? u[j] : INFINITY;
                if (l[j] < 0 && u[j] > 0) w->wanted[wanted++] = place;
                w->low[place] = larger(w->low[place], l[j]);
                w->high[place] = smaller(w->high[place], u[j]);
                if (w->low[place] > w->high[place]) return 0;
            }
            tighten(net, w, k, wanted, &empty);
            if (empty) return 0;
            for (int64_t place = 0; place < view->count; place++) {
                l[view->active[place]] = w->low[place];
                u[view->active[place]] = w->high[place];
            }
        }
        settle(net, w, k);
    }
    return 1;
}

/* The views of a box whose bounds and errors are known. */
static void recall(const struct network *net, struct work *w, const double *const *lower, const double *const *upper,
                   const double *const *errors, const int64_t *stride, int64_t box) {
    for (int64_t k = 0; k < net->layers; k++) {
        struct view *view = &w->views[k];
        view->stride = k == 0 ? w->wide_inputs : w->views[k - 1].padded;
        const double *error = errors[k] + box * stride[2 * k + 1];
        view->cut = error[net->rows[k]];
        int64_t count = 0;
        for (int64_t j = 0; j < net->rows[k]; j++) {
            double l = 0.0, u = INFINITY; /* the identity */
            if (net->relu[k]) {
                l = lower[k][box * stride[2 * k] + j];
                u = upper[k][box * stride[2 * k] + j];
                if (u <= 0) continue;
            }
            gather(net, w, k, j, view->matrix + count * view->stride);
            relax_neuron(net, view, count, l, u);
            view->active[count] = j;
            view->bias[count] = net->bias[net->start[k] + j];
            view->error[count] = error[j];
            count++;
        }
        finish(view, count);
    }
}

/* The property's rows --------------------------------------------------------------------------------------------------- */

/* Rows over the output, shared by the boxes (box_stride 0) or not; x_rows may be null. */
struct question {
    int64_t count, rules;
    const int64_t *rule;
    const double *rows, *x_rows;
    int64_t row_stride, x_stride; /* from box to box */
};

/* Where answers go: (boxes, rules, count), the same with inputs, and the score (boxes, count, inputs) or null. */
struct answer {
    double *value, *constant, *inputs, *score;
};

static void ask(const struct network *net, struct work *w, const struct question *q, const struct answer *a,
                int64_t box) {
    const int64_t outputs = net->rows[net->layers - 1], inputs = net->inputs, all = q->count * q->rules;
    const double *x_rows[CHUNK];
    for (int64_t begin = 0; begin < all; begin += CHUNK) {
        const int64_t n = all - begin < CHUNK ? all - begin : CHUNK;
        int64_t scored = a->score == NULL ? 0 : q->count - begin;
        scored = scored < 0 ? 0 : scored < n ? scored : n;
        memset(w->score, 0, (size_t)(scored * w->wide_inputs) * sizeof(double));
        for (int64_t r = 0; r < n; r++) {
            const int64_t row = (begin + r) % q->count;
            double *coef = w->coef + r * w->wide;
            memcpy(coef, q->rows + box * q->row_stride + row * outputs, (size_t)outputs * sizeof(double));
            memset(coef + outputs, 0, (size_t)(pad(outputs) - outputs) * sizeof(double));
            w->constant[r] = 0.0;
            w->rule[r] = q->rule[(begin + r) / q->count];
            if (q->x_rows != NULL) x_rows[r] = q->x_rows + box * q->x_stride + row * inputs;
        }
        w->substitute(net, w, net->layers, n, scored, q->x_rows == NULL ? NULL : x_rows);
        memcpy(a->value + box * all + begin, w->value, (size_t)n * sizeof(double));
        memcpy(a->constant + box * all + begin, w->constant, (size_t)n * sizeof(double));
        for (int64_t r = 0; r < n; r++)
            memcpy(a->inputs + (box * all + begin + r) * inputs, w->coef + r * w->wide, (size_t)inputs * sizeof(double));
        for (int64_t r = 0; r < scored; r++)
            memcpy(a->score + (box * q->count + begin + r) * inputs, w->score + r * w->wide_inputs,
                   (size_t)inputs * sizeof(double));
    }
}

/* What native.py must agree to: its version of the structures and functions, and the size of the largest. */
int64_t farkas_layout(void) { return LAYOUT * 4096 + (int64_t)sizeof(struct network); }

/* Boxes x_lower, x_upper (boxes, inputs) with inherited bounds lower, upper (boxes, width), refined in place; empty
   (boxes); errors (boxes, total + layers), by layer those of its rows and the view's cut; then the question's rows.  Arrays for the answers come filled for empty boxes.
   0, or -1 when there is no memory. */
int farkas_examine(const struct network *net, int64_t boxes, const double *x_lower, const double *x_upper,
                   double *lower, double *upper, uint8_t *empty, double *errors, const struct question *q,
                   const struct answer *a) {
    struct work w;
    if (prepare(net, &w) != 0) return -1;
    for (int64_t b = 0; b < boxes; b++) {
        enter(net, &w, x_lower + b * net->inputs, x_upper + b * net->inputs);
        empty[b] = !refine(net, &w, lower + b * net->width, upper + b * net->width, errors + b * (net->total + net->layers));
        if (!empty[b] && q->count > 0) ask(net, &w, q, a, b);
    }
    free(w.memory);
    return 0;
}

/* The question's rows over boxes refined earlier: by layer pointers to bounds (null without a Relu) and errors, and
   their strides from box to box (two a layer). */
int farkas_bound(const struct network *net, int64_t boxes, const double *x_lower, const double *x_upper,
                 const double *const *lower, const double *const *upper, const double *const *errors,
                 const int64_t *stride, const struct question *q, const struct answer *a) {
    struct work w;
    if (prepare(net, &w) != 0) return -1;
    for (int64_t b = 0; b < boxes; b++) {
        enter(net, &w, x_lower + b * net->inputs, x_upper + b * net->inputs);
        recall(net, &w, lower, upper, errors, stride, b);
        ask(net, &w, q, a, b);
    }
    free(w.memory);
    return 0;
}

/* Per box the two rows i < j, the weights k : ratios - k and the rule with the largest combined bound, a hint that the
   caller bounds anew.  coef (boxes, rules, rows, inputs), constant (boxes, rules, rows); choice (boxes, 3): rule, number
   of the pair in lexicographic order, k; value comes filled with minus infinity. */
void farkas_best_pair(int64_t boxes, int64_t rules, int64_t rows, int64_t inputs, int64_t ratios,
                             const double *coef, const double *constant, const double *x_lower, const double *x_upper,
                             double *value, int64_t *choice) {
    for (int64_t b = 0; b < boxes; b++, x_lower += inputs, x_upper += inputs) {
        int64_t number = 0;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = i + 1; j < rows; j++, number++)
                for (int64_t k = 1; k < ratios; k++)
                    for (int64_t r = 0; r < rules; r++) {
                        const double v = (double)k / (double)ratios, w = 1 - v;
                        const double *first = coef + ((b * rules + r) * rows + i) * inputs;
                        const double *second = coef + ((b * rules + r) * rows + j) * inputs;
                        double total = constant[(b * rules + r) * rows + i] * v + constant[(b * rules + r) * rows + j] * w;
                        for (int64_t d = 0; d < inputs; d++) {
                            const double a = first[d] * v + second[d] * w;
                            total += a * (a > 0 ? x_lower[d] : x_upper[d]);
                        }
                        if (total > value[b]) {
                            value[b] = total;
                            choice[3 * b] = r;
                            choice[3 * b + 1] = number;
                            choice[3 * b + 2] = k;
                        }
                    }
    }
}
