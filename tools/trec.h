/* tools/trec.h - runs and qrels, in and out of files. */
#ifndef SP_TREC_H
#define SP_TREC_H

#include "tools/run.h"

/* Reads a run: lines "query Q0 document rank score tag", separated by the C locale's white
 * space, where rank and second column mean nothing, further columns are ignored, blank
 * lines and those that begin with # are skipped; or BEIR's JSON object
 * {"query": {"document": score}}, recognised by its first byte. "-" is standard input
 * (lines only). Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT (no result at all; a line of less
 * than six columns; a score that is NaN). */
sp_err sp_run_read(const char *path, sp_eval_ids *ids, sp_run *run);

/* Reads qrels: lines "query iteration document grade" of exactly four columns, where those
 * that begin with # in the very first column are skipped; or BEIR's table, recognised by
 * its heading. Errors: as above. */
sp_err sp_qrels_read(const char *path, sp_eval_ids *ids, sp_qrels *qrels);

/* Writes the run with ranks from 1, queries in the byte order of their ids, results best
 * first; reading it back gives the same scores. `path` "-" is standard output. Sorts `run`.
 * Errors: EIO, ENOMEM, EINVAL (an id that is empty, holds white space, or begins a query
 * with #: such a line would not read back). */
sp_err sp_run_write(const char *path, const sp_eval_ids *ids, sp_run *run,
                    const char *tag);

#endif
