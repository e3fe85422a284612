/* encoder/added_tokens.c - tokens that are looked for in the text itself. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "encoder/tokenizer_parts.h"

/* ---- finding ---- */

/* The regular expression's \w: letters, marks, decimal and letter numbers, connectors,
 * joiners. */
static bool is_word_char(uint32_t code) {
  if (code == 0x200c || code == 0x200d) return true;
  switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default: /* circled and squared letters are alphabetic symbols */
      return (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
             (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189);
  }
}

static bool stands_alone(const char *s, size_t n, size_t begin, size_t end) {
  uint32_t code;
  if (begin > 0) {
    sp_char_at(s + sp_char_before(s, begin), &code);
    if (is_word_char(code)) return false;
  }
  if (end < n) {
    sp_char_at(s + end, &code);
    if (is_word_char(code)) return false;
  }
  return true;
}

static size_t blanks_before(const char *s, size_t begin, size_t from) {
  while (begin > from) {
    uint32_t code;
    size_t last = sp_char_before(s, begin);
    sp_char_at(s + last, &code);
    if (last < from || !(sp_unicode_flags(code) & SP_CHAR_SPACE)) break;
    begin = last;
  }
  return begin;
}

static size_t blanks_after(const char *s, size_t n, size_t end) {
  while (end < n) {
    uint32_t code;
    size_t took = sp_char_at(s + end, &code);
    if (!(sp_unicode_flags(code) & SP_CHAR_SPACE)) break;
    end += took;
  }
  return end;
}

bool sp_added_next(const sp_added *a, const sp_added_set *set, const char *s, size_t n,
                   size_t from, size_t *at, sp_added_match *out) {
  if (!set->any) return false;
  for (size_t i = *at; i < n; i++) {
    if (!set->begins[(uint8_t)s[i]]) continue;
    uint32_t place;
    size_t took = sp_trie_longest(&set->trie, 0, s + i, n - i, &place);
    if (!took) continue;
    *at = i + took;
    const sp_added_token *t = &a->tokens[place];
    if (t->single_word && !stands_alone(s, n, i, i + took)) {
      i += took - 1; /* what matched is spent, as the published search has it */
      continue;
    }
    out->token = t;
    out->begin = t->lstrip ? blanks_before(s, i, from) : i;
    out->end = t->rstrip ? blanks_after(s, n, i + took) : i + took;
    return true;
  }
  *at = n;
  return false;
}

const sp_added_token *sp_added_find(const sp_added *a, uint32_t id) {
  size_t low = 0, high = a->n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const sp_added_token *t = &a->tokens[a->by_id[middle]];
    if (t->id == id) return t;
    if (t->id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

/* ---- reading ---- */

static int by_id(const void *a, const void *b, void *tokens) {
  const sp_added_token *t = tokens;
  uint32_t x = t[*(const uint32_t *)a].id, y = t[*(const uint32_t *)b].id;
  return (x > y) - (x < y);
}

static sp_err read_one(sp_tokenizer *t, const json_t *o, const char *where,
                       sp_added_token *out) {
  const json_t *content = json_object_get(o, "content");
  const json_t *id = json_object_get(o, "id");
  if (!json_is_string(content) || !json_is_integer(id))
    return sp_fail(SP_EFORMAT, "%s: an added token needs a \"content\" and an \"id\"",
                   where);
  const char *s = json_string_value(content);
  *out = (sp_added_token){.n = json_string_length(content)};
  sp_err err = sp_json_get_bool(o, "single_word", where, &out->single_word);
  if (!err) err = sp_json_get_bool(o, "lstrip", where, &out->lstrip);
  if (!err) err = sp_json_get_bool(o, "rstrip", where, &out->rstrip);
  if (!err) err = sp_json_get_bool(o, "special", where, &out->special);
  out->normalized = !out->special;
  if (!err) err = sp_json_get_bool(o, "normalized", where, &out->normalized);
  if (!err) err = sp_vocab_add(&t->vocab, s, out->n, json_integer_value(id), where);
  if (!err) out->id = sp_vocab_find(&t->vocab, s, out->n);
  return err;
}

sp_err sp_added_read(sp_tokenizer *t, const json_t *array, const char *where) {
  if (!array || json_is_null(array)) return SP_OK;
  if (!json_is_array(array))
    return sp_fail(SP_EFORMAT, "%s: \"added_tokens\" must be a list", where);
  size_t n = json_array_size(array);
  t->added.tokens = calloc(n ? n : 1, sizeof *t->added.tokens);
  t->added.by_id = calloc(n ? n : 1, sizeof *t->added.by_id);
  if (!t->added.tokens || !t->added.by_id)
    return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  for (size_t i = 0; i < n; i++) {
    sp_err err = read_one(t, json_array_get(array, i), where, &t->added.tokens[i]);
    if (err) return err;
    t->added.n++;
  }
  /* Only now, as the vocabulary moves while it grows. */
  for (size_t i = 0; i < n; i++) {
    sp_added_token *a = &t->added.tokens[i];
    a->content = sp_vocab_token(&t->vocab, a->id, &a->n);
    t->added.by_id[i] = (uint32_t)i;
  }
  if (n) qsort_r(t->added.by_id, n, sizeof *t->added.by_id, by_id, t->added.tokens);
  return SP_OK;
}

/* What is looked for: the content, or what the normalizer makes of it (malloc'ed). */
static sp_err pattern_of(const sp_tokenizer *t, const sp_added_token *a,
                         sp_norm_scratch *scratch, sp_draft *draft, char **s, size_t *n) {
  const sp_draft *normal = NULL;
  sp_err err = sp_draft_set(draft, a->content, a->n, 0, false);
  if (!err) normal = draft;
  if (!err && a->normalized)
    err = sp_normalizer_run(&t->normalizer, draft, scratch, &normal);
  if (err) return err;
  *n = normal->n;
  *s = malloc(normal->n + 1);
  if (!*s) return sp_fail(SP_ENOMEM, "added tokens: out of memory");
  if (normal->n) memcpy(*s, normal->bytes, normal->n); /* an empty draft has no bytes */
  return SP_OK;
}

static sp_err build_set(sp_added_set *set, sp_trie_key *keys, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (keys[i].n) set->begins[(uint8_t)keys[i].s[0]] = set->any = true;
  return set->any ? sp_trie_build(keys, n, &set->trie) : SP_OK;
}

/* The keys of both sets: those of the raw one from the front, the other's from the back. */
static sp_err make_keys(sp_tokenizer *t, sp_trie_key *keys, size_t *n_raw, size_t *done) {
  sp_norm_scratch scratch = {0};
  sp_draft draft = {0};
  sp_err err = SP_OK;
  size_t n = t->added.n, back = n;
  for (size_t i = 0; i < n && !err; i++) {
    const sp_added_token *a = &t->added.tokens[i];
    char *s = NULL;
    size_t length = 0;
    err = pattern_of(t, a, &scratch, &draft, &s, &length);
    if (err) break;
    sp_trie_key *key = &keys[a->normalized ? --back : (*n_raw)++];
    *key = (sp_trie_key){s, (uint32_t)length, (uint32_t)i};
    ++*done;
  }
  for (int i = 0; i < 2; i++) sp_draft_free(&scratch.drafts[i]);
  free(scratch.pending.chars);
  sp_draft_free(&draft);
  return err;
}

sp_err sp_added_prepare(sp_tokenizer *t) {
  size_t n = t->added.n, n_raw = 0, done = 0;
  if (!n) return SP_OK;
  sp_trie_key *keys = calloc(n, sizeof *keys);
  if (!keys) return sp_fail(SP_ENOMEM, "added tokens: out of memory");
  sp_err err = make_keys(t, keys, &n_raw, &done);
  if (!err) err = build_set(&t->added.raw, keys, n_raw);
  if (!err) err = build_set(&t->added.normalized, keys + n_raw, n - n_raw);
  for (size_t i = 0; i < n; i++) free((char *)keys[i].s);
  free(keys);
  return err;
}

void sp_added_free(sp_added *a) {
  free(a->tokens);
  free(a->by_id);
  sp_trie_free(&a->raw.trie);
  sp_trie_free(&a->normalized.trie);
  *a = (sp_added){0};
}
