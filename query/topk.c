/* query/topk.c - a binary heap with its smallest key on top. */
#include "query/topk.h"

#include <stdlib.h>

sp_err sp_topk_reset(sp_topk *t, uint32_t k) {
  if (k > t->cap) {
    uint64_t *keys = realloc(t->keys, k * sizeof *keys);
    if (!keys) return sp_fail(SP_ENOMEM, "no memory for the best %u results", k);
    t->keys = keys;
    t->cap = k;
  }
  t->n = 0;
  t->k = k;
  t->floor = 0;
  return SP_OK;
}

void sp_topk_free(sp_topk *t) {
  free(t->keys);
  *t = (sp_topk){0};
}

/* Puts `key` where it belongs below position `at`, whose own key is given up. */
static void sift_down(uint64_t *keys, uint32_t n, uint32_t at, uint64_t key) {
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= n) break;
    if (child + 1 < n) child += keys[child + 1] < keys[child];
    if (keys[child] >= key) break;
    keys[at] = keys[child];
    at = child;
  }
  keys[at] = key;
}

void sp_topk_insert(sp_topk *t, uint64_t key) {
  if (t->n == t->k) {
    sift_down(t->keys, t->n, 0, key);
  } else {
    uint32_t at = t->n++;
    for (; at && t->keys[(at - 1) / 2] > key; at = (at - 1) / 2)
      t->keys[at] = t->keys[(at - 1) / 2];
    t->keys[at] = key;
    if (t->n < t->k) return;
  }
  t->floor = t->keys[0];
}

void sp_topk_sort(sp_topk *t) {
  for (uint32_t n = t->n; n > 1; n--) { /* the smallest goes last */
    uint64_t smallest = t->keys[0];
    sift_down(t->keys, n - 1, 0, t->keys[n - 1]);
    t->keys[n - 1] = smallest;
  }
}
