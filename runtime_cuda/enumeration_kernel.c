/* Binary32 runs of fully connected networks in a declared accumulation order, bit for bit, on very many inputs.

   The idea.  The points are the lanes of the vectors: TILE of them go through the network together, and every neuron's
   sum is taken over k = 0, 1, ... as the order says (docs/semantics.md), one rounding to nearest even for each + and *
   and one for each fma.  So vectors change nothing but the time, and all instruction sets give the same bits.

     - A neuron that is 0 at all points of a tile is left out of the next sums: fma(w, 0, acc) and acc + w 0 are acc for
       finite w (native code is given no others).  In a small box half the neurons are 0 throughout.
     - A zero's sign may differ from that of another executor; both zeros are one value everywhere in this project.
     - Relu keeps NaN (x < 0 ? 0 : x), as the reference does.

   `farkas_sweep` goes through the points of a grid (consecutive numbers for every input, the last free one fastest) by
   their numbers begin .. begin + count - 1, and looks at a property's atoms  x_row . x + y_row . y <= c  in binary64:
   v = the left side minus c is off by at most (terms + 4) 2^-53 of the sum of magnitudes; PAD is twice that.  An atom with
   v > pad is false; a point at which some disjunct has no false atom is *flagged*, and the caller decides it in
   rationals.  A NaN makes no atom false, so points with NaN are flagged as well.

   `farkas_ranges` runs boxes instead of points, by the two ends of every value: rounding is monotone, so the end of a sum
   is the same run on the ends that make it least or greatest (ir.float_interval, whose results these are).

   The digest is the sum over all points of a hash of their number and output bits: the same whatever the tiles, so
   that another executor can confirm a sweep.

   Compiled with -ffp-contract=off and without -ffast-math: a product and a sum must round each for itself.  No global
   state, no threads, no memory kept between calls.  Measured rates stand in enumeration.py. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define LAYOUT 2 /* counts changes of what enumeration.py hands over */
#define TILE 32
#define GROUP 10  /* rows of weights that are stored side by side, filled up with zeros */
#define BLOCK 256 /* products per accumulator of mlas-k256-fma */
#define INLINE static inline __attribute__((always_inline))
#define U64 0x1p-53

enum { SEQ_MULADD, SEQ_FMA, MLAS_K256_FMA };
enum { PRODUCT, ADD, SUBTRACT_FROM, RELU };

/* One operation on all values.  PRODUCT: rows by cols, weights at numbers + weights in groups of GROUP rows, column by
   column; bias (rows, filled up to whole groups) at numbers + bias, -1 for none.  ADD, SUBTRACT_FROM: constant at
   numbers + bias.  Mirrored field by field in enumeration.py. */
struct step {
    int64_t kind, order, rows, cols, weights, bias;
};

struct chain {
    int64_t inputs, outputs, steps, widest; /* widest: values of a step, filled up to whole groups */
    int64_t lanes;                          /* the most numbers a vector may hold: 16 unless a test wants fewer */
    const struct step *step;
    const float *numbers;
};

/* grid: input i takes size[i] consecutive binary32 numbers, from place first[i] on; both zeros are place 0. */
struct grid {
    const int64_t *first, *size;
};

/* disjunct d has the rows first[d] .. first[d + 1] - 1; y_rows (rows, outputs), x_rows (rows, inputs) or none. */
struct question {
    int64_t rows, disjuncts;
    const int64_t *first;
    const double *y_rows, *x_rows, *threshold;
};

/* flagged: room for `room` numbers; best: least over points and disjuncts of the largest v, and the number of its
   point; done: points looked at, fewer than asked for when there is no room left. */
struct answer {
    int64_t room, flags, done, best_point;
    uint64_t digest;
    double best;
    int64_t *flagged;
};

typedef void (*product)(const struct step *, const float *, const float *, const float *, const int64_t *, int64_t,
                        float *);

/* The portable one: a number at a time, through the compiler's fma (an instruction where the target has it, else the
   library's, which is exact and slow). */
#define NAME(f) f##_plain
#define TARGET
#define WIDTH 1
#define ROWS 2
#define VECTOR float
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define SPREAD(x) (x)
#include "enumeration_lanes.h"

#ifdef __x86_64__
#define NAME(f) f##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 8
#define ROWS 5
#define VECTOR __m256
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define SPREAD(x) _mm256_set1_ps(x)
#include "enumeration_lanes.h"

#define NAME(f) f##_avx512
#define TARGET __attribute__((target("avx512f")))
#define WIDTH 16
#define ROWS 10
#define VECTOR __m512
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define SPREAD(x) _mm512_set1_ps(x)
#include "enumeration_lanes.h"
#endif

/* ends: 1 for points, 2 for intervals. */
static product choose(int64_t lanes, int ends) {
#ifdef __x86_64__
    __builtin_cpu_init();
    if (lanes >= 16 && __builtin_cpu_supports("avx512f")) return ends == 1 ? product_avx512 : spans_avx512;
    if (lanes >= 8 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return ends == 1 ? product_avx2 : spans_avx2;
#endif
    (void)lanes;
    return ends == 1 ? product_plain : spans_plain;
}

/* Two arrays of values of a tile, and the list of those that are not 0 throughout. */
struct room {
    float *values[2];
    int64_t *live;
    product multiply;
};

static int furnish(const struct chain *chain, struct room *room, int ends) {
    const size_t size = (size_t)chain->widest * ends * TILE * sizeof(float);
    room->values[0] = malloc(size);
    room->values[1] = malloc(size);
    room->live = malloc((size_t)chain->widest * sizeof(int64_t));
    room->multiply = choose(chain->lanes, ends);
    return room->values[0] && room->values[1] && room->live;
}

static void clear(struct room *room) {
    free(room->values[0]);
    free(room->values[1]);
    free(room->live);
}

/* The positions of values (n, size) that are not 0 (of either sign) throughout; size: TILE, or twice that. */
static int64_t alive(const float *restrict values, int64_t n, int64_t *restrict live, int size) {
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) {
        uint32_t bits[2 * TILE], any = 0;
        memcpy(bits, values + k * size, size * sizeof(float));
        for (int p = 0; p < size; p++) any |= bits[p];
        live[count] = k;
        count += (any & 0x7fffffffu) != 0;
    }
    return count;
}

/* The outputs (outputs, TILE) of the inputs (inputs, TILE); both stand in the room, or the inputs elsewhere. */
static const float *run(const struct chain *chain, struct room *room, const float *in) {
    int64_t size = chain->inputs;
    int to = 0;
    for (int64_t s = 0; s < chain->steps; s++) {
        const struct step *step = chain->step + s;
        const float *numbers = chain->numbers;
        float *restrict out = room->values[to];
        if (step->kind == PRODUCT) {
            const int64_t count = alive(in, step->cols, room->live, TILE);
            room->multiply(step, numbers + step->weights, step->bias < 0 ? NULL : numbers + step->bias, in, room->live,
                           count, out);
            size = step->rows;
        } else if (step->kind == RELU) {
            for (int64_t i = 0; i < size * TILE; i++) out[i] = in[i] < 0.0f ? 0.0f : in[i];
        } else {
            for (int64_t i = 0; i < size; i++)
                for (int p = 0; p < TILE; p++) {
                    const float value = in[i * TILE + p], constant = numbers[step->bias + i];
                    out[i * TILE + p] = step->kind == ADD ? value + constant : constant - value;
                }
        }
        in = out;
        to = !to;
    }
    return in;
}

/* Outputs (count, outputs) of inputs (count, inputs). */
int64_t farkas_run(const struct chain *chain, int64_t count, const float *x, float *y) {
    struct room room;
    const int64_t n = chain->inputs, m = chain->outputs;
    float *in = calloc((size_t)n * TILE, sizeof(float));
    const int fine = furnish(chain, &room, 1) && in;
    for (int64_t first = 0; fine && first < count; first += TILE) {
        const int64_t points = count - first < TILE ? count - first : TILE;
        for (int64_t p = 0; p < points; p++)
            for (int64_t i = 0; i < n; i++) in[i * TILE + p] = x[(first + p) * n + i];
        const float *out = run(chain, &room, in);
        for (int64_t p = 0; p < points; p++)
            for (int64_t j = 0; j < m; j++) y[(first + p) * m + j] = out[j * TILE + p];
    }
    clear(&room);
    free(in);
    return fine ? 0 : -1;
}

/* No interval is known of what is not bounded by two finite numbers: both ends become NaN, as in ir.float_interval. */
static void forget_infinities(float *restrict ends, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        for (int p = 0; p < TILE; p++) {
            float *low = ends + i * 2 * TILE + p, *high = low + TILE;
            const float nothing = (*low - *low) + (*high - *high); /* 0, or NaN */
            *low += nothing;
            *high += nothing;
        }
}

/* As run, for the intervals (inputs, 2, TILE). */
static const float *run_spans(const struct chain *chain, struct room *room, const float *in) {
    int64_t size = chain->inputs;
    int to = 0;
    for (int64_t s = 0; s < chain->steps; s++) {
        const struct step *step = chain->step + s;
        const float *numbers = chain->numbers;
        float *restrict out = room->values[to];
        if (step->kind == PRODUCT) {
            const int64_t count = alive(in, step->cols, room->live, 2 * TILE);
            room->multiply(step, numbers + step->weights, step->bias < 0 ? NULL : numbers + step->bias, in, room->live,
                           count, out);
            size = step->rows;
        } else if (step->kind == RELU) {
            for (int64_t i = 0; i < size * 2 * TILE; i++) out[i] = in[i] < 0.0f ? 0.0f : in[i];
        } else {
            for (int64_t i = 0; i < size; i++)
                for (int p = 0; p < TILE; p++) {
                    const float low = in[i * 2 * TILE + p], high = in[(i * 2 + 1) * TILE + p];
                    const float constant = numbers[step->bias + i];
                    out[i * 2 * TILE + p] = step->kind == ADD ? low + constant : constant - high;
                    out[(i * 2 + 1) * TILE + p] = step->kind == ADD ? high + constant : constant - low;
                }
        }
        if (step->kind != RELU) forget_infinities(out, size);
        in = out;
        to = !to;
    }
    return in;
}

/* Intervals (count, outputs) of the outputs over boxes (count, inputs) of finite ends. */
int64_t farkas_ranges(const struct chain *chain, int64_t count, const float *lower, const float *upper, float *low,
                      float *high) {
    struct room room;
    const int64_t n = chain->inputs, m = chain->outputs;
    float *in = calloc((size_t)n * 2 * TILE, sizeof(float));
    const int fine = furnish(chain, &room, 2) && in;
    for (int64_t first = 0; fine && first < count; first += TILE) {
        const int64_t points = count - first < TILE ? count - first : TILE;
        for (int64_t p = 0; p < points; p++)
            for (int64_t i = 0; i < n; i++) {
                in[i * 2 * TILE + p] = lower[(first + p) * n + i];
                in[(i * 2 + 1) * TILE + p] = upper[(first + p) * n + i];
            }
        const float *out = run_spans(chain, &room, in);
        for (int64_t p = 0; p < points; p++)
            for (int64_t j = 0; j < m; j++) {
                low[(first + p) * m + j] = out[j * 2 * TILE + p];
                high[(first + p) * m + j] = out[(j * 2 + 1) * TILE + p];
            }
    }
    clear(&room);
    free(in);
    return fine ? 0 : -1;
}

/* v and the pad of every row at every point of a tile: (rows, TILE) each. */
static void judge(const struct chain *chain, const struct question *question, const float *x, const float *y,
                  double *restrict v, double *restrict pad) {
    const int64_t n = chain->inputs, m = chain->outputs;
    for (int64_t r = 0; r < question->rows; r++) {
        double total[TILE], size[TILE], terms = 4;
        const double c = question->threshold[r];
        for (int p = 0; p < TILE; p++) total[p] = -c, size[p] = fabs(c);
        for (int64_t j = 0; j < m + (question->x_rows ? n : 0); j++) {
            const double a = j < m ? question->y_rows[r * m + j] : question->x_rows[r * n + j - m];
            const float *values = j < m ? y + j * TILE : x + (j - m) * TILE;
            if (a == 0.0) continue;
            terms += 1;
            for (int p = 0; p < TILE; p++) {
                const double term = a * (double)values[p];
                total[p] += term;
                size[p] += fabs(term);
            }
        }
        for (int p = 0; p < TILE; p++) {
            v[r * TILE + p] = total[p];
            pad[r * TILE + p] = size[p] * (terms * 2 * U64) + 0x1p-1000;
        }
    }
}

/* Whether some disjunct has no false atom at point p; `least` is lowered to the least of the disjuncts' largest v. */
static int doubtful(const struct question *question, const double *v, const double *pad, int p, double *least) {
    int any = 0;
    *least = INFINITY;
    for (int64_t d = 0; d < question->disjuncts; d++) {
        int open = 1;
        double most = -INFINITY;
        for (int64_t r = question->first[d]; r < question->first[d + 1]; r++) {
            const double value = v[r * TILE + p];
            if (value > pad[r * TILE + p]) open = 0;
            if (value > most || value != value) most = value;
        }
        any |= open;
        if (most < *least) *least = most;
    }
    return any;
}

/* The binary32 number at a place of the line. */
static float number_at(int64_t place) {
    const uint32_t bits = place < 0 ? 0x80000000u | (uint32_t)-place : (uint32_t)place;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t hash(uint64_t number, const float *y, int64_t m, int p) {
    uint64_t h = number + 1;
    for (int64_t j = 0; j < m; j++) {
        const float value = y[j * TILE + p] == 0.0f ? 0.0f : y[j * TILE + p];
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (value != value) bits = 0x7fc00000u; /* all NaN are one */
        h = (h ^ bits) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

/* The points begin .. begin + count - 1 of the grid: flagged ones, the digest, the best point; see the essay. */
int64_t farkas_sweep(const struct chain *chain, const struct grid *grid, const struct question *question, int64_t begin,
                     int64_t count, struct answer *answer) {
    struct room room;
    const int64_t n = chain->inputs;
    float *in = calloc((size_t)n * TILE, sizeof(float));
    int64_t *digit = calloc((size_t)n, sizeof(int64_t)), *moving = calloc((size_t)n, sizeof(int64_t)), movers = 0;
    double *v = calloc((size_t)question->rows * 2 * TILE + 1, sizeof(double));
    const int fine = furnish(chain, &room, 1) && in && digit && moving && v;
    answer->flags = answer->done = answer->best_point = 0;
    answer->digest = 0;
    answer->best = INFINITY;
    for (int64_t i = n - 1, rest = begin; fine && i >= 0; i--) {
        digit[i] = rest % grid->size[i];
        rest /= grid->size[i];
        if (grid->size[i] > 1) moving[movers++] = i; /* last first */
        for (int p = 0; p < TILE; p++) in[i * TILE + p] = number_at(grid->first[i]);
    }
    while (fine && answer->done < count && answer->flags + TILE <= answer->room) {
        const int64_t left = count - answer->done, points = left < TILE ? left : TILE;
        for (int64_t p = 0; p < points; p++) {
            for (int64_t f = 0; f < movers; f++)
                in[moving[f] * TILE + p] = number_at(grid->first[moving[f]] + digit[moving[f]]);
            for (int64_t f = 0; f < movers; f++) {
                const int64_t i = moving[f];
                if (++digit[i] < grid->size[i]) break;
                digit[i] = 0;
            }
        }
        const float *y = run(chain, &room, in);
        judge(chain, question, in, y, v, v + question->rows * TILE);
        for (int p = 0; p < points; p++) {
            const int64_t number = begin + answer->done + p;
            double least;
            if (doubtful(question, v, v + question->rows * TILE, p, &least)) answer->flagged[answer->flags++] = number;
            if (least < answer->best) answer->best = least, answer->best_point = number;
            answer->digest += hash((uint64_t)number, y, chain->outputs, p);
        }
        answer->done += points;
    }
    clear(&room);
    free(in);
    free(digit);
    free(moving);
    free(v);
    return fine ? 0 : -1;
}

int64_t farkas_layout(void) {
    return LAYOUT * 4096 + (int64_t)(sizeof(struct chain) + sizeof(struct step) + sizeof(struct answer));
}
