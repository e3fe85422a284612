/* tools/cmd_eval.c - `spindle eval`: how good is an index, or a run? */
#include <stdlib.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/eval_index.h"
#include "tools/eval_measures.h"
#include "tools/eval_report.h"
#include "tools/trec.h"

static const char NAME[] = "eval";

typedef struct eval_job {
  sp_eval_index_job search; /* index NULL: a run from a file */
  const char *run_path;     /* read, or with an index written (NULL: not) */
  const char *qrels_path;
  sp_eval_options how;
  bool per_query, trec, json;
  sp_eval_ids ids;
  sp_run run;
  sp_qrels qrels;
  sp_eval_extra extras[2];
  size_t n_extras;
} eval_job;

/* Prints only when all went well: no average of a run that is refused. */
static sp_err report(const eval_job *j, const sp_evaluation *e) {
  sp_buf out = {0};
  sp_err err;
  if (j->trec)
    err = sp_eval_put_trec(&out, &j->ids, e, j->per_query);
  else if (j->json)
    err = sp_eval_put_json(&out, &j->ids, e, j->per_query, j->extras, j->n_extras);
  else
    err = sp_eval_put_text(&out, &j->ids, e, j->per_query, j->extras, j->n_extras);
  if (!err) fwrite(out.data, 1, out.n, stdout);
  sp_buf_free(&out);
  return err;
}

static sp_err make_run(eval_job *j) {
  if (!j->search.index) {
    sp_err err = sp_run_read(j->run_path, &j->ids, &j->run);
    return err ? err : sp_qrels_read(j->qrels_path, &j->ids, &j->qrels);
  }
  sp_eval_index_result result;
  sp_err err = sp_eval_index(&j->search, &j->ids, &j->run, &j->qrels, &result);
  if (err) return err;
  j->how.complete = true; /* a question to which nothing was found counts as zero */
  if (j->search.recall) {
    j->extras[0] = (sp_eval_extra){"recall_vs_exact@10", result.recall_vs_exact_10};
    j->extras[1] = (sp_eval_extra){"scored_fraction", result.scored_fraction};
    j->n_extras = 2;
  }
  return j->run_path ? sp_run_write(j->run_path, &j->ids, &j->run, "spindle") : SP_OK;
}

static sp_err evaluate(eval_job *j) {
  sp_evaluation e;
  sp_err err = make_run(j);
  if (!err) err = sp_evaluate(&j->ids, &j->run, &j->qrels, &j->how, &e);
  if (err) return err;
  err = report(j, &e);
  sp_evaluation_free(&e);
  return err;
}

static const char SUMMARY[] =
    "Asks an index the questions of a BEIR directory (queries.jsonl,\n"
    "qrels/SPLIT.tsv), or reads a run (TREC's six columns, or BEIR's run.json) and\n"
    "judgements (TREC's four columns, or BEIR's table), and prints the measures of\n"
    "trec_eval, equal to the fourth decimal: results are ordered by score alone,\n"
    "equal scores by document id, descending; a grade of 1 and more is relevant;\n"
    "nDCG has linear gain. mrr@10 is MS MARCO's: averaged over all queries of the\n"
    "qrels, also those without results. With an index, averages are over the\n"
    "questions that have a positive judgement.";

static const char EXAMPLES[] =
    "  spindle eval scifact.index --beir scifact --recall\n"
    "  spindle eval scifact.index --beir scifact --exact --run exact.trec\n"
    "  spindle eval --run run.txt --qrels qrels.dev.tsv\n"
    "  spindle eval --run run.json --qrels qrels/test.tsv --drop-same-id --json\n"
    "  spindle eval --run run.txt --qrels qrels.txt --trec --per-query\n";

/* 0, or the exit status of a call that makes no sense. */
static int check_call(eval_job *j, int n_words, char **words) {
  if (j->trec && j->json) return cmd_misuse(NAME, "--trec and --json exclude each other");
  if (n_words == 1 && j->search.beir && !j->qrels_path) {
    j->search.index = words[0];
    return 0;
  }
  if (n_words == 0 && j->run_path && j->qrels_path && !j->search.beir) {
    if (j->search.recall || j->search.params.exact)
      return cmd_misuse(NAME, "--exact and --recall need an INDEX");
    return 0;
  }
  return cmd_misuse(NAME,
                    "expected INDEX and --beir DIR, or --run FILE and --qrels FILE");
}

int cmd_eval(int argc, char **argv) {
  eval_job j = {.search = {.split = "test",
                           .params = sp_search_defaults(),
                           .encoder = sp_encoder_defaults()}};
  sp_search_params *p = &j.search.params;
  p->k = 1000;
  double heap_factor = p->heap_factor;
  uint32_t n_threads = 0;
  const cmd_option options[] = {
      {"beir", 0, CMD_STRING, &j.search.beir, "DIR", "a BEIR directory", 0, 0},
      {"split", 0, CMD_STRING, &j.search.split, "NAME", "which of its qrels", 0, 0},
      {"model", 0, CMD_STRING, &j.search.model, "DIR",
       "encode questions with this model instead of the index's own", 0, 0},
      {"neural-queries", 0, CMD_FLAG, &j.search.encoder.neural_queries, NULL,
       "send questions through the network even where a table has their weights", 0, 0},
      {"device", 0, CMD_STRING, &j.search.encoder.device, "D", "model: auto, cpu or cuda",
       0, 0},
      {"precision", 0, CMD_STRING, &j.search.encoder.precision, "P",
       "model: auto; f32 or int8 on the CPU; bf16 or f16 on a GPU", 0, 0},
      {"k", 'k', CMD_U32, &p->k, "N", "results for each question", 1, SP_MAX_K},
      {"exact", 0, CMD_FLAG, &p->exact, NULL, "score every document", 0, 0},
      {"query-cut", 0, CMD_U32, &p->query_cut, "N",
       "read the lists of the strongest N terms; 0: all", 0, 0},
      {"heap-factor", 0, CMD_DOUBLE, &heap_factor, "X",
       "skip what is estimated below X times the k-th score; 0: nothing", 0, 1e6},
      {"recall", 0, CMD_FLAG, &j.search.recall, NULL,
       "add recall_vs_exact@10 and scored_fraction, measured at k 10", 0, 0},
      {"threads", 0, CMD_U32, &n_threads, "N", "0: one for each processor", 0, 1024},
      {"run", 0, CMD_STRING, &j.run_path, "FILE",
       "what was found: read, or with an INDEX written", 0, 0},
      {"qrels", 0, CMD_STRING, &j.qrels_path, "FILE", "what is relevant", 0, 0},
      {"complete", 0, CMD_FLAG, &j.how.complete, NULL,
       "average over all queries of the qrels (trec_eval -c)", 0, 0},
      {"drop-same-id", 0, CMD_FLAG, &j.how.drop_same_id, NULL,
       "first drop results whose id is the query's (BEIR's rule)", 0, 0},
      {"per-query", 0, CMD_FLAG, &j.per_query, NULL, "each query too (trec_eval -q)", 0,
       0},
      {"trec", 0, CMD_FLAG, &j.trec, NULL, "print trec_eval's lines", 0, 0},
      {"json", 0, CMD_FLAG, &j.json, NULL, "print one JSON object", 0, 0},
      {0}};
  const cmd_spec spec = {NAME, "INDEX --beir DIR | --run FILE --qrels FILE", SUMMARY,
                         options, EXAMPLES};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if ((status = check_call(&j, n_words, argv + 1))) return status;
  p->heap_factor = (float)heap_factor;
  j.search.n_threads = n_threads;
  sp_err err = evaluate(&j);
  sp_run_free(&j.run);
  sp_qrels_free(&j.qrels);
  sp_eval_ids_free(&j.ids);
  return err ? cmd_fail(NAME) : cmd_finish(NAME);
}
