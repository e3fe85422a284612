/* tools/cmd.h - what the subcommands share: options, failures, the way out.
 *
 * Exit status: 0 done; 1 it failed (one sentence on standard error); 2 called wrongly. */
#ifndef SP_CMD_H
#define SP_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* One subcommand. `argv[0]` is the subcommand's name. */
typedef int (*cmd_main)(int argc, char **argv);

int cmd_bench(int argc, char **argv);
int cmd_convert(int argc, char **argv); /* cmd_convert.c, and so on */
int cmd_encode(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_index(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_search(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);

/* An option, "--name VALUE" or "--name=VALUE" (or "-x VALUE"), or a flag without value.
 */
typedef enum cmd_kind {
  CMD_FLAG,   /* bool */
  CMD_STRING, /* const char *, borrowed from argv */
  CMD_U32,    /* uint32_t, within [min, max] */
  CMD_U64,    /* uint64_t */
  CMD_BYTES,  /* uint64_t, with K, M, G, T (powers of 1,024) */
  CMD_DOUBLE, /* double, within [min, max] */
  CMD_LIST    /* cmd_list, not to be moved: all words up to the next option */
} cmd_kind;

typedef struct cmd_list {
  char **words; /* [n], borrowed from argv; with '=' there is one, and it lies in `one` */
  int n;
  char *one;
} cmd_list;

typedef struct cmd_option {
  const char *name; /* "memory", or NULL at the end of the table */
  char letter;      /* 'k', or 0 */
  cmd_kind kind;
  void *out;         /* holds the default, is overwritten when the option is given */
  const char *value; /* "BYTES", for the help; NULL for a flag */
  const char *help;  /* one sentence */
  double min, max;   /* for numbers; both 0: no bounds */
} cmd_option;

/* What `spindle NAME --help` prints. */
typedef struct cmd_spec {
  const char *name;
  const char *usage;   /* "INDEX --corpus FILE|DIR..." */
  const char *summary; /* what it does, a few sentences */
  const cmd_option *options;
  const char *examples; /* lines to copy; NULL: none */
} cmd_spec;

/* Reads the options; the words that belong to none are moved to the front of argv[1..] in
 * their order, and *n_words is their count. "--" ends the options. Returns true to go on;
 * otherwise *status is the exit status (0 after --help, 2 after a wrong call). */
bool cmd_parse(const cmd_spec *spec, int argc, char **argv, int *n_words, int *status);

/* "spindle NAME: the last failure's sentence" on standard error; returns 1. */
int cmd_fail(const char *name);

/* "spindle NAME: message" and a hint at --help on standard error; returns 2. */
int cmd_misuse(const char *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Flushes standard output: a full disk is a failure too. Returns 0 or 1. */
int cmd_finish(const char *name);

#endif
