/* tools/cmd_index.c - `spindle index INDEX`: a corpus or a file of vectors becomes an
 * index, or a segment of one. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/cmd.h"
#include "tools/index_input.h"

static const char NAME[] = "index";

typedef struct index_job {
  const char *path;
  cmd_list corpus;
  const char *vectors;
  sp_build_options build;
  sp_buf source;
  sp_build_summary summary;
} index_job;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static sp_err run(index_job *j) {
  char *const paths[] = {(char *)j->vectors};
  sp_err err = sp_input_identify(paths, 1, &j->source);
  if (err) return err;
  j->build.source = j->source.data;
  sp_builder *b;
  err = sp_builder_open(j->path, &j->build, &b);
  if (err) return err;
  if (!sp_builder_start(b)->complete)
    err = sp_input_vectors(b, j->vectors, j->build.progress);
  if (err) {
    char message[1024];
    snprintf(message, sizeof message, "%s", sp_err_message());
    sp_builder_abort(b);
    return sp_fail(err, "%s", message);
  }
  return sp_builder_finish(b, &j->summary);
}

int cmd_index(int argc, char **argv) {
  index_job j = {.build = sp_build_options_defaults()};
  sp_build_params *p = &j.build.params;
  bool json = false;
  uint32_t threads = 0;
  const cmd_option options[] = {
      {"vectors", 0, CMD_STRING, &j.vectors, "FILE", "index the vectors of FILE", 0, 0},
      {"append", 0, CMD_FLAG, &j.build.append, NULL, "add to the index", 0, 0},
      {"memory", 0, CMD_BYTES, &j.build.memory_bytes, "BYTES", "what the build may hold",
       0, 0},
      {"threads", 0, CMD_U32, &threads, "N", "0: one for each processor", 0, 1024},
      {"seed", 0, CMD_U64, &p->seed, "N", "of the grouping", 0, 0},
      {"n-postings", 0, CMD_U32, &p->n_postings, "N",
       "postings kept a term, on average of terms that occur; 0: all", 0, 0},
      {"max-fraction", 0, CMD_DOUBLE, &p->max_fraction, "X",
       "at most n-postings times X in one list", 1e-6, 1e9},
      {"centroid-fraction", 0, CMD_DOUBLE, &p->centroid_fraction, "X",
       "blocks aimed at, a share of a list's postings", 1e-6, 1},
      {"min-cluster-size", 0, CMD_U32, &p->min_cluster_size, "N",
       "smaller blocks are dissolved", 0, 0},
      {"summary-energy", 0, CMD_DOUBLE, &p->summary_energy, "X",
       "share of a summary's mass that is kept", 1e-6, 1},
      {"doc-cut", 0, CMD_U32, &p->doc_cut, "N",
       "strongest terms of a document that decide its block", 1, 1024},
      {"json", 0, CMD_FLAG, &json, NULL, "print the summary as JSON", 0, 0},
      {0}};
  const cmd_spec spec = {NAME, "INDEX --vectors FILE", "Builds an index.", options, NULL};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words != 1) return cmd_misuse(NAME, "needs one INDEX directory");
  if (!j.vectors) return cmd_misuse(NAME, "needs --vectors FILE");
  signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error, not an end */
  j.path = argv[1];
  j.build.n_threads = threads;
  j.build.progress = stderr;
  double began = now_s();
  sp_err err = run(&j);
  sp_buf_free(&j.source);
  if (err) return cmd_fail(NAME);
  printf(
      "%s: %llu documents, %llu lists, %llu postings, %llu blocks, %llu bytes, %.1f s\n",
      j.path, (unsigned long long)j.summary.n_docs, (unsigned long long)j.summary.n_lists,
      (unsigned long long)j.summary.n_postings, (unsigned long long)j.summary.n_blocks,
      (unsigned long long)j.summary.bytes, now_s() - began);
  return cmd_finish(NAME);
}
