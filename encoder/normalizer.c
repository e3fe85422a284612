/* encoder/normalizer.c - the steps a text goes through before it is cut into words. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

/* ---- running ---- */

static sp_err lowercase(const sp_draft *in, sp_draft *out) {
  sp_edit e = sp_edit_begin(in, 0, out);
  for (size_t i = 0; i < in->n && !e.err;) {
    uint32_t code, lower[2];
    i += sp_char_at(in->bytes + i, &code);
    size_t n = 1;
    lower[0] = code;
    if (sp_unicode_flags(code) & SP_CHAR_LOWERS) n = sp_unicode_lower(code, lower);
    sp_edit_put(&e, lower[0], 0);
    if (n > 1) sp_edit_put(&e, lower[1], 1);
  }
  return e.err;
}

static bool is_mark(uint32_t code) {
  utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
  return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC ||
         c == UTF8PROC_CATEGORY_ME;
}

static sp_err strip_accents(const sp_draft *in, sp_draft *out) {
  sp_edit e = sp_edit_begin(in, 0, out);
  for (size_t i = 0; i < in->n && !e.err;) {
    uint32_t code;
    size_t took = sp_char_at(in->bytes + i, &code);
    if (code >= 0x80 && is_mark(code))
      sp_edit_skip(&e, 1);
    else
      sp_edit_copy(&e, i, took);
    i += took;
  }
  return e.err;
}

static bool is_space_at(const char *s, size_t *took) {
  uint32_t code;
  *took = sp_char_at(s, &code);
  return sp_unicode_flags(code) & SP_CHAR_SPACE;
}

static sp_err strip(const sp_norm_step *step, const sp_draft *in, sp_draft *out) {
  size_t begin = 0, end = in->n, took;
  while (step->left && begin < end && is_space_at(in->bytes + begin, &took))
    begin += took;
  while (step->right && end > begin) {
    size_t last = sp_char_before(in->bytes, end);
    if (!is_space_at(in->bytes + last, &took)) break;
    end = last;
  }
  sp_edit e = sp_edit_begin(in, begin, out);
  if (end > begin) sp_edit_copy(&e, begin, end - begin);
  return e.err;
}

static sp_err prepend(const sp_norm_step *step, const sp_draft *in, sp_draft *out) {
  sp_edit e = sp_edit_begin(in, 0, out);
  if (in->n) {
    sp_edit_prepend(&e, step->content, step->n_content);
    sp_edit_copy(&e, 0, in->n);
  }
  return e.err;
}

/* The bytes of the match at s[0..n), or 0. */
static size_t match(const sp_norm_step *step, const char *s, size_t n) {
  size_t length = step->n_pattern;
  if (n < length || memcmp(s, step->pattern, length) != 0) return 0;
  if (!step->repeat) return length;
  size_t times = 1;
  while (n >= (times + 1) * length &&
         memcmp(s + times * length, step->pattern, length) == 0)
    times++;
  return times >= step->repeat ? times * length : 0;
}

static void put_content(const sp_norm_step *step, sp_edit *e) {
  for (size_t i = 0; i < step->n_content;) {
    uint32_t code;
    i += sp_char_at(step->content + i, &code);
    sp_edit_put(e, code, 1); /* shares the span of the match's last character */
  }
}

static sp_err replace(const sp_norm_step *step, const sp_draft *in, sp_draft *out) {
  const char *s = in->bytes;
  sp_edit e = sp_edit_begin(in, 0, out);
  for (size_t i = 0; i < in->n && !e.err;) {
    const char *next = memchr(s + i, step->pattern[0], in->n - i);
    size_t to = next ? (size_t)(next - s) : in->n;
    if (to > i) sp_edit_copy(&e, i, to - i);
    i = to;
    if (i == in->n) break;
    size_t took = match(step, s + i, in->n - i);
    if (took) {
      sp_edit_skip(&e, sp_char_count(s + i, took));
      put_content(step, &e);
    } else {
      took = sp_char_bytes(s[i]);
      sp_edit_copy(&e, i, took);
    }
    i += took;
  }
  return e.err;
}

static sp_err run_step(const sp_norm_step *step, const sp_draft *in, sp_draft *out,
                       sp_pending *pending) {
  switch (step->kind) {
    case SP_NORM_BERT:
      return sp_norm_bert(step, in, out, pending);
    case SP_NORM_NFC:
    case SP_NORM_NFD:
    case SP_NORM_NFKC:
    case SP_NORM_NFKD:
      return sp_norm_forms(step->kind, in, out, pending);
    case SP_NORM_LOWERCASE:
      return lowercase(in, out);
    case SP_NORM_STRIP_ACCENTS:
      return strip_accents(in, out);
    case SP_NORM_STRIP:
      return strip(step, in, out);
    case SP_NORM_PREPEND:
      return prepend(step, in, out);
    case SP_NORM_REPLACE:
      return replace(step, in, out);
    case SP_NORM_PRECOMPILED:
      return sp_norm_precompiled(&step->map, in, out);
  }
  return SP_OK;
}

sp_err sp_normalizer_run(const sp_normalizer *z, const sp_draft *in,
                         sp_norm_scratch *scratch, const sp_draft **out) {
  *out = in;
  for (size_t i = 0; i < z->n; i++) {
    sp_draft *next =
        *out == &scratch->drafts[0] ? &scratch->drafts[1] : &scratch->drafts[0];
    sp_err err = run_step(&z->steps[i], *out, next, &scratch->pending);
    if (err) return err;
    *out = next;
  }
  return SP_OK;
}

/* ---- reading ---- */

static void fill_ascii(sp_norm_step *step) {
  for (int c = 0; c < 128; c++) {
    bool blank = c == '\t' || c == '\n' || c == '\r';
    bool control = (c < 0x20 && !blank) || c == 0x7f;
    step->drops[c] = step->clean && control;
    step->ascii[c] = (uint8_t)c;
    if (step->clean && blank) step->ascii[c] = ' ';
    if (step->lower && c >= 'A' && c <= 'Z') step->ascii[c] = (uint8_t)(c - 'A' + 'a');
  }
}

static sp_err read_bert(sp_norm_step *step, const json_t *o, const char *where) {
  step->clean = step->chinese = step->lower = true;
  sp_err err = sp_json_get_bool(o, "clean_text", where, &step->clean);
  if (!err) err = sp_json_get_bool(o, "handle_chinese_chars", where, &step->chinese);
  if (!err) err = sp_json_get_bool(o, "lowercase", where, &step->lower);
  step->accents = step->lower; /* null: as lowercase */
  if (!err) err = sp_json_get_bool(o, "strip_accents", where, &step->accents);
  fill_ascii(step);
  return err;
}

static sp_err read_strip(sp_norm_step *step, const json_t *o, const char *where) {
  step->left = step->right = true;
  sp_err err = sp_json_get_bool(o, "strip_left", where, &step->left);
  return err ? err : sp_json_get_bool(o, "strip_right", where, &step->right);
}

static sp_err copy(const char *from, char **to, size_t *n, const char *where) {
  *n = strlen(from);
  *to = strdup(from);
  return *to ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", where);
}

static sp_err read_prepend(sp_norm_step *step, const json_t *o, const char *where) {
  const char *text = NULL;
  sp_err err = sp_json_need_string(o, "prepend", where, &text);
  return err ? err : copy(text, &step->content, &step->n_content, where);
}

/* Of regular expressions, those that converters write: one plain character followed by
 * {N,} or by +. A small N keeps the search linear. */
static sp_err read_regex(sp_norm_step *step, const char *regex, const char *where) {
  size_t length = *regex ? sp_char_bytes(*regex) : 0;
  const char *rest = regex + length;
  char *end = NULL;
  if (length && !strchr("\\^$.|?*+()[]{}", *regex)) {
    if (strcmp(rest, "+") == 0) {
      step->repeat = 1;
    } else if (rest[0] == '{' && rest[1] >= '1' && rest[1] <= '9') {
      unsigned long times = strtoul(rest + 1, &end, 10);
      if (times <= 9 && strcmp(end, ",}") == 0) step->repeat = times;
    }
  }
  if (!step->repeat)
    return sp_fail(SP_EFORMAT,
                   "%s: the normalizer Replace has the regular expression \"%.60s\", "
                   "supported are one character and {N,} up to N = 9, or +",
                   where, regex);
  step->pattern = strndup(regex, length);
  step->n_pattern = length;
  return step->pattern ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", where);
}

static sp_err read_replace(sp_norm_step *step, const json_t *o, const char *where) {
  const char *content = NULL, *string = NULL, *regex = NULL;
  const json_t *pattern = json_object_get(o, "pattern");
  sp_err err = sp_json_need_string(o, "content", where, &content);
  if (!err) err = copy(content, &step->content, &step->n_content, where);
  if (!err) err = sp_json_get_string(pattern, "String", where, &string);
  if (!err) err = sp_json_get_string(pattern, "Regex", where, &regex);
  if (err) return err;
  if (regex) return read_regex(step, regex, where);
  if (!string || !*string)
    return sp_fail(SP_EFORMAT,
                   "%s: the normalizer Replace needs a \"pattern\" with a String or a "
                   "Regex",
                   where);
  return copy(string, &step->pattern, &step->n_pattern, where);
}

static sp_err read_precompiled(sp_norm_step *step, const json_t *o, const char *where) {
  const char *map = NULL;
  sp_err err = sp_json_need_string(o, "precompiled_charsmap", where, &map);
  return err ? err : sp_charsmap_read(&step->map, map, strlen(map), where);
}

static const struct {
  const char *name;
  sp_norm_kind kind;
  sp_err (*read)(sp_norm_step *step, const json_t *o, const char *where); /* or NULL */
} KINDS[] = {
    {"BertNormalizer", SP_NORM_BERT, read_bert},
    {"NFC", SP_NORM_NFC, NULL},
    {"NFD", SP_NORM_NFD, NULL},
    {"NFKC", SP_NORM_NFKC, NULL},
    {"NFKD", SP_NORM_NFKD, NULL},
    {"Lowercase", SP_NORM_LOWERCASE, NULL},
    {"StripAccents", SP_NORM_STRIP_ACCENTS, NULL},
    {"Strip", SP_NORM_STRIP, read_strip},
    {"Prepend", SP_NORM_PREPEND, read_prepend},
    {"Replace", SP_NORM_REPLACE, read_replace},
    {"Precompiled", SP_NORM_PRECOMPILED, read_precompiled},
};

static void free_step(sp_norm_step *step) {
  free(step->pattern);
  free(step->content);
  free(step->map.units);
  free(step->map.values);
}

static sp_err add_step(sp_normalizer *z, const json_t *o, const char *type,
                       const char *where) {
  sp_norm_step *steps = realloc(z->steps, (z->n + 1) * sizeof *steps);
  if (!steps) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  z->steps = steps;
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
    if (strcmp(type, KINDS[i].name) != 0) continue;
    sp_norm_step step = {.kind = KINDS[i].kind};
    sp_err err = KINDS[i].read ? KINDS[i].read(&step, o, where) : SP_OK;
    if (err)
      free_step(&step);
    else
      z->steps[z->n++] = step;
    return err;
  }
  return sp_fail(SP_EFORMAT, "%s: the normalizer type %.60s is not supported", where,
                 type);
}

sp_err sp_normalizer_read(sp_normalizer *z, const json_t *o, const char *where) {
  if (!o || json_is_null(o)) return SP_OK;
  const char *type;
  sp_err err = json_is_object(o)
                   ? sp_json_need_string(o, "type", where, &type)
                   : sp_fail(SP_EFORMAT, "%s: a normalizer must be an object", where);
  if (err) return err;
  if (strcmp(type, "Sequence") != 0) return add_step(z, o, type, where);
  const json_t *list = json_object_get(o, "normalizers");
  if (!json_is_array(list))
    return sp_fail(SP_EFORMAT, "%s: the normalizer Sequence has no list \"normalizers\"",
                   where);
  for (size_t i = 0; i < json_array_size(list) && !err; i++)
    err = sp_normalizer_read(z, json_array_get(list, i), where);
  return err;
}

void sp_normalizer_free(sp_normalizer *z) {
  for (size_t i = 0; i < z->n; i++) free_step(&z->steps[i]);
  free(z->steps);
  *z = (sp_normalizer){0};
}
