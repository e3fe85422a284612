/* encoder/wordpiece.c - longest match first, from the left (Schuster and Nakajima 2012, as
 * BERT uses it): a word is its longest prefix in the vocabulary, then the longest
 * continuation ("##ing") of what is left, and so on; a word with a rest that no piece
 * fits is unknown as a whole. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "encoder/tokenizer_parts.h"

static sp_err build_trie(sp_wordpiece *m, const sp_vocab *v) {
  uint32_t n = sp_strmap_count(v->tokens);
  sp_trie_key *keys = malloc((n ? n : 1) * sizeof *keys);
  if (!keys) return sp_fail(SP_ENOMEM, "vocabulary of %u tokens: out of memory", n);
  for (uint32_t i = 0; i < n; i++) {
    size_t length;
    keys[i].s = sp_strmap_key(v->tokens, i, &length);
    keys[i].n = (uint32_t)length;
    keys[i].value = v->id_of[i];
  }
  sp_err err = sp_trie_build(keys, n, &m->trie);
  free(keys);
  return err;
}

sp_err sp_wordpiece_read(sp_wordpiece *m, sp_vocab *v, const sp_model_file *f,
                         const char *where) {
  const char *unk = "[UNK]", *prefix = "##";
  m->max_chars = 100;
  sp_err err = sp_vocab_read(v, &f->vocab, where);
  if (!err) err = sp_json_get_string(f->facts, "unk_token", where, &unk);
  if (!err)
    err = sp_json_get_string(f->facts, "continuing_subword_prefix", where, &prefix);
  if (!err)
    err = sp_json_get_u32(f->facts, "max_input_chars_per_word", where, 0, UINT32_MAX,
                          &m->max_chars);
  if (err) return err;

  m->unk = sp_vocab_find(v, unk, strlen(unk));
  if (m->unk == UINT32_MAX)
    return sp_fail(SP_EFORMAT, "%s: the unk_token %.60s is not in the vocabulary", where,
                   unk);
  err = build_trie(m, v);
  if (err) return err;
  m->inner = sp_trie_walk(&m->trie, prefix, strlen(prefix));
  m->has_inner = m->inner || !*prefix;
  return SP_OK;
}

static void put(sp_tokens *out, uint32_t id, size_t begin, size_t end) {
  out->ids[out->n] = id;
  out->begin[out->n] = (uint32_t)begin;
  out->end[out->n++] = (uint32_t)end;
}

void sp_wordpiece_encode(const sp_wordpiece *m, const char *word, size_t n,
                         sp_tokens *out) {
  uint32_t first = out->n;
  bool bad = n > m->max_chars && sp_char_count(word, n) > m->max_chars;
  for (size_t at = 0; at < n && !bad;) {
    uint32_t id = 0;
    size_t took = at == 0 || m->has_inner ? sp_trie_longest(&m->trie, at ? m->inner : 0,
                                                            word + at, n - at, &id)
                                          : 0;
    bad = took == 0;
    if (!bad) put(out, id, at, at + took);
    at += took;
  }
  if (!bad) return;
  out->n = first;
  put(out, m->unk, 0, n);
}

void sp_wordpiece_free(sp_wordpiece *m) {
  sp_trie_free(&m->trie);
}
