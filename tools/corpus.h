/* tools/corpus.h - documents from a corpus's files, one after the other.
 *
 * JSON lines ({"_id", "title", "text"}; BEIR's corpus.jsonl), MS MARCO's table (pid, tab,
 * passage; files named *.tsv), or a BEIR directory, which stands for its corpus.jsonl. */
#ifndef SP_CORPUS_H
#define SP_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Where a corpus stands between two documents. */
typedef struct sp_corpus_place {
  uint64_t file;   /* number of the file */
  uint64_t offset; /* of the next line in it */
  uint64_t line;   /* lines before it */
  uint64_t n_docs, n_repaired;
} sp_corpus_place;

/* One document; valid until the next one is read. */
typedef struct sp_corpus_doc {
  const char *id;
  size_t id_n;
  const char *text; /* title + " " + text, trimmed: what is encoded; valid UTF-8 */
  size_t text_n;
  const char *fields; /* {"title": .., "text": ..}: what is stored */
  size_t fields_n;
} sp_corpus_doc;

typedef struct sp_corpus sp_corpus;

/* Files or directories, read in this order. All must exist. On SP_OK the caller owns
 * *out. Errors: ENOTFOUND, EIO, ENOMEM. */
sp_err sp_corpus_open(char *const *paths, size_t n, sp_corpus **out);
void sp_corpus_close(sp_corpus *c); /* NULL is fine */

/* The files themselves, directories resolved; borrowed. */
char *const *sp_corpus_files(const sp_corpus *c, size_t *n);

/* The next document; *more is false after the last. Blank lines are skipped. Errors:
 * EFORMAT ("file:line: what is wrong"), EINVAL (a line over 1 GiB), EIO, ENOMEM. */
sp_err sp_corpus_next(sp_corpus *c, sp_corpus_doc *out, bool *more);

/* Where it stands; n_repaired counts documents with invalid UTF-8, which was replaced. */
const sp_corpus_place *sp_corpus_tell(const sp_corpus *c);
sp_err sp_corpus_seek(sp_corpus *c, const sp_corpus_place *place); /* Errors: EIO */

#endif
