/* encoder/trie.c - building and walking the trie. */
#include "encoder/trie.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* While building, a node is the range of keys that share its bytes. */
typedef struct range {
  uint32_t from, to; /* keys */
} range;

/* The byte that leads on from a node at `depth`, plus 1; 0: the key ends there. */
static unsigned label_of(const sp_trie_key *key, uint32_t depth) {
  return key->n > depth ? (uint8_t)key->s[depth] + 1u : 0;
}

/* Sorts keys[n] by their labels. */
static void sort_few(sp_trie_key *keys, size_t n, uint32_t depth) {
  for (size_t i = 1; i < n; i++) {
    sp_trie_key key = keys[i];
    unsigned label = label_of(&key, depth);
    size_t at = i;
    for (; at > 0 && label_of(&keys[at - 1], depth) > label; at--)
      keys[at] = keys[at - 1];
    keys[at] = key;
  }
}

/* The same by counting; `spare` has room for as many keys. */
static void sort_many(sp_trie_key *keys, size_t n, uint32_t depth, sp_trie_key *spare) {
  uint32_t at[257] = {0};
  for (size_t i = 0; i < n; i++) at[label_of(&keys[i], depth)]++;
  uint32_t sum = 0;
  for (size_t label = 0; label < 257; label++) {
    uint32_t count = at[label];
    at[label] = sum;
    sum += count;
  }
  memcpy(spare, keys, n * sizeof *keys);
  for (size_t i = 0; i < n; i++) keys[at[label_of(&spare[i], depth)]++] = spare[i];
}

/* Appends the children of the node with keys `r`, whose first `depth` bytes agree. */
static uint32_t add_children(sp_trie *t, sp_trie_key *keys, sp_trie_key *spare,
                             range *ranges, range r, uint32_t depth, uint32_t n_nodes) {
  enum { FEW = 24 };
  if (r.to - r.from <= FEW)
    sort_few(keys + r.from, r.to - r.from, depth);
  else
    sort_many(keys + r.from, r.to - r.from, depth, spare);
  for (uint32_t i = r.from; i < r.to;) {
    unsigned label = label_of(&keys[i], depth);
    uint32_t from = i, value = SP_TRIE_NONE;
    for (; i < r.to && label_of(&keys[i], depth) == label; i++)
      if (keys[i].n == depth + 1 && keys[i].value < value) value = keys[i].value;
    if (label == 0) continue; /* ends at the node itself */
    t->labels[n_nodes] = (uint8_t)(label - 1);
    t->values[n_nodes] = value;
    ranges[n_nodes++] = (range){from, i};
  }
  return n_nodes;
}

static void fill(sp_trie *t, sp_trie_key *keys, size_t n, sp_trie_key *spare,
                 range *ranges) {
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
    n_nodes = add_children(t, keys, spare, ranges, ranges[node], depth, n_nodes);
  }
  t->first[n_nodes] = n_nodes;
  t->n_nodes = n_nodes;
  for (uint32_t c = t->first[0]; c < t->first[1]; c++) t->root[t->labels[c]] = c;
}

/* Gives back the room that shared bytes did not need. */
static void shrink(sp_trie *t) {
  uint8_t *labels = realloc(t->labels, t->n_nodes);
  if (labels) t->labels = labels;
  uint32_t *values = realloc(t->values, t->n_nodes * sizeof *values);
  if (values) t->values = values;
  uint32_t *first = realloc(t->first, ((size_t)t->n_nodes + 1) * sizeof *first);
  if (first) t->first = first;
}

sp_err sp_trie_build(sp_trie_key *keys, size_t n, sp_trie *out) {
  *out = (sp_trie){0};
  size_t most = 1; /* nodes */
  for (size_t i = 0; i < n; i++) most += keys[i].n;
  if (most >= UINT32_MAX || n >= UINT32_MAX)
    return sp_fail(SP_EINVAL, "vocabulary of 4 GiB or more");
  range *ranges = malloc(most * sizeof *ranges);
  sp_trie_key *spare = malloc((n + 1) * sizeof *spare);
  out->labels = malloc(most);
  out->values = malloc(most * sizeof *out->values);
  out->first = malloc((most + 1) * sizeof *out->first);
  bool ready = ranges && spare && out->labels && out->values && out->first;
  if (ready) {
    fill(out, keys, n, spare, ranges);
    shrink(out);
  }
  free(ranges);
  free(spare);
  if (ready) return SP_OK;
  sp_trie_free(out);
  return sp_fail(SP_ENOMEM, "trie of %zu nodes: out of memory", most);
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
