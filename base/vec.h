/* base/vec.h - a sparse vector: what a text becomes, what an index holds, what a query
 * is. */
#ifndef SP_VEC_H
#define SP_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Terms ascend without repeats; weights are finite and > 0. An empty vector is legal.
 * Owns both arrays; {0} is an empty vector. */
typedef struct sp_vec {
  uint32_t *terms; /* [n] */
  float *weights;  /* [n] */
  uint32_t n;      /* entries in use (nnz) */
  uint32_t cap;    /* entries allocated */
} sp_vec;

/* Room for at least `n` entries. Errors: ENOMEM (the vector is as it was). */
sp_err sp_vec_reserve(sp_vec *v, uint32_t n);

/* Appends without looking at the order. Errors: ENOMEM. */
sp_err sp_vec_push(sp_vec *v, uint32_t term, float weight);

/* Sorts by term and sums the weights of equal terms; drops weights that are not > 0.
 * In place, n log n, no allocation. */
void sp_vec_normalize(sp_vec *v);

/* Keeps the `k` largest weights (equal weights: the lower term) and the order by term.
 * Errors: ENOMEM. */
sp_err sp_vec_keep_top(sp_vec *v, uint32_t k);

/* Drops every entry below `threshold`. */
void sp_vec_keep_above(sp_vec *v, float threshold);

/* What is wrong with a vector, as the first fault found, or SP_VEC_SOUND. */
typedef enum sp_vec_fault {
  SP_VEC_SOUND,
  SP_VEC_UNSORTED,
  SP_VEC_DUPLICATE,
  SP_VEC_NAN,      /* NaN or infinite */
  SP_VEC_NEGATIVE, /* below 0 */
  SP_VEC_ZERO,     /* weight 0 */
  SP_VEC_RANGE     /* a term >= n_terms */
} sp_vec_fault;

/* Checks `n` entries. `*at` (may be NULL) is the index of the faulty entry.
 * n_terms 0: any term is in range. */
sp_vec_fault sp_vec_check(const uint32_t *terms, const float *weights, uint32_t n,
                          uint32_t n_terms, uint32_t *at);
const char *sp_vec_fault_name(sp_vec_fault fault); /* "unsorted", "duplicate", ... */

/* <a, b> in double, by a merge: the plain reference. */
double sp_vec_dot(const sp_vec *a, const sp_vec *b);

sp_err sp_vec_copy(const sp_vec *from, sp_vec *to); /* Errors: ENOMEM */
void sp_vec_clear(sp_vec *v);                       /* keeps the memory */
void sp_vec_free(sp_vec *v);                        /* and becomes {0} */

#endif
