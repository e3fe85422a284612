/* tests/fuzz_eval.c - libFuzzer: any bytes as a run, as qrels or as questions.
 *
 * The first byte parts the rest: so many 256ths are the qrels, what follows is the run. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/beir.h"
#include "tools/eval_measures.h"
#include "tools/eval_report.h"
#include "tools/trec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int plant(const uint8_t *data, size_t n, char path[32]) {
  int fd = memfd_create("fuzz", 0);
  if (fd < 0 || write(fd, data, n) != (ssize_t)n) abort();
  snprintf(path, 32, "/proc/self/fd/%d", fd);
  return fd;
}

static void evaluate(const char *run_path, const char *qrels_path, bool complete) {
  sp_eval_ids ids = {0};
  sp_run run = {0};
  sp_qrels qrels = {0};
  sp_evaluation e = {0};
  const sp_eval_options how = {.complete = complete, .drop_same_id = !complete};
  sp_buf out = {0};
  if (!sp_run_read(run_path, &ids, &run) && !sp_qrels_read(qrels_path, &ids, &qrels) &&
      !sp_evaluate(&ids, &run, &qrels, &how, &e)) {
    for (int m = 0; m < SP_N_MEASURES; m++)
      if (!(e.all[m] >= 0)) abort();
    if (sp_eval_put_json(&out, &ids, &e, true, NULL, 0)) abort();
  }
  sp_buf_free(&out);
  sp_evaluation_free(&e);
  sp_run_free(&run);
  sp_qrels_free(&qrels);
  sp_eval_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 1) return 0;
  size_t n_qrels = (n - 1) * data[0] / 256;
  char run_path[32], qrels_path[32];
  int qrels = plant(data + 1, n_qrels, qrels_path);
  int run = plant(data + 1 + n_qrels, n - 1 - n_qrels, run_path);
  evaluate(run_path, qrels_path, data[0] & 1);
  sp_beir_queries q;
  if (!sp_beir_queries_read(run_path, &q)) sp_beir_queries_free(&q);
  close(run);
  close(qrels);
  return 0;
}
