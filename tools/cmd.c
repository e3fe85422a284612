/* tools/cmd.c - options and exits of the subcommands. */
#include "tools/cmd.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int cmd_fail(const char *name) {
  fprintf(stderr, "spindle %s: %s\n", name, sp_err_message());
  return 1;
}

int cmd_misuse(const char *name, const char *fmt, ...) {
  fprintf(stderr, "spindle %s: ", name);
  va_list args;
  va_start(args, fmt);
  vfprintf(stderr, fmt, args);
  va_end(args);
  fprintf(stderr, " ('spindle %s --help' tells the options)\n", name);
  return 2;
}

int cmd_finish(const char *name) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
  sp_fail_errno(errno, "cannot write standard output");
  return cmd_fail(name);
}

static void print_help(const cmd_spec *spec) {
  printf("usage: spindle %s %s\n\n%s\n", spec->name, spec->usage, spec->summary);
  if (spec->options->name) printf("\noptions:\n");
  for (const cmd_option *o = spec->options; o->name; o++) {
    char left[64], letter[8] = "";
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
             o->value ? o->value : "");
    printf("  %-28s %s%s", left,
           strlen(left) > 28 ? "\n                               " : "", o->help);
    switch (o->kind) {
      case CMD_STRING:
        if (*(const char **)o->out) printf(" [%s]", *(const char **)o->out);
        break;
      case CMD_U32:
        printf(" [%u]", *(uint32_t *)o->out);
        break;
      case CMD_U64:
        printf(" [%llu]", (unsigned long long)*(uint64_t *)o->out);
        break;
      case CMD_DOUBLE:
        printf(" [%g]", *(double *)o->out);
        break;
      case CMD_BYTES:
        printf(" [%lluM]", (unsigned long long)*(uint64_t *)o->out >> 20);
        break;
      case CMD_FLAG:
      case CMD_LIST:
        break;
    }
    printf("\n");
  }
  if (spec->examples) printf("\nexamples:\n%s", spec->examples);
}

static const cmd_option *find_long(const cmd_spec *spec, const char *name, size_t n) {
  for (const cmd_option *o = spec->options; o->name; o++)
    if (strlen(o->name) == n && memcmp(o->name, name, n) == 0) return o;
  return NULL;
}

static const cmd_option *find_letter(const cmd_spec *spec, char letter) {
  for (const cmd_option *o = spec->options; o->name; o++)
    if (o->letter && o->letter == letter) return o;
  return NULL;
}

static bool in_bounds(const cmd_option *o, double x) {
  return (o->min == 0 && o->max == 0) || (x >= o->min && x <= o->max);
}

/* Reads a whole number with an optional power-of-1,024 suffix. */
static bool read_u64(const char *text, bool suffix, uint64_t *out) {
  char *end;
  errno = 0;
  if (*text < '0' || *text > '9') return false; /* strtoull takes signs and blanks */
  unsigned long long n = strtoull(text, &end, 10);
  unsigned shift = 0;
  if (suffix && *end) {
    const char *units = "KMGT";
    const char *unit = strchr(units, *end & ~0x20);
    if (!unit || !*unit) return false; /* a blank is none, but finds the string's end */
    shift = 10 * (unsigned)(unit - units + 1);
    end++;
    if (*end == 'i') end++;
    if (*end == 'B') end++;
  }
  if (errno || *end || (shift && n >> (64 - shift))) return false;
  *out = (uint64_t)n << shift;
  return true;
}

/* Stores the value; false when it is not one. */
static bool store(const cmd_option *o, const char *text) {
  uint64_t n;
  switch (o->kind) {
    case CMD_STRING:
      *(const char **)o->out = text;
      return true;
    case CMD_U32:
      if (!read_u64(text, false, &n) || n > UINT32_MAX || !in_bounds(o, (double)n))
        return false;
      *(uint32_t *)o->out = (uint32_t)n;
      return true;
    case CMD_U64:
    case CMD_BYTES:
      if (!read_u64(text, o->kind == CMD_BYTES, &n) || !in_bounds(o, (double)n))
        return false;
      *(uint64_t *)o->out = n;
      return true;
    case CMD_DOUBLE: {
      char *end;
      double x = strtod(text, &end);
      if (end == text || *end || !isfinite(x) || !in_bounds(o, x)) return false;
      *(double *)o->out = x;
      return true;
    }
    case CMD_FLAG:
    case CMD_LIST:
      break;
  }
  return false;
}

static int bad_value(const cmd_spec *spec, const cmd_option *o, const char *text) {
  if (o->kind == CMD_STRING || (o->min == 0 && o->max == 0))
    return cmd_misuse(spec->name, "--%s: '%s' is not %s", o->name, text, o->value);
  return cmd_misuse(spec->name, "--%s: '%s' is not %s from %g to %g", o->name, text,
                    o->value, o->min, o->max);
}

static const cmd_option *find(const cmd_spec *spec, const char *word,
                              const char *equals) {
  if (word[1] != '-') return word[2] ? NULL : find_letter(spec, word[1]);
  size_t n = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
  return find_long(spec, word + 2, n);
}

/* The words behind the option, up to the next one. */
static void take_list(cmd_list *list, int argc, char **argv, int *i) {
  list->words = argv + *i + 1;
  for (list->n = 0; *i + 1 < argc; list->n++, ++*i) {
    const char *next = argv[*i + 1];
    if (next[0] == '-' && next[1]) break;
  }
}

/* Reads the option at argv[*i] with its value, and moves *i to the last word of it. Returns
 * 0, or the exit status of a wrong call. */
static int take_option(const cmd_spec *spec, int argc, char **argv, int *i) {
  char *word = argv[*i];
  char *equals = word[1] == '-' ? strchr(word, '=') : NULL;
  const cmd_option *o = find(spec, word, equals);
  if (!o) return cmd_misuse(spec->name, "there is no option '%s'", word);
  if (o->kind == CMD_FLAG) {
    if (equals) return cmd_misuse(spec->name, "--%s takes no value", o->name);
    *(bool *)o->out = true;
    return 0;
  }
  if (!equals && *i + 1 == argc)
    return cmd_misuse(spec->name, "--%s needs %s", o->name, o->value);
  if (o->kind == CMD_LIST && !equals) {
    take_list(o->out, argc, argv, i);
    return 0;
  }
  char *text = equals ? equals + 1 : argv[++*i];
  if (o->kind == CMD_LIST) {
    cmd_list *list = o->out;
    *list = (cmd_list){&list->one, 1, text};
    return 0;
  }
  return store(o, text) ? 0 : bad_value(spec, o, text);
}

bool cmd_parse(const cmd_spec *spec, int argc, char **argv, int *n_words, int *status) {
  *n_words = 0;
  bool options = true;
  for (int i = 1; i < argc; i++) {
    char *word = argv[i];
    if (!options || word[0] != '-' || word[1] == '\0') {
      argv[1 + (*n_words)++] = word;
    } else if (strcmp(word, "--") == 0) {
      options = false;
    } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
      print_help(spec);
      *status = cmd_finish(spec->name);
      return false;
    } else if ((*status = take_option(spec, argc, argv, &i))) {
      return false;
    }
  }
  return true;
}
