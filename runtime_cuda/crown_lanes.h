/* The inner loops of crown_kernel.c, included once for each width of vectors: WIDTH doubles, functions named by NAME,
   compiled for the instruction set in TARGET.  A compiler that has to split a vector type wider than its registers
   keeps it in memory, nine times slower (GCC 12); and it does not find these vectors in plain loops over arrays. */

typedef double NAME(vector) __attribute__((vector_size(8 * WIDTH), may_alias));
typedef int64_t NAME(mask) __attribute__((vector_size(8 * WIDTH), may_alias));
#define VECTOR NAME(vector)
#define MASK NAME(mask)
#define LOAD(p) (*(const VECTOR *)(p))
#define STORE(p) (*(VECTOR *)(p))
#define ABSOLUTE(x) ((VECTOR)((MASK)(x) & ((MASK){0} + INT64_MAX)))
#define POSITIVE(x) ((VECTOR)((MASK)(x) & (MASK)((x) > (VECTOR){0})))

/* The sum of the elements; every element takes at most 4 additions. */
TARGET INLINE double NAME(sum)(const VECTOR *v) {
    double total[WIDTH];
    memcpy(total, v, sizeof total);
    for (int half = WIDTH / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) total[i] += total[i + half];
    return total[0];
}

/* BLOCK rows of lambda times `columns` vectors of columns of a matrix of n rows. */
TARGET INLINE void NAME(block)(const double *restrict row, const double *restrict matrix, double *restrict out, int64_t n,
                               int64_t stride, int64_t wide, const int columns) {
    VECTOR a[BLOCK][2] = {{{0}}};
    for (int64_t j = 0; j < n; j++)
        for (int c = 0; c < columns; c++) {
            const VECTOR m = LOAD(matrix + j * stride + c * WIDTH);
            for (int i = 0; i < BLOCK; i++) a[i][c] += row[i * wide + j] * m;
        }
    for (int i = 0; i < BLOCK; i++)
        for (int c = 0; c < columns; c++) STORE(out + i * wide + c * WIDTH) = a[i][c];
}

/* out (count, stride) = lambda (count, n) matrix (n, stride); count is rounded up to BLOCK. */
TARGET INLINE void NAME(multiply)(const double *restrict lambda, const double *restrict matrix, double *restrict out,
                                  int64_t count, int64_t n, int64_t stride, int64_t wide) {
    for (int64_t r = 0; r < count; r += BLOCK) {
        int64_t c = 0;
        for (; c + 2 * WIDTH <= stride; c += 2 * WIDTH)
            NAME(block)(lambda + r * wide, matrix + c, out + r * wide + c, n, stride, wide, 2);
        for (; c < stride; c += WIDTH)
            NAME(block)(lambda + r * wide, matrix + c, out + r * wide + c, n, stride, wide, 1);
    }
}

/* One row through one Relu and the bias and error of its layer: coefficients over the layer's pre-activations into
   lambda; returns what the constant gains. */
TARGET INLINE double NAME(relax)(const struct view *view, const double *restrict coef, const double *restrict low,
                                 double *restrict lambda) {
    VECTOR intercepts = {0}, biases = {0}, errors = {0};
    for (int64_t i = 0; i < view->padded; i += WIDTH) {
        const VECTOR c = LOAD(coef + i);
        const VECTOR positive = POSITIVE(c);
        const VECTOR negative = c - positive;
        const VECTOR x = positive * LOAD(low + i) + negative * LOAD(view->upper + i);
        intercepts += negative * LOAD(view->intercept + i);
        biases += x * LOAD(view->bias + i);
        errors += ABSOLUTE(x) * LOAD(view->error + i);
        STORE(lambda + i) = x;
    }
    intercepts += biases;
    intercepts -= errors;
    return NAME(sum)(&intercepts) - view->cut;
}

/* The least value of a row over the box, rounded down; minus infinity for whatever is not a number. */
TARGET INLINE double NAME(concretise)(const struct network *net, const struct work *w, const double *coef,
                                      double constant) {
    VECTOR least = {0}, size = {0};
    for (int64_t i = 0; i < w->wide_inputs; i += WIDTH) {
        const VECTOR c = LOAD(coef + i);
        const VECTOR positive = POSITIVE(c);
        least += positive * LOAD(w->x_low + i);
        least += (c - positive) * LOAD(w->x_high + i);
        size += ABSOLUTE(c) * LOAD(w->x_mag + i);
    }
    double value = constant + NAME(sum)(&least);
    value -= (double)(2 * net->inputs + 256) * U64 * 1.0625 * NAME(sum)(&size);
    value = value - 64 * U64 * fabs(value) - net->tiny;
    return fabs(value) < INFINITY ? value : -INFINITY;
}

TARGET static void NAME(substitute)(const struct network *net, struct work *w, int64_t top, int64_t count,
                                    int64_t scored, const double *const *x_rows) {
    const int64_t wide = w->wide, wide_inputs = w->wide_inputs;
    for (int64_t k = top - 1; k >= 0; k--) {
        const struct view *view = &w->views[k];
        for (int64_t r = 0; r < count; r++) {
            const double *coef = w->coef + r * wide;
            if (r < scored && net->relu[k]) {
                double *score = w->score + r * wide_inputs;
                for (int64_t i = 0; i < view->count; i++) {
                    const double size = fabs(coef[i]);
                    for (int64_t d = 0; d < wide_inputs; d += WIDTH)
                        STORE(score + d) += size * LOAD(view->effect + i * wide_inputs + d);
                }
            }
            w->constant[r] += NAME(relax)(view, coef, view->lower[w->rule[r]], w->lambda + r * wide);
        }
        NAME(multiply)(w->lambda, view->matrix, w->coef, count, view->count, view->stride, wide);
    }
    for (int64_t r = 0; r < count; r++) {
        double *coef = w->coef + r * wide;
        if (x_rows != NULL)
            for (int64_t i = 0; i < net->inputs; i++) coef[i] += x_rows[r][i];
        w->value[r] = NAME(concretise)(net, w, coef, w->constant[r]);
        if (r < scored)
            for (int64_t i = 0; i < net->inputs; i++) w->score[r * wide_inputs + i] += fabs(coef[i]);
    }
}

/* W m, |W| r and |W| U of one gathered row. */
TARGET static void NAME(products)(const struct work *w, const double *restrict row, int64_t stride, double *restrict to) {
    VECTOR mid = {0}, rad = {0}, mag = {0};
    for (int64_t i = 0; i < stride; i += WIDTH) {
        const VECTOR a = LOAD(row + i);
        mid += a * LOAD(w->mid + i);
        rad += ABSOLUTE(a) * LOAD(w->rad + i);
        mag += ABSOLUTE(a) * LOAD(w->mag + i);
    }
    to[0] = NAME(sum)(&mid);
    to[1] = NAME(sum)(&rad);
    to[2] = NAME(sum)(&mag);
}

#undef VECTOR
#undef MASK
#undef LOAD
#undef STORE
#undef ABSOLUTE
#undef POSITIVE
#undef WIDTH
#undef NAME
#undef TARGET
