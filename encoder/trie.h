/* encoder/trie.h - which of many byte strings does this text begin with.
 *
 * Immutable; nodes lie in breadth-first order, so a node's children are neighbours and
 * nine bytes a node are enough. Never more nodes than the keys have bytes, plus one. */
#ifndef SP_TRIE_H
#define SP_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct sp_trie_key {
  const char *s; /* borrowed while building */
  uint32_t n;
  uint32_t value; /* anything but SP_TRIE_NONE */
} sp_trie_key;

enum { SP_TRIE_NONE = 0xffffffff };

typedef struct sp_trie {
  uint32_t n_nodes; /* node 0 is the root */
  uint32_t root[256];
  uint8_t *labels;  /* [n_nodes] the byte that leads to the node */
  uint32_t *first;  /* [n_nodes + 1] children: first[i] .. first[i + 1] - 1, by label */
  uint32_t *values; /* [n_nodes] the value of the key that ends here, or SP_TRIE_NONE */
} sp_trie;

/* Sorts keys[n] in place; of equal keys the lowest value counts; empty keys count for nothing. On
 * SP_OK the caller ends *out with sp_trie_free(). Errors: ENOMEM, EINVAL (2^32 bytes). */
sp_err sp_trie_build(sp_trie_key *keys, size_t n, sp_trie *out);
void sp_trie_free(sp_trie *t); /* {0} is fine */

/* The child of `node` along `byte`, or 0. */
static inline uint32_t sp_trie_step(const sp_trie *t, uint32_t node, uint8_t byte) {
  if (node == 0) return t->root[byte];
  uint32_t low = t->first[node], high = t->first[node + 1];
  while (high - low > 8) {
    uint32_t middle = (low + high) / 2;
    if (t->labels[middle] <= byte)
      low = middle;
    else
      high = middle;
  }
  for (; low < high; low++)
    if (t->labels[low] == byte) return low;
  return 0;
}

/* The longest key that s[0..n) begins with, walking on from `node` (0: from the root).
 * Returns how many bytes of s it took, 0 for none; *value is the key's. */
size_t sp_trie_longest(const sp_trie *t, uint32_t node, const char *s, size_t n,
                       uint32_t *value);

/* The node at the end of s[0..n), or 0. */
uint32_t sp_trie_walk(const sp_trie *t, const char *s, size_t n);

#endif
