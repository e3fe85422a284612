/* base/vec.c - sparse vectors: growing, ordering, cutting, checking. */
#include "base/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sp_err sp_vec_reserve(sp_vec *v, uint32_t n) {
  if (n <= v->cap) return SP_OK;
  uint32_t cap = v->cap < 16 ? 16 : v->cap;
  while (cap < n) cap = cap > UINT32_MAX / 2 ? n : cap * 2;

  uint32_t *terms = realloc(v->terms, (size_t)cap * sizeof *terms);
  if (terms) v->terms = terms;
  float *weights = terms ? realloc(v->weights, (size_t)cap * sizeof *weights) : NULL;
  if (!weights)
    return sp_fail(SP_ENOMEM, "sparse vector of %u entries: out of memory", n);
  v->weights = weights;
  v->cap = cap;
  return SP_OK;
}

sp_err sp_vec_push(sp_vec *v, uint32_t term, float weight) {
  if (v->n == v->cap) {
    sp_err err = sp_vec_reserve(v, v->n + 1);
    if (err) return err;
  }
  v->terms[v->n] = term;
  v->weights[v->n++] = weight;
  return SP_OK;
}

static void swap_entries(sp_vec *v, uint32_t a, uint32_t b) {
  uint32_t t = v->terms[a];
  v->terms[a] = v->terms[b];
  v->terms[b] = t;
  float w = v->weights[a];
  v->weights[a] = v->weights[b];
  v->weights[b] = w;
}

static void sift_down(sp_vec *v, uint32_t at, uint32_t n) {
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= n) return;
    if (child + 1 < n && v->terms[child + 1] > v->terms[child]) child++;
    if (v->terms[at] >= v->terms[child]) return;
    swap_entries(v, at, child);
    at = child;
  }
}

/* Heap sort: two parallel arrays rule qsort() out, and nothing may be allocated. */
static void sort_by_term(sp_vec *v) {
  uint32_t n = v->n;
  for (uint32_t i = 1; i < n; i++)
    if (v->terms[i - 1] > v->terms[i]) goto unsorted;
  return;
unsorted:
  for (uint32_t i = n / 2; i-- > 0;) sift_down(v, i, n);
  for (uint32_t end = n - 1; end > 0; end--) {
    swap_entries(v, 0, end);
    sift_down(v, 0, end);
  }
}

void sp_vec_normalize(sp_vec *v) {
  if (v->n == 0) return;
  sort_by_term(v);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < v->n;) {
    uint32_t term = v->terms[i];
    float sum = 0;
    for (; i < v->n && v->terms[i] == term; i++) sum += v->weights[i];
    if (!(sum > 0)) continue;
    v->terms[kept] = term;
    v->weights[kept++] = sum;
  }
  v->n = kept;
}

static int descending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x < y) - (x > y);
}

sp_err sp_vec_keep_top(sp_vec *v, uint32_t k) {
  if (v->n <= k) return SP_OK;
  if (k == 0) {
    v->n = 0;
    return SP_OK;
  }
  float *sorted = malloc(v->n * sizeof *sorted);
  if (!sorted) return sp_fail(SP_ENOMEM, "top %u of %u entries: out of memory", k, v->n);
  memcpy(sorted, v->weights, v->n * sizeof *sorted);
  qsort(sorted, v->n, sizeof *sorted, descending);
  float cut = sorted[k - 1];
  uint32_t ties = 0; /* entries equal to the cut that still fit */
  for (uint32_t i = 0; i < k; i++) ties += sorted[i] == cut;
  free(sorted);

  uint32_t kept = 0;
  for (uint32_t i = 0; i < v->n; i++) {
    float w = v->weights[i];
    if (w < cut || (w == cut && ties == 0)) continue;
    if (w == cut) ties--;
    v->terms[kept] = v->terms[i];
    v->weights[kept++] = w;
  }
  v->n = kept;
  return SP_OK;
}

void sp_vec_keep_above(sp_vec *v, float threshold) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < v->n; i++) {
    if (v->weights[i] < threshold) continue;
    v->terms[kept] = v->terms[i];
    v->weights[kept++] = v->weights[i];
  }
  v->n = kept;
}

sp_vec_fault sp_vec_check(const uint32_t *terms, const float *weights, uint32_t n,
                          uint32_t n_terms, uint32_t *at) {
  for (uint32_t i = 0; i < n; i++) {
    if (at) *at = i;
    if (!isfinite(weights[i])) return SP_VEC_NAN;
    if (weights[i] < 0) return SP_VEC_NEGATIVE;
    if (weights[i] == 0) return SP_VEC_ZERO;
    if (n_terms && terms[i] >= n_terms) return SP_VEC_RANGE;
    if (i && terms[i] == terms[i - 1]) return SP_VEC_DUPLICATE;
    if (i && terms[i] < terms[i - 1]) return SP_VEC_UNSORTED;
  }
  return SP_VEC_SOUND;
}

const char *sp_vec_fault_name(sp_vec_fault fault) {
  switch (fault) {
    case SP_VEC_SOUND:
      return "sound";
    case SP_VEC_UNSORTED:
      return "unsorted";
    case SP_VEC_DUPLICATE:
      return "duplicate";
    case SP_VEC_NAN:
      return "not a finite number";
    case SP_VEC_NEGATIVE:
      return "negative";
    case SP_VEC_ZERO:
      return "zero";
    case SP_VEC_RANGE:
      return "out of range";
  }
  return "unknown";
}

double sp_vec_dot(const sp_vec *a, const sp_vec *b) {
  double sum = 0;
  for (uint32_t i = 0, j = 0; i < a->n && j < b->n;) {
    if (a->terms[i] == b->terms[j])
      sum += (double)a->weights[i++] * b->weights[j++];
    else if (a->terms[i] < b->terms[j])
      i++;
    else
      j++;
  }
  return sum;
}

sp_err sp_vec_copy(const sp_vec *from, sp_vec *to) {
  sp_err err = sp_vec_reserve(to, from->n);
  if (err) return err;
  if (from->n) {
    memcpy(to->terms, from->terms, from->n * sizeof *to->terms);
    memcpy(to->weights, from->weights, from->n * sizeof *to->weights);
  }
  to->n = from->n;
  return SP_OK;
}

void sp_vec_clear(sp_vec *v) {
  v->n = 0;
}

void sp_vec_free(sp_vec *v) {
  free(v->terms);
  free(v->weights);
  *v = (sp_vec){0};
}
