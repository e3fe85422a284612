/* encoder/word_cache.c - making and emptying the table. */
#include "encoder/word_cache.h"

#include <stdlib.h>

_Static_assert(sizeof(sp_cached_word) == 64, "a slot is one cache line");
_Static_assert(SP_CACHE_SLOTS == 1 << 15, "the slot is the top 15 bits of the hash");

sp_err sp_word_cache_begin(sp_word_cache *c, uint64_t owner, size_t n) {
  enum { LINE = 64 };
  if (!c->slots) {
    c->n_bytes += n;
    if (c->n_bytes < SP_CACHE_FROM_BYTES) return SP_OK;
    c->memory = calloc(SP_CACHE_SLOTS + 1, LINE); /* untouched until it is used */
    if (!c->memory) return sp_fail(SP_ENOMEM, "word cache: out of memory");
    uintptr_t at = ((uintptr_t)c->memory + LINE - 1) / LINE * LINE;
    c->slots = (sp_cached_word *)at;
    c->epoch = 1;
  } else if (c->owner != owner && ++c->epoch == 0) { /* all numbers were in use */
    memset(c->slots, 0, SP_CACHE_SLOTS * sizeof *c->slots);
    c->epoch = 1;
  }
  c->owner = owner;
  return SP_OK;
}

void sp_word_cache_free(sp_word_cache *c) {
  free(c->memory);
  *c = (sp_word_cache){0};
}
