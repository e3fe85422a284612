/* base/json_scan.c - a pull scanner over JSON text. */
#include "base/json_scan.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_DEPTH = 512 };

sp_json_scan sp_json_scan_begin(const char *text, size_t n) {
  return (sp_json_scan){.begin = text, .at = text, .end = text + n};
}

static bool fail(sp_json_scan *s, const char *fault) {
  if (!s->fault) s->fault = fault;
  return false;
}

static void skip_blanks(sp_json_scan *s) {
  while (s->at < s->end &&
         (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
    s->at++;
}

/* The next byte that is no blank; NUL at the end. */
static char look(sp_json_scan *s) {
  skip_blanks(s);
  return s->at < s->end ? *s->at : '\0';
}

char sp_json_scan_peek(sp_json_scan *s) {
  if (s->fault) return 0;
  char c = look(s);
  switch (c) {
    case '{':
    case '[':
    case '"':
    case 'n':
      return c;
    case 't':
    case 'f':
      return 't';
    case '-':
    case 'N':
    case 'I':
      return '0';
    default:
      return c >= '0' && c <= '9' ? '0' : 0;
  }
}

/* Takes the bracket before the first item, the comma before a later one; false behind the
 * last, and its bracket is taken. */
static bool next_item(sp_json_scan *s, bool *first, char open, char close,
                      const char *fault) {
  if (s->fault) return false;
  char c = look(s);
  if (*first) {
    *first = false;
    if (c != open) return fail(s, fault);
    s->at++;
    if (look(s) != close) return true;
  } else {
    if (c == ',') {
      s->at++;
      return true;
    }
    if (c != close) return fail(s, "expected ',' or the closing bracket");
  }
  s->at++;
  return false;
}

bool sp_json_scan_member(sp_json_scan *s, bool *first, sp_buf *scratch, const char **key,
                         size_t *n) {
  if (!next_item(s, first, '{', '}', "expected an object")) return false;
  if (!sp_json_scan_string(s, scratch, key, n)) return false;
  if (look(s) != ':') return fail(s, "expected ':'");
  s->at++;
  return true;
}

bool sp_json_scan_element(sp_json_scan *s, bool *first) {
  return next_item(s, first, '[', ']', "expected an array");
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at `at`; -1 when they are not there. */
static int32_t read_unit(const sp_json_scan *s, const char *at) {
  if (s->end - at < 4) return -1;
  int32_t unit = 0;
  for (int i = 0; i < 4; i++) {
    int d = hex_digit(at[i]);
    if (d < 0) return -1;
    unit = unit * 16 + d;
  }
  return unit;
}

/* s->at is behind "\u". */
static bool unescape_unicode(sp_json_scan *s, sp_buf *out) {
  int32_t unit = read_unit(s, s->at);
  if (unit < 0) return fail(s, "\\u without four hexadecimal digits");
  s->at += 4;
  uint32_t code = (uint32_t)unit;
  if (unit >= 0xd800 && unit < 0xdc00 && s->end - s->at >= 6 && s->at[0] == '\\' &&
      s->at[1] == 'u') {
    int32_t low = read_unit(s, s->at + 2);
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
      s->at += 6;
    }
  }
  char bytes[4];
  size_t n = sp_utf8_put(code, bytes);
  return sp_buf_append(out, bytes, n) == SP_OK || fail(s, "out of memory");
}

/* s->at is behind the backslash. */
static bool unescape(sp_json_scan *s, sp_buf *out) {
  if (s->at == s->end) return fail(s, "a string without end");
  static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
  char c = *s->at++;
  if (c == 'u') return unescape_unicode(s, out);
  const char *found = c ? strchr(FROM, c) : NULL;
  if (!found) return fail(s, "an unknown escape");
  return sp_buf_append_char(out, TO[found - FROM]) == SP_OK || fail(s, "out of memory");
}

/* Moves to the next quote, backslash or control character. */
static void skip_plain(sp_json_scan *s) {
  while (s->at < s->end && *s->at != '"' && *s->at != '\\' &&
         (unsigned char)*s->at >= 0x20)
    s->at++;
}

bool sp_json_scan_string(sp_json_scan *s, sp_buf *scratch, const char **text, size_t *n) {
  if (s->fault) return false;
  if (look(s) != '"') return fail(s, "expected a string");
  const char *run = ++s->at;
  skip_plain(s);
  if (s->at < s->end && *s->at == '"') { /* the usual case: no escapes, no copy */
    *text = run;
    *n = (size_t)(s->at++ - run);
    return true;
  }
  sp_buf_clear(scratch);
  for (;;) {
    if (sp_buf_append(scratch, run, (size_t)(s->at - run)))
      return fail(s, "out of memory");
    if (s->at == s->end) return fail(s, "a string without end");
    char c = *s->at;
    if (c == '"') break;
    if (c != '\\') return fail(s, "a control character inside a string");
    s->at++;
    if (!unescape(s, scratch)) return false;
    run = s->at;
    skip_plain(s);
  }
  s->at++;
  *text = scratch->data;
  *n = scratch->n;
  return true;
}

/* Takes `word` when it is next. */
static bool take_word(sp_json_scan *s, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) return false;
  s->at += n;
  return true;
}

static const char *skip_digits(const char *at, const char *end) {
  while (at < end && *at >= '0' && *at <= '9') at++;
  return at;
}

/* The end of a number by JSON's grammar, or NULL. */
static const char *number_end(const char *at, const char *end) {
  if (at < end && *at == '-') at++;
  const char *whole = at;
  at = skip_digits(at, end);
  if (at == whole || (*whole == '0' && at - whole > 1)) return NULL;
  if (at < end && *at == '.') {
    const char *fraction = ++at;
    at = skip_digits(at, end);
    if (at == fraction) return NULL;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    at++;
    if (at < end && (*at == '+' || *at == '-')) at++;
    const char *exponent = at;
    at = skip_digits(at, end);
    if (at == exponent) return NULL;
  }
  return at;
}

/* Up to 15 digits and a power of ten up to 22 are exact doubles, so one division rounds
 * correctly (Clinger 1990); returns false when the number is not of that kind. */
static bool short_decimal(const char *at, const char *end, double *x) {
  static const double POWERS[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  bool negative = *at == '-';
  uint64_t digits = 0;
  int n_digits = 0, n_fraction = 0;
  bool fraction = false;
  for (at += negative; at < end; at++) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    if (*at < '0' || *at > '9' || ++n_digits > 15) return false;
    digits = digits * 10 + (uint64_t)(*at - '0');
    n_fraction += fraction;
  }
  double value = (double)digits / POWERS[n_fraction];
  *x = negative ? -value : value;
  return true;
}

/* The words that are numbers; 0 where none is next. */
static double take_number_word(sp_json_scan *s) {
  return take_word(s, "NaN")         ? NAN
         : take_word(s, "Infinity")  ? INFINITY
         : take_word(s, "-Infinity") ? -INFINITY
                                     : 0;
}

bool sp_json_scan_number(sp_json_scan *s, double *x) {
  if (s->fault) return false;
  look(s);
  const char *end = number_end(s->at, s->end);
  if (!end && (*x = take_number_word(s)) != 0) return true;
  if (!end) return fail(s, "expected a number");
  if (!short_decimal(s->at, end, x)) *x = strtod(s->at, NULL);
  s->at = end;
  return true;
}

bool sp_json_scan_integer(sp_json_scan *s, int64_t *x) {
  if (s->fault) return false;
  look(s);
  const char *end = number_end(s->at, s->end);
  bool negative = end && *s->at == '-', fits = end != NULL;
  int64_t value = 0; /* below zero: there the range is larger */
  for (const char *at = s->at + negative; fits && at < end; at++)
    fits = *at >= '0' && *at <= '9' && !__builtin_mul_overflow(value, 10, &value) &&
           !__builtin_sub_overflow(value, *at - '0', &value);
  if (!fits || (!negative && value == INT64_MIN))
    return fail(s, "expected a whole number");
  *x = negative ? value : -value;
  s->at = end;
  return true;
}

static bool skip_string(sp_json_scan *s) {
  for (s->at++;; s->at++) {
    skip_plain(s);
    if (s->at == s->end) return fail(s, "a string without end");
    if (*s->at == '"') break;
    if (*s->at != '\\') return fail(s, "a control character inside a string");
    if (++s->at == s->end) return fail(s, "a string without end");
  }
  s->at++;
  return true;
}

static bool skip_number(sp_json_scan *s) {
  const char *end = number_end(s->at, s->end);
  if (!end) return take_number_word(s) != 0 || fail(s, "expected a number");
  s->at = end;
  return true;
}

static bool skip_scalar(sp_json_scan *s, char kind) {
  switch (kind) {
    case '"':
      return skip_string(s);
    case '0':
      return skip_number(s);
    case 't':
    case 'n':
      return take_word(s, "true") || take_word(s, "false") || take_word(s, "null") ||
             fail(s, "expected a value");
    default:
      return fail(s, "expected a value");
  }
}

/* After the key's string: takes the ':'. */
static bool skip_key(sp_json_scan *s) {
  if (look(s) != '"') return fail(s, "expected a string");
  if (!skip_string(s)) return false;
  if (look(s) != ':') return fail(s, "expected ':'");
  s->at++;
  return true;
}

bool sp_json_scan_skip(sp_json_scan *s) {
  bool object[MAX_DEPTH]; /* whether each open bracket is an object's */
  int depth = 0;
  for (;;) {
    char kind = sp_json_scan_peek(s);
    bool first = kind == '{' || kind == '[';
    if (first) {
      if (depth == MAX_DEPTH) return fail(s, "nested beyond the parsing depth of 512");
      object[depth++] = kind == '{';
    } else if (!skip_scalar(s, kind)) {
      return false;
    }
    /* Close what ends here; stop before the next value. */
    for (;; first = false) {
      if (depth == 0) return true;
      bool inside = object[depth - 1];
      if (next_item(s, &first, inside ? '{' : '[', inside ? '}' : ']', "")) {
        if (inside && !skip_key(s)) return false;
        break;
      }
      if (s->fault) return false;
      depth--;
    }
  }
}

bool sp_json_scan_ended(sp_json_scan *s) {
  if (s->fault) return false;
  skip_blanks(s);
  return s->at == s->end;
}
