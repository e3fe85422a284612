/* encoder/vocab.c - spellings and ids, both ways. */
#include <stdlib.h>
#include <string.h>

#include "encoder/tokenizer_parts.h"

static sp_err grow(uint32_t **array, uint32_t *cap, uint32_t n) {
  if (n <= *cap) return SP_OK;
  size_t want = (size_t)*cap + *cap / 2 + 64;
  if (want < n) want = n;
  if (want > UINT32_MAX) want = UINT32_MAX;
  uint32_t *grown = realloc(*array, want * sizeof *grown);
  if (!grown) return sp_fail(SP_ENOMEM, "vocabulary of %zu tokens: out of memory", want);
  *array = grown;
  *cap = (uint32_t)want;
  return SP_OK;
}

static sp_err widen(sp_vocab *v, uint32_t id) {
  if (id < v->n_ids) return SP_OK;
  sp_err err = grow(&v->number_of, &v->cap_ids, id + 1);
  if (err) return err;
  _Static_assert(SP_STRMAP_NONE == 0xffffffff, "all bits are set");
  memset(v->number_of + v->n_ids, 0xff, (id + 1 - v->n_ids) * sizeof *v->number_of);
  v->n_ids = id + 1;
  return SP_OK;
}

sp_err sp_vocab_add(sp_vocab *v, const char *token, size_t n, int64_t id,
                    const char *where) {
  int shown = n > 60 ? 60 : (int)n;
  if (id < 0)
    return sp_fail(SP_EFORMAT, "%s: the token \"%.*s\" has the negative id %lld", where,
                   shown, token, (long long)id);
  if (id >= v->max_ids)
    return sp_fail(SP_EFORMAT,
                   "%s: the token \"%.*s\" has the id %lld, more than the file can hold "
                   "tokens",
                   where, shown, token, (long long)id);
  sp_err err = SP_OK;
  if (!v->tokens) err = sp_strmap_new(&v->tokens);
  if (!err) err = widen(v, (uint32_t)id);
  if (err) return err;

  uint32_t number, count = sp_strmap_count(v->tokens);
  err = sp_strmap_add(v->tokens, token, n, &number);
  if (err) return err;
  if (number < count) {
    if (v->id_of[number] == (uint32_t)id) return SP_OK;
    return sp_fail(SP_EFORMAT, "%s: the token \"%.*s\" has two ids, %u and %u", where,
                   shown, token, v->id_of[number], (unsigned)id);
  }
  if (v->number_of[id] != SP_STRMAP_NONE) {
    size_t n_other;
    const char *other = sp_vocab_token(v, (uint32_t)id, &n_other);
    return sp_fail(SP_EFORMAT, "%s: the tokens \"%.*s\" and \"%.*s\" have the same id %u",
                   where, n_other > 60 ? 60 : (int)n_other, other, shown, token,
                   (unsigned)id);
  }
  err = grow(&v->id_of, &v->cap, number + 1);
  if (err) return err;
  v->id_of[number] = (uint32_t)id;
  v->number_of[id] = number;
  return SP_OK;
}

uint32_t sp_vocab_find(const sp_vocab *v, const char *token, size_t n) {
  uint32_t number = v->tokens ? sp_strmap_find(v->tokens, token, n) : SP_STRMAP_NONE;
  return number == SP_STRMAP_NONE ? UINT32_MAX : v->id_of[number];
}

uint32_t sp_vocab_find_own(const sp_vocab *v, const char *token, size_t n) {
  uint32_t number = v->tokens ? sp_strmap_find(v->tokens, token, n) : SP_STRMAP_NONE;
  return number < v->n_own ? v->id_of[number] : UINT32_MAX;
}

void sp_vocab_seal(sp_vocab *v) {
  v->n_own = sp_strmap_count(v->tokens);
}

const char *sp_vocab_token(const sp_vocab *v, uint32_t id, size_t *n) {
  *n = 0;
  if (id >= v->n_ids || v->number_of[id] == SP_STRMAP_NONE) return NULL;
  return sp_strmap_key(v->tokens, v->number_of[id], n);
}

sp_err sp_vocab_read(sp_vocab *v, const sp_member *object, const char *where) {
  if (!object->scan.begin)
    return sp_fail(SP_EFORMAT, "%s: the model has no \"vocab\"", where);
  if (sp_member_kind(object) != '{')
    return sp_fail(SP_EFORMAT, "%s: the model's \"vocab\" must be an object", where);
  sp_json_scan s = object->scan;
  sp_buf scratch = {0};
  sp_err err = SP_OK;
  const char *token;
  size_t n;
  int64_t id;
  for (bool first = true;
       !err && sp_json_scan_member(&s, &first, &scratch, &token, &n);) {
    if (sp_json_scan_integer(&s, &id))
      err = sp_vocab_add(v, token, n, id, where);
    else
      err = sp_fail(SP_EFORMAT, "%s: the id of the token \"%.*s\" is no whole number",
                    where, n > 60 ? 60 : (int)n, token);
  }
  if (!err && s.fault) err = sp_scan_fault(&s, where);
  sp_buf_free(&scratch);
  if (!err && v->n_ids == 0)
    err = sp_fail(SP_EFORMAT, "%s: the model's \"vocab\" is empty", where);
  return err;
}

bool sp_vocab_find_bytes(const sp_vocab *v, uint32_t ids[256]) {
  bool all = true;
  for (unsigned b = 0; b < 256; b++) {
    char name[] = "<0x00>";
    name[3] = "0123456789ABCDEF"[b >> 4];
    name[4] = "0123456789ABCDEF"[b & 15];
    ids[b] = sp_vocab_find(v, name, sizeof name - 1);
    all = all && ids[b] != UINT32_MAX;
  }
  return all;
}

void sp_vocab_free(sp_vocab *v) {
  sp_strmap_free(v->tokens);
  free(v->id_of);
  free(v->number_of);
  *v = (sp_vocab){0};
}
