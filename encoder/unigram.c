/* encoder/unigram.c - the likeliest way to cut a word (Kudo 2018): each piece has a log
 * probability, and dynamic programming over the word's bytes finds the sum that is
 * greatest. */
#include <stdlib.h>
#include <string.h>

#include "encoder/tokenizer_parts.h"

/* The best way to the byte before which the node stands. */
struct sp_unigram_node {
  double score;
  uint32_t from; /* where its last piece begins, or UNREACHED */
  uint32_t id;
};

static const uint32_t UNREACHED = UINT32_MAX;

static sp_err reserve(sp_unigram_scratch *s, size_t n) {
  if (n <= s->cap) return SP_OK;
  size_t cap = s->cap + s->cap / 2 + 64;
  if (cap < n) cap = n;
  struct sp_unigram_node *nodes = realloc(s->nodes, cap * sizeof *nodes);
  if (nodes) s->nodes = nodes;
  uint32_t *path = nodes ? realloc(s->path, cap * sizeof *path) : NULL;
  if (!path) return sp_fail(SP_ENOMEM, "a word of %zu bytes: out of memory", n);
  s->path = path;
  s->cap = cap;
  return SP_OK;
}

/* A later candidate wins only if it is strictly better. */
static void offer(struct sp_unigram_node *to, double score, uint32_t from, uint32_t id) {
  if (to->from != UNREACHED && !(score > to->score)) return;
  *to = (struct sp_unigram_node){score, from, id};
}

static void search(const sp_unigram *m, const char *s, size_t n,
                   struct sp_unigram_node *nodes) {
  for (size_t i = 0; i <= n; i++) nodes[i] = (struct sp_unigram_node){0, UNREACHED, 0};
  for (size_t i = 0; i < n;) {
    double here = nodes[i].score;
    size_t one = sp_char_bytes(s[i]);
    bool alone = false; /* the character is a piece by itself */
    uint32_t node = 0;
    for (size_t k = i; k < n;) {
      node = sp_trie_step(&m->trie, node, (uint8_t)s[k++]);
      if (!node) break;
      uint32_t id = m->trie.values[node];
      if (id == SP_TRIE_NONE) continue;
      offer(&nodes[k], m->scores[id] + here, (uint32_t)i, id);
      alone |= k - i == one;
    }
    if (!alone) offer(&nodes[i + one], m->unk_score + here, (uint32_t)i, m->unk);
    i += one;
  }
}

static void put(sp_tokens *out, uint32_t id, size_t begin, size_t end) {
  out->ids[out->n] = id;
  out->begin[out->n] = (uint32_t)begin;
  out->end[out->n++] = (uint32_t)end;
}

/* Neighbouring unknowns are one, which may happen to be spelled as a piece. */
static void put_unknown(const sp_unigram *m, const char *s, size_t begin, size_t end,
                        sp_tokens *out) {
  uint32_t id = sp_vocab_find_own(m->vocab, s + begin, end - begin);
  if (id == UINT32_MAX && m->byte_fallback) {
    for (size_t i = begin; i < end; i++) put(out, m->fallback[(uint8_t)s[i]], begin, end);
    return;
  }
  put(out, id == UINT32_MAX ? m->unk : id, begin, end);
}

sp_err sp_unigram_encode(const sp_unigram *m, sp_unigram_scratch *scratch,
                         const char *word, size_t n, sp_tokens *out) {
  sp_err err = reserve(scratch, n + 1);
  if (err) return err;
  struct sp_unigram_node *nodes = scratch->nodes;
  search(m, word, n, nodes);

  size_t n_path = 0; /* ends of the pieces, from the last to the first */
  for (size_t at = n; at > 0; at = nodes[at].from) scratch->path[n_path++] = (uint32_t)at;
  while (n_path) {
    uint32_t end = scratch->path[--n_path], begin = nodes[end].from;
    uint32_t id = nodes[end].id;
    if (id != m->unk) {
      put(out, id, begin, end);
      continue;
    }
    while (n_path && nodes[scratch->path[n_path - 1]].id == m->unk)
      end = scratch->path[--n_path];
    put_unknown(m, word, begin, end, out);
  }
  return SP_OK;
}

void sp_unigram_free(sp_unigram *m) {
  sp_trie_free(&m->trie);
  free(m->scores);
  *m = (sp_unigram){0};
}
