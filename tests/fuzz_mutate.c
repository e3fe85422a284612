/* tests/fuzz_mutate.c - see fuzz_mutate.h. */
#include "tests/fuzz_mutate.h"

#include <stdbool.h>
#include <string.h>

uint32_t sp_fuzz_random(uint64_t *random, uint32_t below) { /* splitmix64 */
  uint64_t x = *random += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)((x >> 32) * below >> 32);
}

/* ---- what is there ---- */

/* A value with its key, if it has one. */
typedef struct item {
  uint32_t begin, value, end; /* bytes; begin is the key's, or `value` */
} item;

enum { MAX_ITEMS = 512, MAX_DEPTH = 64 };

typedef struct items {
  item at[MAX_ITEMS];
  uint32_t n;
  uint32_t open[MAX_DEPTH]; /* brackets that are not closed yet */
  uint32_t depth;
} items;

static bool is_blank(uint8_t c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static size_t string_end(const uint8_t *s, size_t i, size_t n) {
  for (i++; i < n && s[i] != '"'; i++)
    if (s[i] == '\\') i++;
  return i < n ? i + 1 : n;
}

static size_t scalar_end(const uint8_t *s, size_t i, size_t n) {
  while (i < n && !is_blank(s[i]) && !memchr("\",:[]{}\xff", s[i], 8)) i++;
  return i;
}

static void close_bracket(items *t, size_t end) {
  if (t->depth) t->at[t->open[--t->depth]].end = (uint32_t)end;
}

/* Any bytes: what does not nest well still gives items within n. */
static void find_items(const uint8_t *s, size_t n, items *t) {
  enum { NO_KEY = 0xffffffff };
  t->n = t->depth = 0;
  uint32_t key = NO_KEY;
  for (size_t i = 0; i < n && t->n < MAX_ITEMS;) {
    uint8_t c = s[i];
    if (is_blank(c) || c == ',' || c == ':' || c == 0xff) {
      i++;
      continue;
    }
    if (c == '}' || c == ']') {
      close_bracket(t, ++i);
      key = NO_KEY;
      continue;
    }
    bool opens = c == '{' || c == '[';
    size_t end = opens ? i + 1 : c == '"' ? string_end(s, i, n) : scalar_end(s, i, n);
    size_t next = end;
    while (next < n && is_blank(s[next])) next++;
    if (c == '"' && next < n && s[next] == ':') {
      key = (uint32_t)i;
      i = next + 1;
      continue;
    }
    if (opens && t->depth < MAX_DEPTH) t->open[t->depth++] = t->n;
    uint32_t begin = key == NO_KEY ? (uint32_t)i : key;
    t->at[t->n++] = (item){begin, (uint32_t)i, (uint32_t)(opens ? n : end)};
    key = NO_KEY;
    i = end;
  }
}

/* ---- changing it ---- */

typedef struct input {
  uint8_t *data;
  size_t n, max;
} input;

/* Puts s[0..length), which does not lie in the input, in place of bytes [begin, end).
 * What does not fit changes nothing. */
static void splice(input *in, size_t begin, size_t end, const void *s, size_t length) {
  if (in->n - (end - begin) + length > in->max) return;
  memmove(in->data + begin + length, in->data + end, in->n - end);
  memcpy(in->data + begin, s, length);
  in->n = in->n - (end - begin) + length;
}

enum { MAX_COPY = 4096 };

/* The same with bytes [from, to) of the input itself. */
static void splice_own(input *in, size_t begin, size_t end, size_t from, size_t to) {
  uint8_t copy[MAX_COPY];
  if (to - from > sizeof copy) return;
  memcpy(copy, in->data + from, to - from);
  splice(in, begin, end, copy, to - from);
}

static void splice_word(input *in, size_t begin, size_t end, const char *word) {
  splice(in, begin, end, word, strlen(word));
}

static const char *const VALUES[] = {"null",
                                     "true",
                                     "false",
                                     "0",
                                     "-1",
                                     "1",
                                     "2",
                                     "3",
                                     "255",
                                     "65535",
                                     "65536",
                                     "4294967295",
                                     "4294967296",
                                     "2147483647",
                                     "9223372036854775807",
                                     "0.5",
                                     "-0.0",
                                     "1e308",
                                     "1e-308",
                                     "1e999",
                                     "NaN",
                                     "12345678901234567890123",
                                     "\"\"",
                                     "\" \"",
                                     "\"a\"",
                                     "\"\\u0000\"",
                                     "\"\\ud83d\"",
                                     "\"\\ud83d\\ude00\"",
                                     "[]",
                                     "{}",
                                     "[[]]",
                                     "[0]",
                                     "[\"a\",0]",
                                     "[\"a\",\"b\"]",
                                     "{\"a\":0}",
                                     "\"..\"",
                                     "\"/\""};

/* Pieces of text that mean something to somebody. */
static const char *const PIECES[] = {"a",
                                     "b",
                                     " ",
                                     "  ",
                                     "##",
                                     "\xe2\x96\x81", /* SentencePiece */
                                     "\xc4\xa0" /* byte level's blank */,
                                     "\xc3\xa9",
                                     "e\xcc\x81",
                                     "\xc4\xb0",
                                     "\xe4\xb8\xad" /* Chinese */,
                                     "\xea\xb0\x80" /* Hangul */,
                                     "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
                                     "\xe0\xa4\x95\xe0\xa5\x8d",
                                     "\xf0\x9f\x98\x80",
                                     "\xf0\x9d\x94\xb8",
                                     "\xe2\x80\x8d",
                                     "\xef\xbc\xa1",
                                     "\xc2\xa0",
                                     "\xe3\x80\x80",
                                     "\xef\xbf\xbd",
                                     "\xc3",
                                     "\xed\xa0\x80",
                                     "<0x41>",
                                     "[CLS]",
                                     "</s>",
                                     "'s",
                                     "9",
                                     ".",
                                     "-",
                                     "\n",
                                     "\\u0301",
                                     "\\\"",
                                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

#define COUNT(table) ((uint32_t)(sizeof(table) / sizeof *(table)))

static void replace_value(input *in, const item *a, const item *b, uint64_t *random) {
  if (sp_fuzz_random(random, 2))
    splice_own(in, a->value, a->end, b->value, b->end);
  else
    splice_word(in, a->value, a->end, VALUES[sp_fuzz_random(random, COUNT(VALUES))]);
}

static void drop(input *in, const item *a) {
  size_t begin = a->begin, end = a->end;
  while (end < in->n && is_blank(in->data[end])) end++;
  if (end < in->n && in->data[end] == ',')
    end++;
  else if (begin > 0 && in->data[begin - 1] == ',')
    begin--;
  splice(in, begin, end, "", 0);
}

/* Puts a copy of b, key and all, beside a. */
static void add(input *in, const item *a, const item *b) {
  size_t n = in->n;
  splice_own(in, a->begin, a->begin, b->begin, b->end);
  if (in->n > n) splice(in, a->begin + (in->n - n), a->begin + (in->n - n), ",", 1);
}

static void replace_key(input *in, const item *a, const item *b) {
  if (a->begin == a->value || b->begin == b->value) return;
  size_t a_end = string_end(in->data, a->begin, in->n);
  size_t b_end = string_end(in->data, b->begin, in->n);
  splice_own(in, a->begin, a_end, b->begin, b_end);
}

/* Inside a string, or at the end of what is none. */
static void edit_string(input *in, const item *a, uint64_t *random) {
  size_t begin = a->begin, end = string_end(in->data, begin, in->n);
  if (in->data[begin] != '"' || end < begin + 2) return;
  uint32_t inside = (uint32_t)(end - begin) - 1;
  size_t at = begin + 1 + sp_fuzz_random(random, inside);
  size_t cut = sp_fuzz_random(random, 3);
  if (at + cut >= end) cut = 0;
  const char *piece = PIECES[sp_fuzz_random(random, COUNT(PIECES))];
  splice_word(in, at, at + cut, sp_fuzz_random(random, 4) ? piece : "");
}

static void edit_bytes(input *in, uint64_t *random) {
  size_t at = sp_fuzz_random(random, (uint32_t)in->n + 1);
  uint32_t left = (uint32_t)(in->n - at);
  size_t length = sp_fuzz_random(random, left < 16 ? left + 1 : 17);
  uint8_t byte = (uint8_t)sp_fuzz_random(random, 256);
  switch (sp_fuzz_random(random, 5)) {
    case 0:
      if (left) in->data[at] ^= (uint8_t)(1 << sp_fuzz_random(random, 8));
      break;
    case 1:
      if (left) in->data[at] = byte;
      break;
    case 2:
      splice(in, at, at, &byte, 1);
      break;
    case 3:
      splice(in, at, at + length, "", 0);
      break;
    default:
      splice_word(in, at, at, PIECES[sp_fuzz_random(random, COUNT(PIECES))]);
  }
}

size_t sp_fuzz_mutate(uint8_t *data, size_t n, size_t max, uint64_t *random) {
  input in = {data, n, max};
  items t;
  find_items(data, n, &t);
  uint32_t kind = sp_fuzz_random(random, 8);
  if (t.n == 0 || kind < 2) {
    edit_bytes(&in, random);
    return in.n;
  }
  const item *a = &t.at[sp_fuzz_random(random, t.n)];
  const item *b = &t.at[sp_fuzz_random(random, t.n)];
  switch (kind) {
    case 2:
      drop(&in, a);
      break;
    case 3:
      add(&in, a, b);
      break;
    case 4:
      replace_key(&in, a, b);
      break;
    case 5:
      edit_string(&in, a, random);
      break;
    default:
      replace_value(&in, a, b, random);
  }
  return in.n;
}
