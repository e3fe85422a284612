/* tools/main.c - `spindle SUBCOMMAND ...`: picks the subcommand. */
#include <stdio.h>
#include <string.h>

#include "tools/blas_core.h"
#include "tools/cmd.h"

static int cmd_version(int argc, char **argv) {
  (void)argv;
  if (argc != 1) return cmd_misuse("version", "takes no arguments");
  printf("spindle %s\n", SP_VERSION);
  return cmd_finish("version");
}

static const struct {
  const char *name;
  cmd_main run;
  const char *summary;
} COMMANDS[] = {
    {"bench", cmd_bench, "measure recall against latency"},
    {"convert", cmd_convert, "convert files of sparse vectors, and check them"},
    {"encode", cmd_encode, "turn texts into sparse vectors"},
    {"eval", cmd_eval, "measure a run against judgements"},
    {"index", cmd_index, "make an index of a corpus or of vectors, or add to one"},
    {"inspect", cmd_inspect, "look into an index, a document, a query or a text"},
    {"search", cmd_search, "the best documents for questions"},
    {"serve", cmd_serve, "answer questions over HTTP"},
    {"tokenize", cmd_tokenize, "the token ids of texts"},
    {"version", cmd_version, "print the version"},
};

enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

static void print_usage(FILE *out) {
  fprintf(out, "usage: spindle SUBCOMMAND ...\n\n");
  for (int i = 0; i < N_COMMANDS; i++)
    fprintf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
  fprintf(out, "\n'spindle SUBCOMMAND --help' tells the rest.\n");
}

int main(int argc, char **argv) {
  blas_core_fit(argv);
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    print_usage(stdout);
    return cmd_finish("--help");
  }
  if (strcmp(argv[1], "--version") == 0) argv[1] = "version"; /* what people try first */
  for (int i = 0; i < N_COMMANDS; i++)
    if (strcmp(argv[1], COMMANDS[i].name) == 0)
      return COMMANDS[i].run(argc - 1, argv + 1);
  fprintf(stderr, "spindle: there is no subcommand '%s' ('spindle --help' lists them)\n",
          argv[1]);
  return 2;
}
