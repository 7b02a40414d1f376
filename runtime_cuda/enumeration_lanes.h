/* The products of enumeration_kernel.c, included once for each width of vectors: WIDTH binary32 numbers, functions named
   by NAME, compiled for the instruction set in TARGET, ROWS of the GROUP rows of weights at a time.

   VECTOR is the vector type, FMA(a, b, c) rounds a b + c once, and LOAD, STORE, SPREAD move; + and * are the compiler's,
   one rounding each, since the file is compiled without contraction. */

/* ROWS rows of weights (column k at weights + k GROUP) on 2 WIDTH points: out = the sums in the declared order. */
TARGET INLINE void NAME(block)(const struct step *step, const float *restrict weights, const float *restrict bias,
                               const float *restrict in, const int64_t *restrict live, int64_t alive,
                               float *restrict out, const int fused, const int blocked) {
    VECTOR y[ROWS][2];
    for (int i = 0; i < ROWS; i++) y[i][0] = y[i][1] = SPREAD(blocked && bias ? bias[i] : 0.0f);
    int64_t n = 0;
    for (int64_t end = blocked ? BLOCK : step->cols;; end += BLOCK) {
        VECTOR acc[ROWS][2];
        for (int i = 0; i < ROWS; i++) acc[i][0] = acc[i][1] = SPREAD(0.0f);
        for (; n < alive && live[n] < end; n++) {
            const VECTOR x0 = LOAD(in + live[n] * TILE), x1 = LOAD(in + live[n] * TILE + WIDTH);
            const float *restrict w = weights + live[n] * GROUP;
            for (int i = 0; i < ROWS; i++) {
                const VECTOR wi = SPREAD(w[i]);
                if (fused) {
                    acc[i][0] = FMA(wi, x0, acc[i][0]);
                    acc[i][1] = FMA(wi, x1, acc[i][1]);
                } else {
                    acc[i][0] = acc[i][0] + wi * x0;
                    acc[i][1] = acc[i][1] + wi * x1;
                }
            }
        }
        for (int i = 0; i < ROWS; i++)
            for (int c = 0; c < 2; c++) {
                if (blocked) y[i][c] = y[i][c] + acc[i][c];
                else y[i][c] = acc[i][c];
            }
        if (end >= step->cols) break;
    }
    for (int i = 0; i < ROWS; i++)
        for (int c = 0; c < 2; c++) {
            if (!blocked && bias) y[i][c] = y[i][c] + SPREAD(bias[i]);
            STORE(out + i * TILE + c * WIDTH, y[i][c]);
        }
}

TARGET INLINE void NAME(all)(const struct step *step, const float *weights, const float *bias, const float *in,
                             const int64_t *live, int64_t alive, float *out, const int fused, const int blocked) {
    for (int64_t r = 0; r < step->rows; r += GROUP)
        for (int part = 0; part < GROUP; part += ROWS)
            for (int c = 0; c < TILE; c += 2 * WIDTH)
                NAME(block)(step, weights + r * step->cols + part, bias ? bias + r + part : bias, in + c, live, alive,
                            out + (r + part) * TILE + c, fused, blocked);
}

TARGET static void NAME(product)(const struct step *step, const float *weights, const float *bias, const float *in,
                                 const int64_t *live, int64_t alive, float *out) {
    if (step->order == SEQ_MULADD) NAME(all)(step, weights, bias, in, live, alive, out, 0, 0);
    else if (step->order == SEQ_FMA) NAME(all)(step, weights, bias, in, live, alive, out, 1, 0);
    else NAME(all)(step, weights, bias, in, live, alive, out, 1, 1);
}

/* The same for intervals: in and out hold TILE lower ends and then TILE upper ends of every value.  The lower end of a sum
   takes the lower end of an operand whose weight is positive and the upper end of one whose weight is negative. */
TARGET INLINE void NAME(span)(const struct step *step, const float *restrict weights, const float *restrict bias,
                              const float *restrict in, const int64_t *restrict live, int64_t alive,
                              float *restrict out, const int fused, const int blocked) {
    VECTOR y[ROWS][2];
    for (int i = 0; i < ROWS; i++) y[i][0] = y[i][1] = SPREAD(blocked && bias ? bias[i] : 0.0f);
    int64_t n = 0;
    for (int64_t end = blocked ? BLOCK : step->cols;; end += BLOCK) {
        VECTOR acc[ROWS][2];
        for (int i = 0; i < ROWS; i++) acc[i][0] = acc[i][1] = SPREAD(0.0f);
        for (; n < alive && live[n] < end; n++) {
            const float *restrict x = in + live[n] * 2 * TILE, *restrict w = weights + live[n] * GROUP;
            for (int i = 0; i < ROWS; i++) {
                const int other = w[i] < 0.0f ? TILE : 0;
                const VECTOR wi = SPREAD(w[i]), low = LOAD(x + other), high = LOAD(x + TILE - other);
                if (fused) {
                    acc[i][0] = FMA(wi, low, acc[i][0]);
                    acc[i][1] = FMA(wi, high, acc[i][1]);
                } else {
                    acc[i][0] = acc[i][0] + wi * low;
                    acc[i][1] = acc[i][1] + wi * high;
                }
            }
        }
        for (int i = 0; i < ROWS; i++)
            for (int e = 0; e < 2; e++) {
                if (blocked) y[i][e] = y[i][e] + acc[i][e];
                else y[i][e] = acc[i][e];
            }
        if (end >= step->cols) break;
    }
    for (int i = 0; i < ROWS; i++)
        for (int e = 0; e < 2; e++) {
            if (!blocked && bias) y[i][e] = y[i][e] + SPREAD(bias[i]);
            STORE(out + (i * 2 + e) * TILE, y[i][e]);
        }
}

TARGET INLINE void NAME(all_spans)(const struct step *step, const float *weights, const float *bias, const float *in,
                                   const int64_t *live, int64_t alive, float *out, const int fused, const int blocked) {
    for (int64_t r = 0; r < step->rows; r += GROUP)
        for (int part = 0; part < GROUP; part += ROWS)
            for (int c = 0; c < TILE; c += WIDTH)
                NAME(span)(step, weights + r * step->cols + part, bias ? bias + r + part : bias, in + c, live, alive,
                           out + (r + part) * 2 * TILE + c, fused, blocked);
}

TARGET static void NAME(spans)(const struct step *step, const float *weights, const float *bias, const float *in,
                               const int64_t *live, int64_t alive, float *out) {
    if (step->order == SEQ_MULADD) NAME(all_spans)(step, weights, bias, in, live, alive, out, 0, 0);
    else if (step->order == SEQ_FMA) NAME(all_spans)(step, weights, bias, in, live, alive, out, 1, 0);
    else NAME(all_spans)(step, weights, bias, in, live, alive, out, 1, 1);
}

#undef NAME
#undef TARGET
#undef WIDTH
#undef ROWS
#undef VECTOR
#undef FMA
#undef LOAD
#undef STORE
#undef SPREAD
