/* encoder/word_cache.h - the tokens of words met before.
 *
 * Text repeats its words: a bounded table in which a word displaces whichever word had
 * its slot. Only short words with few tokens that lie side by side are kept; the rest is
 * worked out each time. */
#ifndef SP_WORD_CACHE_H
#define SP_WORD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

enum {
  SP_CACHED_BYTES = 24,
  SP_CACHED_TOKENS = 7,
  SP_CACHE_SLOTS = 1 << 15,  /* of 64 bytes */
  SP_CACHE_FROM_BYTES = 1024 /* of text: a short question pays for no table */
};

typedef struct sp_cached_word {
  uint64_t key[3];                    /* the word's bytes, then zeros */
  uint8_t length;                     /* of the word; 0: the slot is free */
  uint8_t n;                          /* tokens */
  uint8_t ends[SP_CACHED_TOKENS - 1]; /* where each token but the last ends */
  uint32_t ids[SP_CACHED_TOKENS];
  uint32_t epoch; /* the cache's when it was filled; others' slots are free */
} sp_cached_word;

typedef struct sp_word_cache {
  sp_cached_word
      *slots; /* [SP_CACHE_SLOTS] on cache lines, within `memory`; NULL: not yet */
  void *memory;
  uint64_t owner; /* hash of the tokenizer whose tokens these are */
  uint32_t epoch; /* counts the owners */
  size_t n_bytes; /* of text met before there were slots */
} sp_word_cache;

/* Makes it ready for a text of n bytes under the tokenizer with hash `owner`: empties what
 * another left; makes the slots once there was text enough. Errors: ENOMEM. */
sp_err sp_word_cache_begin(sp_word_cache *c, uint64_t owner, size_t n);
void sp_word_cache_free(sp_word_cache *c);

static inline uint64_t sp_load_upto_8(const char *s, size_t n) {
  uint64_t x;
  memcpy(&x, s, 8);
  return n >= 8 ? x : x & ((1ull << (8 * n)) - 1);
}

/* The slot where word[0..n), 0 < n <= SP_CACHED_BYTES, is or belongs; *hit says which.
 * There must be slots, and 24 bytes from `word` on be readable. */
static inline sp_cached_word *sp_word_cache_slot(const sp_word_cache *c, const char *word,
                                                 size_t n, uint64_t key[3], bool *hit) {
  key[0] = sp_load_upto_8(word, n);
  key[1] = n > 8 ? sp_load_upto_8(word + 8, n - 8) : 0;
  key[2] = n > 16 ? sp_load_upto_8(word + 16, n - 16) : 0;
  uint64_t h = key[0] * 0x9e3779b97f4a7c15u ^ key[1] * 0xc2b2ae3d27d4eb4fu ^
               key[2] * 0x165667b19e3779f9u;
  h ^= h >> 32;
  h *= 0x9fb21c651e98df25u;
  sp_cached_word *s = &c->slots[h >> 49];
  *hit = s->epoch == c->epoch && s->length == n && s->key[0] == key[0] &&
         s->key[1] == key[1] && s->key[2] == key[2];
  return s;
}

#endif
