/* encoder/pretokenizer.c - from a normalized text to words. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "encoder/tokenizer_parts.h"

sp_err sp_spans_push(sp_spans *w, size_t begin, size_t end) {
  if (begin == end) return SP_OK;
  if (w->n == w->cap) {
    size_t cap = w->cap + w->cap / 2 + 256;
    struct sp_span *at = realloc(w->at, cap * sizeof *at);
    if (!at) return sp_fail(SP_ENOMEM, "%zu words: out of memory", cap);
    w->at = at;
    w->cap = cap;
  }
  w->at[w->n++] = (struct sp_span){(uint32_t)begin, (uint32_t)end};
  return SP_OK;
}

/* ---- splitting: the text stays, the words get smaller ---- */

/* BERT's classes of the ASCII characters, and White_Space: kept apart from the big table
 * since most text needs nothing else. */
enum { OTHER, BLANK, MARK };

static int class_of(uint32_t code) {
  unsigned flags = sp_unicode_flags(code);
  return flags & SP_CHAR_SPACE ? BLANK : flags & SP_CHAR_PUNCTUATION ? MARK : OTHER;
}

/* Blanks go, and with `marks` each punctuation mark is a word of its own. */
static sp_err split_blanks(const char *s, struct sp_span word, bool marks,
                           sp_spans *out) {
  const uint16_t *ascii = SP_UNICODE_PAGES[0];
  size_t begin = word.begin;
  sp_err err = SP_OK;
  for (size_t i = word.begin; i < word.end && !err;) {
    unsigned char c = (unsigned char)s[i];
    if (c < 0x80 && !(ascii[c] & (SP_CHAR_SPACE | SP_CHAR_PUNCTUATION))) {
      i++;
      continue;
    }
    uint32_t code;
    size_t took = sp_char_at(s + i, &code);
    int class_ = class_of(code);
    if (class_ == BLANK || (class_ == MARK && marks)) {
      err = sp_spans_push(out, begin, i);
      if (class_ == MARK && !err) err = sp_spans_push(out, i, i + took);
      begin = i + took;
    }
    i += took;
  }
  return err ? err : sp_spans_push(out, begin, word.end);
}

/* Each `mark` begins a word. */
static sp_err split_before(const char *s, struct sp_span word, const char *mark,
                           size_t n_mark, sp_spans *out) {
  size_t begin = word.begin;
  for (size_t i = word.begin; i + n_mark <= word.end;) {
    if (s[i] != mark[0] || memcmp(s + i, mark, n_mark) != 0) {
      i++;
      continue;
    }
    sp_err err = sp_spans_push(out, begin, i);
    if (err) return err;
    begin = i;
    i += n_mark;
  }
  return sp_spans_push(out, begin, word.end);
}

/* A mark begins a word, unless it follows another mark. */
static sp_err cut_before(const char *s, struct sp_span word, const char *mark,
                         size_t n_mark, sp_spans *out) {
  size_t begin = word.begin, last = SIZE_MAX; /* where the mark before ended */
  sp_err err = SP_OK;
  for (size_t i = word.begin; i + n_mark <= word.end && !err;) {
    if (s[i] != mark[0] || memcmp(s + i, mark, n_mark) != 0) {
      i++;
      continue;
    }
    if (i != last) {
      err = sp_spans_push(out, begin, i);
      begin = i;
    }
    last = i += n_mark;
  }
  return err ? err : sp_spans_push(out, begin, word.end);
}

/* ---- GPT-2's pattern, by hand ----
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+        */

static size_t contraction(const char *s, size_t n) {
  if (n < 2 || s[0] != '\'') return 0;
  if (strchr("stmd", s[1]) && s[1]) return 2;
  if (n < 3) return 0;
  return (s[1] == 'r' && s[2] == 'e') || (s[1] == 'v' && s[2] == 'e') ||
                 (s[1] == 'l' && s[2] == 'l')
             ? 3
             : 0;
}

enum { GPT2_CLASSES = SP_CHAR_LETTER | SP_CHAR_NUMBER | SP_CHAR_SPACE };

/* The bytes of the longest run of characters of this class from s[i] on. */
static size_t run_of(const char *s, size_t i, size_t n, unsigned class_) {
  size_t begin = i;
  const uint16_t *ascii = SP_UNICODE_PAGES[0];
  while (i < n) {
    unsigned char c = (unsigned char)s[i];
    if (c < 0x80) {
      if ((ascii[c] & GPT2_CLASSES) != class_) break;
      i++;
      continue;
    }
    uint32_t code;
    size_t took = sp_char_at(s + i, &code);
    if ((sp_unicode_flags(code) & GPT2_CLASSES) != class_) break;
    i += took;
  }
  return i - begin;
}

/* The bytes of the match at s[i], at least one character; i < n. */
static size_t gpt2_match(const char *s, size_t i, size_t n) {
  size_t took = contraction(s + i, n - i);
  if (took) return took;
  uint32_t code;
  took = sp_char_at(s + i, &code);
  unsigned class_ = sp_unicode_flags(code) & GPT2_CLASSES;
  if (s[i] == ' ' && i + 1 < n) { /* a blank goes with what follows */
    sp_char_at(s + i + 1, &code);
    unsigned next = sp_unicode_flags(code) & GPT2_CLASSES;
    if (next != SP_CHAR_SPACE) return 1 + run_of(s, i + 1, n, next);
  }
  size_t run = run_of(s, i, n, class_);
  if (class_ != SP_CHAR_SPACE || i + run == n) return run;
  /* The last blank before a word is left out, unless it is the only one. */
  size_t last = run - (i + run - sp_char_before(s, i + run));
  return last ? last : run;
}

static sp_err split_gpt2(const char *s, struct sp_span word, sp_spans *out) {
  sp_err err = SP_OK;
  for (size_t i = word.begin; i < word.end && !err;) {
    size_t took = gpt2_match(s, i, word.end);
    err = sp_spans_push(out, i, i + took);
    i += took;
  }
  return err;
}

/* ---- steps ---- */

static bool begins_with(const char *s, struct sp_span word, const char *with, size_t n) {
  return word.end - word.begin >= n && memcmp(s + word.begin, with, n) == 0;
}

/* Copies a word with its blanks replaced (`blank` NULL: kept) and, where the step says
 * so, with `mark` in front. Returns the copy's place. */
static struct sp_span rewrite(const sp_pre_step *step, const sp_draft *in,
                              struct sp_span word, bool first, const char *mark,
                              size_t n_mark, bool blanks, sp_edit *e) {
  size_t begin = e->to->n;
  const char *s = in->bytes;
  bool wanted = step->prepend == SP_PREPEND_ALWAYS ||
                (step->prepend == SP_PREPEND_FIRST && first && word.begin == 0);
  bool there = begins_with(s, word, mark, n_mark) || (blanks && s[word.begin] == ' ');
  e->at = word.begin;
  if (wanted && !there) sp_edit_prepend(e, mark, n_mark);
  uint32_t code;
  sp_char_at(mark, &code);
  for (size_t i = word.begin; i < word.end;) {
    const char *blank = blanks ? memchr(s + i, ' ', word.end - i) : NULL;
    size_t to = blank ? (size_t)(blank - s) : word.end;
    if (to > i) sp_edit_copy(e, i, to - i);
    if (blank) sp_edit_put(e, code, 0);
    i = to + (blank != NULL);
  }
  return (struct sp_span){(uint32_t)begin, (uint32_t)e->to->n};
}

static sp_err run_step(const sp_pre_step *step, const sp_draft *in, const sp_spans *words,
                       bool first, sp_draft *out, sp_spans *out_words, bool *edited) {
  const char *s = in->bytes;
  sp_edit e = {0};
  bool metaspace = step->kind == SP_PRE_METASPACE;
  *edited = metaspace || (step->kind == SP_PRE_BYTE_LEVEL && step->prepend);
  if (*edited) e = sp_edit_begin(in, 0, out);
  out_words->n = 0;
  sp_err err = SP_OK;
  for (size_t i = 0; i < words->n && !err; i++) {
    struct sp_span word = words->at[i];
    if (*edited) {
      word = rewrite(step, in, word, first, metaspace ? step->replacement : " ",
                     metaspace ? step->n_replacement : 1, metaspace, &e);
      if (e.err) return e.err;
      s = out->bytes;
    }
    if (step->kind == SP_PRE_BERT || step->kind == SP_PRE_WHITESPACE_SPLIT)
      err = split_blanks(s, word, step->kind == SP_PRE_BERT, out_words);
    else if (step->kind == SP_PRE_CUT)
      err = cut_before(s, word, step->replacement, step->n_replacement, out_words);
    else if (!step->split)
      err = sp_spans_push(out_words, word.begin, word.end);
    else if (metaspace)
      err = split_before(s, word, step->replacement, step->n_replacement, out_words);
    else
      err = split_gpt2(s, word, out_words);
  }
  return err;
}

sp_err sp_pretokenizer_run(const sp_pretokenizer *p, const sp_draft *in, size_t begin,
                           size_t end, bool first, sp_pre_scratch *scratch,
                           const sp_draft **out, const sp_spans **words) {
  sp_spans *from = &scratch->words[0];
  from->n = 0;
  sp_err err = sp_spans_push(from, begin, end);
  *out = in;
  for (size_t i = 0; i < p->n && !err; i++) {
    sp_draft *next =
        *out == &scratch->drafts[0] ? &scratch->drafts[1] : &scratch->drafts[0];
    sp_spans *to = from == &scratch->words[0] ? &scratch->words[1] : &scratch->words[0];
    bool edited;
    err = run_step(&p->steps[i], *out, from, first, next, to, &edited);
    if (edited) *out = next;
    from = to;
  }
  *words = from;
  return err;
}

/* ---- reading ---- */

static sp_err read_metaspace(sp_pre_step *step, const json_t *o, const char *where) {
  const char *replacement = "\xe2\x96\x81", *scheme = NULL;
  bool add_prefix_space = true;
  step->split = true;
  sp_err err = sp_json_get_string(o, "replacement", where, &replacement);
  if (!err) err = sp_json_get_string(o, "prepend_scheme", where, &scheme);
  if (!err) err = sp_json_get_bool(o, "add_prefix_space", where, &add_prefix_space);
  if (!err) err = sp_json_get_bool(o, "split", where, &step->split);
  if (err) return err;
  size_t n = strlen(replacement);
  if (n == 0 || sp_char_bytes(replacement[0]) != n)
    return sp_fail(SP_EFORMAT, "%s: Metaspace's \"replacement\" must be one character",
                   where);
  memcpy(step->replacement, replacement, n);
  step->n_replacement = n;
  if (!scheme) scheme = add_prefix_space ? "always" : "never";
  if (strcmp(scheme, "always") == 0)
    step->prepend = SP_PREPEND_ALWAYS;
  else if (strcmp(scheme, "first") == 0)
    step->prepend = SP_PREPEND_FIRST;
  else if (strcmp(scheme, "never") == 0)
    step->prepend = SP_PREPEND_NEVER;
  else
    return sp_fail(SP_EFORMAT,
                   "%s: Metaspace's prepend_scheme is \"%.60s\", expected always, first "
                   "or never",
                   where, scheme);
  return SP_OK;
}

static sp_err read_byte_level(sp_pre_step *step, const json_t *o, const char *where) {
  bool add_prefix_space = true;
  step->split = true;
  sp_err err = sp_json_get_bool(o, "add_prefix_space", where, &add_prefix_space);
  if (!err) err = sp_json_get_bool(o, "use_regex", where, &step->split);
  step->prepend = add_prefix_space ? SP_PREPEND_ALWAYS : SP_PREPEND_NEVER;
  return err;
}

static sp_err read_sequence(sp_pretokenizer *p, const json_t *o, const char *where) {
  const json_t *list = json_object_get(o, "pretokenizers");
  if (!json_is_array(list))
    return sp_fail(SP_EFORMAT,
                   "%s: the pre_tokenizer Sequence has no list \"pretokenizers\"", where);
  for (size_t i = 0; i < json_array_size(list); i++) {
    sp_err err = sp_pretokenizer_read(p, json_array_get(list, i), where);
    if (err) return err;
  }
  return SP_OK;
}

sp_err sp_pretokenizer_read(sp_pretokenizer *p, const json_t *o, const char *where) {
  if (!o || json_is_null(o)) return SP_OK;
  const char *type;
  sp_err err = json_is_object(o)
                   ? sp_json_need_string(o, "type", where, &type)
                   : sp_fail(SP_EFORMAT, "%s: a pre_tokenizer must be an object", where);
  if (err) return err;
  if (strcmp(type, "Sequence") == 0) return read_sequence(p, o, where);
  if (p->n && p->steps[p->n - 1].kind == SP_PRE_BYTE_LEVEL)
    return sp_fail(SP_EFORMAT,
                   "%s: the pre_tokenizer ByteLevel must be the last, %.60s follows it",
                   where, type);

  sp_pre_step step = {0};
  if (strcmp(type, "BertPreTokenizer") == 0) {
    step.kind = SP_PRE_BERT;
  } else if (strcmp(type, "WhitespaceSplit") == 0) {
    step.kind = SP_PRE_WHITESPACE_SPLIT;
  } else if (strcmp(type, "Metaspace") == 0) {
    step.kind = SP_PRE_METASPACE;
    err = read_metaspace(&step, o, where);
  } else if (strcmp(type, "ByteLevel") == 0) {
    step.kind = SP_PRE_BYTE_LEVEL;
    err = read_byte_level(&step, o, where);
  } else {
    return sp_fail(SP_EFORMAT, "%s: the pre_tokenizer type %.60s is not supported", where,
                   type);
  }
  return err ? err : sp_pretokenizer_add(p, step);
}

sp_err sp_pretokenizer_add(sp_pretokenizer *p, sp_pre_step step) {
  sp_pre_step *steps = realloc(p->steps, (p->n + 1) * sizeof *steps);
  if (!steps) return sp_fail(SP_ENOMEM, "pre_tokenizer: out of memory");
  p->steps = steps;
  p->steps[p->n++] = step;
  return SP_OK;
}

void sp_pretokenizer_free(sp_pretokenizer *p) {
  free(p->steps);
  *p = (sp_pretokenizer){0};
}
