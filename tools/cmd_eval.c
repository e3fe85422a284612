/* tools/cmd_eval.c - `spindle eval`: how good is a run? */
#include <stdlib.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/eval_measures.h"
#include "tools/eval_report.h"
#include "tools/trec.h"

static const char NAME[] = "eval";

typedef struct eval_job {
  const char *run_path, *qrels_path;
  sp_eval_options how;
  bool per_query, trec, json;
  sp_eval_ids ids;
  sp_run run;
  sp_qrels qrels;
} eval_job;

/* Prints only when all went well: no average of a run that is refused. */
static sp_err report(const eval_job *job, const sp_evaluation *e) {
  sp_buf out = {0};
  sp_err err = job->trec ? sp_eval_put_trec(&out, &job->ids, e, job->per_query)
               : job->json
                   ? sp_eval_put_json(&out, &job->ids, e, job->per_query, NULL, 0)
                   : sp_eval_put_text(&out, &job->ids, e, job->per_query, NULL, 0);
  if (!err) fwrite(out.data, 1, out.n, stdout);
  sp_buf_free(&out);
  return err;
}

static sp_err evaluate(eval_job *job) {
  sp_evaluation e;
  sp_err err = sp_evaluate(&job->ids, &job->run, &job->qrels, &job->how, &e);
  if (err) return err;
  err = report(job, &e);
  sp_evaluation_free(&e);
  return err;
}

static sp_err evaluate_files(eval_job *job) {
  sp_err err = sp_run_read(job->run_path, &job->ids, &job->run);
  if (!err) err = sp_qrels_read(job->qrels_path, &job->ids, &job->qrels);
  return err ? err : evaluate(job);
}

static const char SUMMARY[] =
    "Compares a run (TREC's six columns, or BEIR's run.json) with judgements (TREC's "
    "four\n"
    "columns, or BEIR's qrels table) and prints the measures of trec_eval, equal to the\n"
    "fourth decimal: results are ordered by score alone, equal scores by document id,\n"
    "descending; a grade of 1 and more is relevant; nDCG has linear gain. mrr@10 is MS\n"
    "MARCO's: averaged over all queries of the qrels, also those without results.";

static const char EXAMPLES[] =
    "  spindle eval --run run.txt --qrels qrels.dev.tsv\n"
    "  spindle eval --run run.json --qrels qrels/test.tsv --drop-same-id --json\n"
    "  spindle eval --run run.txt --qrels qrels.txt --trec --per-query\n";

int cmd_eval(int argc, char **argv) {
  eval_job job = {0};
  const cmd_option options[] = {
      {"run", 0, CMD_STRING, &job.run_path, "FILE", "what was found", 0, 0},
      {"qrels", 0, CMD_STRING, &job.qrels_path, "FILE", "what is relevant", 0, 0},
      {"complete", 0, CMD_FLAG, &job.how.complete, NULL,
       "average over all queries of the qrels (trec_eval -c)", 0, 0},
      {"drop-same-id", 0, CMD_FLAG, &job.how.drop_same_id, NULL,
       "first drop results whose id is the query's (BEIR's rule)", 0, 0},
      {"per-query", 0, CMD_FLAG, &job.per_query, NULL, "each query too (trec_eval -q)", 0,
       0},
      {"trec", 0, CMD_FLAG, &job.trec, NULL, "print trec_eval's lines", 0, 0},
      {"json", 0, CMD_FLAG, &job.json, NULL, "print one JSON object", 0, 0},
      {0}};
  const cmd_spec spec = {NAME, "--run FILE --qrels FILE", SUMMARY, options, EXAMPLES};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words || !job.run_path || !job.qrels_path)
    return cmd_misuse(NAME, "expected --run FILE and --qrels FILE");
  if (job.trec && job.json)
    return cmd_misuse(NAME, "--trec and --json exclude each other");
  sp_err err = evaluate_files(&job);
  sp_run_free(&job.run);
  sp_qrels_free(&job.qrels);
  sp_eval_ids_free(&job.ids);
  return err ? cmd_fail(NAME) : cmd_finish(NAME);
}
