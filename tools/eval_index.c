/* tools/eval_index.c - from a BEIR directory and an index to a run. */
#include "tools/eval_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/pool.h"
#include "base/progress.h"
#include "server/engine.h"
#include "tools/beir.h"

/* One question and what was found for it. */
typedef struct question {
  uint32_t id;  /* its number in the ids */
  sp_text text; /* borrowed from the queries */
  sp_hit *hits; /* [n_hits] */
  uint32_t n_hits;
  double recall, scored; /* with --recall; recall below 0: there is nothing to find */
} question;

typedef struct asking {
  const sp_eval_index_job *job;
  const sp_engine *engine;
  sp_session **sessions; /* one a thread */
  question *list;        /* [n] */
  size_t n, from;        /* `from`: where the part being asked begins */
} asking;

/* --- which questions --- */

/* Reads the judgements and keeps those of questions with a positive one. */
static sp_err read_qrels(const sp_eval_index_job *job, sp_eval_ids *ids,
                         sp_qrels *qrels) {
  char *path;
  if (asprintf(&path, "%s/qrels/%s.tsv", job->beir, job->split) < 0)
    return sp_fail(SP_ENOMEM, "%s: out of memory", job->beir);
  sp_err err = sp_qrels_read(path, ids, qrels);
  bool *positive = NULL;
  if (!err && !(positive = calloc(sp_strmap_count(ids->queries), sizeof *positive)))
    err = sp_fail(SP_ENOMEM, "%s: out of memory", path);
  if (!err) {
    size_t kept = 0;
    for (size_t i = 0; i < qrels->n; i++)
      if (qrels->lines[i].grade >= 1) positive[qrels->lines[i].query] = true;
    for (size_t i = 0; i < qrels->n; i++)
      if (positive[qrels->lines[i].query]) qrels->lines[kept++] = qrels->lines[i];
    qrels->n = kept;
    if (kept == 0) err = sp_fail(SP_EFORMAT, "%s: no positive judgement", path);
  }
  free(positive);
  free(path);
  return err;
}

/* Finds the texts of the judged questions. */
static sp_err find_texts(asking *a, const sp_eval_ids *ids, const sp_qrels *qrels,
                         const sp_beir_queries *queries) {
  uint32_t n_ids = sp_strmap_count(ids->queries);
  sp_text *texts = calloc(n_ids, sizeof *texts);
  a->list = calloc(n_ids, sizeof *a->list);
  if (!texts || !a->list) {
    free(texts);
    return sp_fail(SP_ENOMEM, "%u queries: out of memory", n_ids);
  }
  for (size_t i = 0; i < queries->n; i++) {
    const sp_beir_query *q = &queries->list[i];
    uint32_t id = sp_strmap_find(ids->queries, queries->bytes.data + q->id, q->id_n);
    if (id != SP_STRMAP_NONE)
      texts[id] = (sp_text){queries->bytes.data + q->text, q->text_n};
  }
  sp_err err = SP_OK;
  bool *seen = calloc(n_ids, sizeof *seen);
  if (!seen) err = sp_fail(SP_ENOMEM, "%u queries: out of memory", n_ids);
  for (size_t i = 0; i < qrels->n && !err; i++) {
    uint32_t id = qrels->lines[i].query;
    size_t n;
    if (!texts[id].data)
      err = sp_fail(SP_EFORMAT, "%s: the judged query '%.200s' is not in queries.jsonl",
                    a->job->beir, sp_strmap_key(ids->queries, id, &n));
    if (err || seen[id]) continue;
    seen[id] = true;
    a->list[a->n++] = (question){.id = id, .text = texts[id]};
  }
  free(seen);
  free(texts);
  return err;
}

/* --- asking --- */

static sp_err search(sp_session *s, const question *q, const sp_search_params *params,
                     sp_result *out) {
  return sp_session_search_text(s, q->text.data, q->text.n, params, out);
}

/* Compares the first ten as asked with the first ten of exact search. By score: which of
 * several equal ones is found makes no answer worse. */
static sp_err compare_with_exact(asking *a, sp_session *s, question *q) {
  sp_search_params params = a->job->params;
  params.k = 10;
  sp_result found;
  sp_err err = search(s, q, &params, &found);
  if (err) return err;
  float scores[10];
  uint32_t n = found.n;
  for (uint32_t i = 0; i < n; i++) scores[i] = found.hits[i].score;
  uint32_t n_docs = sp_engine_info(a->engine)->n_docs;
  q->scored = n_docs ? (double)found.stats.n_docs_scored / n_docs : 0;

  params.exact = true;
  if ((err = search(s, q, &params, &found))) return err;
  q->recall = -1;
  if (found.n == 0) return SP_OK;
  float last = found.hits[found.n - 1].score;
  uint32_t n_good = 0;
  for (uint32_t i = 0; i < n; i++) n_good += scores[i] >= last;
  q->recall = (double)n_good / found.n;
  return SP_OK;
}

static sp_err ask(void *job, size_t piece, unsigned worker) {
  asking *a = job;
  question *q = &a->list[a->from + piece];
  sp_session *s = a->sessions[worker];
  sp_result found;
  sp_err err = search(s, q, &a->job->params, &found);
  if (err) return err;
  q->hits = malloc((found.n ? found.n : 1) * sizeof *q->hits);
  if (!q->hits) return sp_fail(SP_ENOMEM, "%u hits: out of memory", found.n);
  memcpy(q->hits, found.hits, found.n * sizeof *q->hits);
  q->n_hits = found.n;
  return a->job->recall ? compare_with_exact(a, s, q) : SP_OK;
}

/* In parts, so that there is progress to show between them. */
static sp_err ask_all(asking *a, sp_pool *pool) {
  enum { PART = 256 };
  sp_progress progress;
  sp_progress_begin(&progress, stderr, "queries", 0, a->n);
  sp_err err = SP_OK;
  for (a->from = 0; a->from < a->n && !err; a->from += PART) {
    size_t n = a->n - a->from < PART ? a->n - a->from : PART;
    err = sp_pool_run(pool, n, ask, a);
    sp_progress_set(&progress, a->from + n);
  }
  sp_progress_end(&progress);
  return err;
}

static sp_err ask_with_threads(asking *a) {
  sp_pool *pool;
  sp_err err = sp_pool_new(a->job->n_threads, &pool);
  if (err) return err;
  unsigned n = sp_pool_n_threads(pool);
  a->sessions = calloc(n, sizeof *a->sessions);
  if (!a->sessions) err = sp_fail(SP_ENOMEM, "%u sessions: out of memory", n);
  for (unsigned i = 0; i < n && !err; i++)
    err = sp_session_new(a->engine, &a->sessions[i]);
  if (!err) err = ask_all(a, pool);
  for (unsigned i = 0; a->sessions && i < n; i++) sp_session_free(a->sessions[i]);
  free(a->sessions);
  sp_pool_free(pool);
  return err;
}

/* --- what was found --- */

static sp_err collect(const asking *a, sp_eval_ids *ids, sp_run *run) {
  const sp_snapshot *snapshot = sp_engine_snapshot(a->engine);
  for (size_t i = 0; i < a->n; i++) {
    const question *q = &a->list[i];
    size_t n, m;
    const char *query = sp_strmap_key(ids->queries, q->id, &n);
    for (uint32_t j = 0; j < q->n_hits; j++) {
      const char *doc = sp_snapshot_id(snapshot, q->hits[j].doc, &m);
      if (!doc)
        return sp_fail(SP_EFORMAT, "%s: document %u has no id", a->job->index,
                       q->hits[j].doc);
      sp_err err = sp_run_add(run, ids, query, n, doc, m, q->hits[j].score);
      if (err) return err;
    }
  }
  return SP_OK;
}

static void average(const asking *a, sp_eval_index_result *result) {
  *result = (sp_eval_index_result){0};
  size_t n_found = 0;
  for (size_t i = 0; i < a->n; i++) {
    result->scored_fraction += a->list[i].scored / (double)a->n;
    if (a->list[i].recall < 0) continue;
    result->recall_vs_exact_10 += a->list[i].recall;
    n_found++;
  }
  result->recall_vs_exact_10 = n_found ? result->recall_vs_exact_10 / (double)n_found : 1;
}

sp_err sp_eval_index(const sp_eval_index_job *job, sp_eval_ids *ids, sp_run *run,
                     sp_qrels *qrels, sp_eval_index_result *result) {
  asking a = {.job = job};
  sp_beir_queries queries = {0};
  sp_engine *engine = NULL;
  char *path = sp_path_join(job->beir, "queries.jsonl");
  sp_err err = path ? read_qrels(job, ids, qrels) : SP_ENOMEM;
  if (!err) err = sp_beir_queries_read(path, &queries);
  if (!err) err = find_texts(&a, ids, qrels, &queries);
  if (!err) err = sp_engine_open(job->index, job->model, &job->encoder, &engine);
  a.engine = engine;
  if (!err) err = ask_with_threads(&a);
  if (!err) err = collect(&a, ids, run);
  if (!err) average(&a, result);
  for (size_t i = 0; i < a.n; i++) free(a.list[i].hits);
  free(a.list);
  sp_engine_close(engine);
  sp_beir_queries_free(&queries);
  free(path);
  return err;
}
