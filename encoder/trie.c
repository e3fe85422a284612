/* encoder/trie.c - building and walking the trie. */
#include "encoder/trie.h"

#include <stdlib.h>
#include <string.h>

static int by_bytes(const void *a, const void *b) {
  const sp_trie_key *x = a, *y = b;
  int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
  if (order) return order;
  if (x->n != y->n) return x->n < y->n ? -1 : 1;
  return (x->value > y->value) - (x->value < y->value); /* whatever qsort does */
}

/* While building, a node is the range of sorted keys that share its bytes. */
typedef struct range {
  uint32_t from, to; /* keys */
} range;

static uint32_t count_nodes(const sp_trie_key *keys, size_t n) {
  uint32_t nodes = 1; /* each key adds what it does not share with the one before */
  for (size_t i = 0; i < n; i++) {
    uint32_t shared = 0;
    if (i)
      while (shared < keys[i].n && shared < keys[i - 1].n &&
             keys[i].s[shared] == keys[i - 1].s[shared])
        shared++;
    nodes += keys[i].n - shared;
  }
  return nodes;
}

/* Appends the children of the node with keys `r`, whose first `depth` bytes agree. */
static uint32_t add_children(sp_trie *t, const sp_trie_key *keys, range *ranges, range r,
                             uint32_t depth, uint32_t n_nodes) {
  for (uint32_t i = r.from; i < r.to;) {
    if (keys[i].n <= depth) { /* ends at this node; sorted before the longer ones */
      i++;
      continue;
    }
    uint8_t label = (uint8_t)keys[i].s[depth];
    uint32_t from = i;
    while (i < r.to && (uint8_t)keys[i].s[depth] == label) i++;
    t->labels[n_nodes] = label;
    t->values[n_nodes] = keys[from].n == depth + 1 ? keys[from].value : SP_TRIE_NONE;
    ranges[n_nodes++] = (range){from, i};
  }
  return n_nodes;
}

static void fill(sp_trie *t, const sp_trie_key *keys, size_t n, range *ranges) {
  ranges[0] = (range){0, (uint32_t)n};
  t->labels[0] = 0;
  t->values[0] = SP_TRIE_NONE;
  uint32_t n_nodes = 1, level_end = 1, depth = 0;
  for (uint32_t node = 0; node < n_nodes; node++) {
    if (node == level_end) {
      level_end = n_nodes;
      depth++;
    }
    t->first[node] = n_nodes;
    n_nodes = add_children(t, keys, ranges, ranges[node], depth, n_nodes);
  }
  t->first[n_nodes] = n_nodes;
  t->n_nodes = n_nodes;
  for (uint32_t c = t->first[0]; c < t->first[1]; c++) t->root[t->labels[c]] = c;
}

sp_err sp_trie_build(sp_trie_key *keys, size_t n, sp_trie *out) {
  *out = (sp_trie){0};
  size_t bytes = 0;
  for (size_t i = 0; i < n; i++) bytes += keys[i].n;
  if (bytes >= UINT32_MAX || n >= UINT32_MAX)
    return sp_fail(SP_EINVAL, "vocabulary of 4 GiB or more");
  if (n) qsort(keys, n, sizeof *keys, by_bytes);
  size_t nodes = count_nodes(keys, n);
  range *ranges = malloc(nodes * sizeof *ranges);
  out->labels = malloc(nodes);
  out->values = malloc(nodes * sizeof *out->values);
  out->first = malloc((nodes + 1) * sizeof *out->first);
  if (!ranges || !out->labels || !out->values || !out->first) {
    free(ranges);
    sp_trie_free(out);
    return sp_fail(SP_ENOMEM, "trie of %zu nodes: out of memory", nodes);
  }
  fill(out, keys, n, ranges);
  free(ranges);
  return SP_OK;
}

void sp_trie_free(sp_trie *t) {
  free(t->labels);
  free(t->values);
  free(t->first);
  *t = (sp_trie){0};
}

size_t sp_trie_longest(const sp_trie *t, uint32_t node, const char *s, size_t n,
                       uint32_t *value) {
  size_t best = 0;
  for (size_t i = 0; i < n;) {
    node = sp_trie_step(t, node, (uint8_t)s[i++]);
    if (!node) break;
    if (t->values[node] != SP_TRIE_NONE) {
      best = i;
      *value = t->values[node];
    }
  }
  return best;
}

uint32_t sp_trie_walk(const sp_trie *t, const char *s, size_t n) {
  uint32_t node = 0;
  for (size_t i = 0; i < n; i++) {
    node = sp_trie_step(t, node, (uint8_t)s[i]);
    if (!node) return 0;
  }
  return node;
}
