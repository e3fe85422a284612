/* tools/beir.h - the files of a BEIR directory: queries, judgements, results. */
#ifndef SP_BEIR_H
#define SP_BEIR_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/lines.h"
#include "tools/run.h"

/* The questions of a collection; {0} is empty. */
typedef struct sp_beir_query {
  size_t id, text;     /* where they begin in `bytes`, each with a NUL behind it */
  size_t id_n, text_n; /* their lengths */
} sp_beir_query;

typedef struct sp_beir_queries {
  sp_beir_query *list; /* [n], in the file's order */
  size_t n, cap;
  sp_buf bytes;
} sp_beir_queries;

/* Reads queries.jsonl: lines {"_id": "7", "text": "..."} (the id may be a number). Errors:
 * ENOTFOUND, EIO, ENOMEM, EFORMAT (names the line). */
sp_err sp_beir_queries_read(const char *path, sp_beir_queries *out);
void sp_beir_queries_free(sp_beir_queries *q);

/* True for the first line of a BEIR qrels table: three columns, the first "query-id". */
bool sp_beir_is_heading(const char *line, size_t n);

/* The line that `in` holds, "query <tab> document <tab> score". Errors: EFORMAT, ENOMEM. */
sp_err sp_beir_qrels_line(const sp_lines *in, sp_eval_ids *ids, sp_qrels *qrels);

/* Results as one JSON object {"query": {"document": score}}, read to the end of `f`; `path` is
 * for messages. Errors: EIO, ENOMEM, EFORMAT (also when there is no result). */
sp_err sp_beir_run_read(FILE *f, const char *path, sp_eval_ids *ids, sp_run *run);

#endif
