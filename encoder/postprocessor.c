/* encoder/postprocessor.c - the special tokens around a text, and trimmed spans. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

/* ---- trimming ---- */

/* A token's blanks: spaces as ByteLevel writes them (U+0120), and White_Space proper. */
static bool is_blank(uint32_t code) {
  return code == 0x120 || (code >= 9 && code <= 13) || code == ' ' || code == 0x85 ||
         code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

static size_t leading_blanks(const char *s, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; count++) {
    uint32_t code;
    i += sp_char_at(s + i, &code);
    if (!is_blank(code)) break;
  }
  return count;
}

static size_t trailing_blanks(const char *s, size_t n) {
  size_t count = 0;
  for (; n > 0; count++) {
    uint32_t code;
    n = sp_char_before(s, n);
    sp_char_at(s + n, &code);
    if (!is_blank(code)) break;
  }
  return count;
}

void sp_postprocessor_trim(const sp_postprocessor *p, const sp_vocab *v,
                           const sp_added *added, const char *text, sp_tokens *tokens) {
  for (uint32_t i = 0; i < tokens->n; i++) {
    uint32_t *begin = &tokens->begin[i], *end = &tokens->end[i];
    size_t n;
    const char *token = sp_vocab_token(v, tokens->ids[i], &n);
    if (sp_added_find(added, tokens->ids[i])) { /* as it was found, blanks and all */
      token = text + *begin;
      n = *end - *begin;
      if (!sp_utf8_valid(token, n)) continue;
    }
    if (!token) continue;
    size_t leading = leading_blanks(token, n), trailing = trailing_blanks(token, n);
    bool first = i == 0 || *begin == 0;
    if (leading && first && p->prefix_space) leading--;
    for (; leading && *begin < *end; leading--) {
      uint32_t code;
      *begin += (uint32_t)sp_utf8_next(text + *begin, *end - *begin, &code);
    }
    for (; trailing && *end > *begin; trailing--)
      *end = (uint32_t)sp_char_before(text, *end);
    if (*end < *begin) *end = *begin;
  }
}

/* ---- reading ---- */

/* Appends one id to those before or after the text. */
static sp_err add(sp_postprocessor *p, bool before, const sp_vocab *v, json_int_t id,
                  const char *name, const char *where) {
  size_t n;
  if (id < 0 || id >= v->n_ids || !sp_vocab_token(v, (uint32_t)id, &n))
    return sp_fail(SP_EFORMAT,
                   "%s: the post_processor's special token %.60s has the id %lld, which "
                   "the vocabulary lacks",
                   where, name, (long long)id);
  uint32_t **list = before ? &p->before : &p->after;
  size_t *count = before ? &p->n_before : &p->n_after;
  uint32_t *grown = realloc(*list, (*count + 1) * sizeof *grown);
  if (!grown) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  *list = grown;
  grown[(*count)++] = (uint32_t)id;
  return SP_OK;
}

static sp_err add_special(sp_postprocessor *p, bool before, const sp_vocab *v,
                          const json_t *specials, const char *name, const char *where) {
  const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
  if (!json_is_array(ids))
    return sp_fail(SP_EFORMAT,
                   "%s: the post_processor names the special token %.60s, which it does "
                   "not define",
                   where, name);
  if (json_array_size(ids) == 0 || sp_vocab_find(v, name, strlen(name)) == UINT32_MAX)
    return sp_fail(SP_EFORMAT,
                   "%s: the post_processor names the special token %.60s, which the "
                   "vocabulary lacks",
                   where, name);
  for (size_t i = 0; i < json_array_size(ids); i++) {
    sp_err err =
        add(p, before, v, json_integer_value(json_array_get(ids, i)), name, where);
    if (err) return err;
  }
  return SP_OK;
}

/* "single": [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, ...] */
static sp_err read_template(sp_postprocessor *p, const sp_vocab *v, const json_t *o,
                            const char *where) {
  const json_t *list = json_object_get(o, "single");
  const json_t *specials = json_object_get(o, "special_tokens");
  size_t n_texts = 0;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *piece = json_array_get(list, i);
    const json_t *special = json_object_get(piece, "SpecialToken");
    const char *name = json_string_value(json_object_get(special, "id"));
    if (json_object_get(piece, "Sequence")) {
      n_texts++;
    } else if (name) {
      sp_err err = add_special(p, n_texts == 0, v, specials, name, where);
      if (err) return err;
    } else {
      return sp_fail(SP_EFORMAT,
                     "%s: the post_processor's template holds something other than a "
                     "SpecialToken with an id or a Sequence",
                     where);
    }
  }
  if (n_texts != 1)
    return sp_fail(
        SP_EFORMAT,
        "%s: the post_processor's template \"single\" must hold the text once, "
        "not %zu times",
        where, n_texts);
  return SP_OK;
}

/* "cls": ["[CLS]", 101], "sep": ["[SEP]", 102] */
static sp_err read_pair(sp_postprocessor *p, bool before, const sp_vocab *v,
                        const json_t *o, const char *key, const char *where) {
  const json_t *pair = json_object_get(o, key);
  const char *name = json_string_value(json_array_get(pair, 0));
  const json_t *id = json_array_get(pair, 1);
  if (!name || !json_is_integer(id))
    return sp_fail(SP_EFORMAT, "%s: the post_processor's \"%s\" must be [\"token\", id]",
                   where, key);
  return add(p, before, v, json_integer_value(id), name, where);
}

static sp_err read_around(sp_postprocessor *p, const sp_vocab *v, const json_t *o,
                          const char *where) {
  sp_err err = read_pair(p, true, v, o, "cls", where);
  return err ? err : read_pair(p, false, v, o, "sep", where);
}

static sp_err read_trimming(sp_postprocessor *p, const json_t *o, const char *where) {
  p->trims = p->prefix_space = true;
  sp_err err = sp_json_get_bool(o, "trim_offsets", where, &p->trims);
  return err ? err : sp_json_get_bool(o, "add_prefix_space", where, &p->prefix_space);
}

static sp_err read_sequence(sp_postprocessor *p, const sp_vocab *v, const json_t *o,
                            const char *where) {
  const json_t *list = json_object_get(o, "processors");
  if (!json_is_array(list))
    return sp_fail(SP_EFORMAT,
                   "%s: the post_processor Sequence has no list \"processors\"", where);
  for (size_t i = 0; i < json_array_size(list); i++) {
    sp_err err = sp_postprocessor_read(p, v, json_array_get(list, i), where);
    if (err) return err;
  }
  return SP_OK;
}

sp_err sp_postprocessor_read(sp_postprocessor *p, const sp_vocab *v, const json_t *o,
                             const char *where) {
  if (!o || json_is_null(o)) return SP_OK;
  const char *type;
  sp_err err = json_is_object(o)
                   ? sp_json_need_string(o, "type", where, &type)
                   : sp_fail(SP_EFORMAT, "%s: a post_processor must be an object", where);
  if (err) return err;
  if (strcmp(type, "Sequence") == 0) return read_sequence(p, v, o, where);
  if (strcmp(type, "ByteLevel") == 0) return read_trimming(p, o, where);
  if (p->n_before || p->n_after)
    return sp_fail(SP_EFORMAT, "%s: two post_processors add special tokens", where);
  if (strcmp(type, "TemplateProcessing") == 0) return read_template(p, v, o, where);
  if (strcmp(type, "BertProcessing") == 0) return read_around(p, v, o, where);
  if (strcmp(type, "RobertaProcessing") == 0) {
    err = read_trimming(p, o, where);
    return err ? err : read_around(p, v, o, where);
  }
  return sp_fail(SP_EFORMAT, "%s: the post_processor type %.60s is not supported", where,
                 type);
}

void sp_postprocessor_free(sp_postprocessor *p) {
  free(p->before);
  free(p->after);
  *p = (sp_postprocessor){0};
}
