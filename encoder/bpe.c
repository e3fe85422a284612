/* encoder/bpe.c - byte-pair encoding (Sennrich, Haddow, Birch 2016): a word begins as its
 * characters; of all neighbours that may merge, the pair of lowest rank does (the leftmost
 * of equals), until none may. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

enum { FEW = 32 }; /* up to so many symbols, looking at all pairs beats a heap */

struct sp_bpe_symbol {
  uint32_t id;
  uint32_t length;     /* bytes; 0: merged away */
  uint32_t prev, next; /* neighbours, or NOBODY */
};

static const uint32_t NOBODY = UINT32_MAX;

static uint32_t rank_of(const sp_merges *m, uint32_t left, uint32_t right) {
  uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
  for (size_t i = (size_t)(h >> 32) & m->mask;; i = (i + 1) & m->mask) {
    const struct sp_merge *s = &m->slots[i];
    if (s->rank == SP_NO_RANK || (s->left == left && s->right == right)) return s->rank;
  }
}

/* ---- a word's characters ---- */

/* The symbols under way: where the next one goes, and unknown bytes not yet put. */
typedef struct start {
  struct sp_bpe_symbol *symbols;
  size_t n;
  uint32_t unknown; /* bytes */
} start;

static void put(start *s, uint32_t id, uint32_t length) {
  s->symbols[s->n] = (struct sp_bpe_symbol){.id = id, .length = length};
  s->n++;
}

static void put_unknown(const sp_bpe *m, start *s) {
  if (s->unknown) put(s, m->unk, s->unknown);
  s->unknown = 0;
}

/* With prefix or suffix, or outside of the tables. */
static uint32_t find_unit(const sp_bpe *m, const char *unit, size_t n, bool first,
                          bool last) {
  char spelled[2 * SP_BPE_AFFIX + 4];
  size_t length = 0;
  if (!first) {
    length = strlen(m->prefix);
    memcpy(spelled, m->prefix, length);
  }
  memcpy(spelled + length, unit, n);
  length += n;
  if (last) {
    memcpy(spelled + length, m->suffix, strlen(m->suffix));
    length += strlen(m->suffix);
  }
  return sp_vocab_find_own(m->vocab, spelled, length);
}

static uint32_t find_symbol(const sp_bpe *m, const char *s, size_t n, bool first,
                            bool last) {
  bool plain = !*m->prefix && !*m->suffix;
  if (m->byte_level) {
    if (plain) return m->bytes[(uint8_t)*s];
    char unit[4];
    n = sp_utf8_put(sp_byte_char((uint8_t)*s), unit);
    return find_unit(m, unit, n, first, last);
  }
  if (plain && n == 1) return m->ascii[(uint8_t)*s];
  return find_unit(m, s, n, first, last);
}

static size_t begin_word(const sp_bpe *m, const char *word, size_t n,
                         struct sp_bpe_symbol *symbols) {
  start s = {symbols, 0, 0};
  for (size_t i = 0; i < n;) {
    size_t took = m->byte_level ? 1 : sp_char_bytes(word[i]);
    uint32_t id = find_symbol(m, word + i, took, i == 0, i + took == n);
    if (id != UINT32_MAX) {
      put_unknown(m, &s);
      put(&s, id, (uint32_t)took);
    } else if (m->byte_fallback) {
      /* Unknown bytes that wait are put behind these, as the published code does. */
      for (size_t k = 0; k < took; k++) put(&s, m->fallback[(uint8_t)word[i + k]], 1);
    } else if (m->unk != UINT32_MAX) {
      if (!m->fuse_unk) put_unknown(m, &s);
      s.unknown += (uint32_t)took;
    }
    i += took;
  }
  put_unknown(m, &s);
  return s.n;
}

/* ---- merging few ---- */

static size_t merge_few(const sp_merges *m, struct sp_bpe_symbol *s, size_t n) {
  uint32_t ranks[FEW];
  for (size_t i = 0; i + 1 < n; i++) ranks[i] = rank_of(m, s[i].id, s[i + 1].id);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == SP_NO_RANK) break;
    s[best].id = m->result[ranks[best]];
    s[best].length += s[best + 1].length;
    n--;
    for (size_t i = best + 1; i < n; i++) {
      s[i] = s[i + 1];
      ranks[i - 1] = ranks[i];
    }
    if (best > 0) ranks[best - 1] = rank_of(m, s[best - 1].id, s[best].id);
    if (best + 1 < n) ranks[best] = rank_of(m, s[best].id, s[best + 1].id);
  }
  return n;
}

/* ---- merging many: a heap of (rank, place), places linked ---- */

static void heap_push(uint64_t *heap, size_t *n, uint64_t x) {
  size_t i = (*n)++;
  for (; i > 0 && heap[(i - 1) / 2] > x; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
  heap[i] = x;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n) {
  uint64_t top = heap[0], x = heap[--*n];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < *n; i = child) {
    if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= x) break;
    heap[i] = heap[child];
  }
  heap[i] = x;
  return top;
}

static void offer(const sp_merges *m, const struct sp_bpe_symbol *s, uint32_t left,
                  uint64_t *heap, size_t *n_heap) {
  if (left == NOBODY || s[left].next == NOBODY) return;
  uint32_t rank = rank_of(m, s[left].id, s[s[left].next].id);
  if (rank != SP_NO_RANK) heap_push(heap, n_heap, (uint64_t)rank << 32 | left);
}

static size_t merge_many(const sp_merges *m, struct sp_bpe_symbol *s, size_t n,
                         uint64_t *heap) {
  size_t n_heap = 0;
  for (uint32_t i = 0; i < n; i++) {
    s[i].prev = i ? i - 1 : NOBODY;
    s[i].next = i + 1 < n ? i + 1 : NOBODY;
  }
  for (uint32_t i = 0; i < n; i++) offer(m, s, i, heap, &n_heap);
  while (n_heap) {
    uint64_t top = heap_pop(heap, &n_heap);
    uint32_t left = (uint32_t)top, rank = (uint32_t)(top >> 32), right = s[left].next;
    if (s[left].length == 0 || right == NOBODY) continue;
    if (rank_of(m, s[left].id, s[right].id) != rank) continue; /* merged otherwise */
    s[left].id = m->result[rank];
    s[left].length += s[right].length;
    s[left].next = s[right].next;
    s[right].length = 0;
    if (s[left].next != NOBODY) s[s[left].next].prev = left;
    offer(m, s, s[left].prev, heap, &n_heap);
    offer(m, s, left, heap, &n_heap);
  }
  size_t kept = 0;
  for (size_t i = 0; i < n; i++)
    if (s[i].length) s[kept++] = s[i];
  return kept;
}

/* ---- a word ---- */

static sp_err reserve(sp_bpe_scratch *scratch, size_t n) {
  if (n <= scratch->cap) return SP_OK;
  size_t cap = scratch->cap + scratch->cap / 2 + 64;
  if (cap < n) cap = n;
  /* Each merge takes one entry off the heap and puts at most two on it. */
  uint64_t *heap = realloc(scratch->heap, 2 * cap * sizeof *heap);
  if (heap) scratch->heap = heap;
  struct sp_bpe_symbol *symbols =
      heap ? realloc(scratch->symbols, cap * sizeof *symbols) : NULL;
  if (!symbols) return sp_fail(SP_ENOMEM, "a word of %zu bytes: out of memory", n);
  scratch->symbols = symbols;
  scratch->cap = cap;
  return SP_OK;
}

static void emit(const struct sp_bpe_symbol *s, size_t n, sp_tokens *out) {
  uint32_t at = 0;
  for (size_t i = 0; i < n; i++) {
    out->ids[out->n] = s[i].id;
    out->begin[out->n] = at;
    at += s[i].length;
    out->end[out->n++] = at;
  }
}

/* The whole word, where it is a token itself and merges need not lead to it. */
static uint32_t find_whole(const sp_bpe *m, const char *word, size_t n) {
  enum { LONGEST = 256 }; /* bytes; a longer word takes the ordinary way */
  char spelled[4 * LONGEST];
  if (!m->byte_level) return sp_vocab_find_own(m->vocab, word, n);
  if (n > LONGEST) return UINT32_MAX;
  size_t length = 0;
  for (size_t i = 0; i < n; i++)
    length += sp_utf8_put(sp_byte_char((uint8_t)word[i]), spelled + length);
  return sp_vocab_find_own(m->vocab, spelled, length);
}

sp_err sp_bpe_encode(const sp_bpe *m, sp_bpe_scratch *scratch, const char *word, size_t n,
                     sp_tokens *out) {
  if (m->ignore_merges) {
    struct sp_bpe_symbol whole = {.id = find_whole(m, word, n), .length = (uint32_t)n};
    if (whole.id != UINT32_MAX) {
      emit(&whole, 1, out);
      return SP_OK;
    }
  }
  struct sp_bpe_symbol few[FEW];
  if (n <= FEW) {
    size_t n_few = begin_word(m, word, n, few);
    emit(few, merge_few(&m->merges, few, n_few), out);
    return SP_OK;
  }
  sp_err err = reserve(scratch, n);
  if (err) return err;
  size_t count = begin_word(m, word, n, scratch->symbols);
  count = count <= FEW ? merge_few(&m->merges, scratch->symbols, count)
                       : merge_many(&m->merges, scratch->symbols, count, scratch->heap);
  emit(scratch->symbols, count, out);
  return SP_OK;
}
