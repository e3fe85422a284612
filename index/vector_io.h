/* index/vector_io.h - sparse vectors in and out of files, whatever their format.
 *
 * One reader and one writer over five formats. All weights are float; terms are uint32_t.
 *
 *   compact   Spindle's own binary format (index/vector_file.h): the smallest and
 * fastest, lossless, checksummed; can be continued after a crash jsonl     a line {"id":
 * "7", "terms": [3, 9], "weights": [0.5, 1.25]} seismic   a line {"id": "7", "content":
 * "...", "vector": {"token": 0.5}} anserini  a line {"id": "7", "contents": "...",
 * "vector": {"token": 50}}; Anserini wants whole numbers, so weights are written as
 * round(100 x weight) csr       BigANN's sparse matrix, little-endian: int64 rows,
 * columns, entries; int64 start[rows + 1]; int32 term[entries]; float32 weight[entries].
 *             It has no ids: a vector's id is its row number in decimal
 *
 * The three JSON dialects are read alike: "id" (or "_id", "docid"; a string or a whole
 * number), a vector as either of the two shapes, the text from "content", "contents" or
 * "text". Other members are skipped. */
#ifndef SP_VECTOR_IO_H
#define SP_VECTOR_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strmap.h"
#include "base/vec.h"

typedef enum sp_vector_format {
  SP_VECTORS_AUTO, /* reading: from the content; writing: from the file's name */
  SP_VECTORS_COMPACT,
  SP_VECTORS_JSONL,
  SP_VECTORS_SEISMIC,
  SP_VECTORS_ANSERINI,
  SP_VECTORS_CSR
} sp_vector_format;

/* "compact", "jsonl", ...; "auto". */
const char *sp_vector_format_name(sp_vector_format format);

/* Errors: EINVAL (the sentence lists the names). */
sp_err sp_vector_format_parse(const char *name, sp_vector_format *out);

/* --- what is wrong with the vectors of a file --- */

typedef enum sp_vector_fault {
  SP_VECTOR_UNSORTED,  /* terms do not ascend; sorted. Not in JSON objects: they have no
                          order */
  SP_VECTOR_DUPLICATE, /* a term twice; the weights are summed */
  SP_VECTOR_NAN,       /* NaN or infinite, also as a float; refused */
  SP_VECTOR_NEGATIVE,  /* refused */
  SP_VECTOR_ZERO,      /* the entry is dropped */
  SP_VECTOR_RANGE,     /* a term >= n_terms (the file's own or the caller's), a term that
                          is no number from 0 to 2^32 - 2; refused */
  SP_VECTOR_UNKNOWN,   /* a token that the caller's `find` does not know; dropped */
  SP_VECTOR_EMPTY,     /* no entry, as read or as left after repairs; passed on */
  SP_VECTOR_N_FAULTS
} sp_vector_fault;
const char *sp_vector_fault_name(sp_vector_fault fault); /* "unsorted", ... */
bool sp_vector_fault_refused(sp_vector_fault fault);

enum { SP_VECTOR_EXAMPLE_BYTES = 64 };

/* Counts vectors, not entries: a vector with three zeros counts once. */
typedef struct sp_vector_report {
  uint64_t n_read;    /* vectors seen, also those left out */
  uint64_t n_skipped; /* left out because a refused fault was found (skip_refused) */
  uint64_t n_entries; /* of the vectors passed on */
  uint32_t max_entries;
  uint32_t n_terms; /* the largest term passed on, + 1 */
  struct {
    uint64_t n;
    uint64_t record;                  /* the first such vector's number, from 1 */
    char id[SP_VECTOR_EXAMPLE_BYTES]; /* its id, cut; valid UTF-8 is not promised */
  } faults[SP_VECTOR_N_FAULTS];
} sp_vector_report;

/* --- reading --- */

/* The term of a token, or SP_STRMAP_NONE. */
typedef uint32_t (*sp_vector_find)(void *context, const char *token, size_t n);

typedef struct sp_vector_read_options {
  sp_vector_format format;
  uint32_t n_terms;  /* terms at or above are a fault; 0: only the file's own bound */
  float scale;       /* weights are multiplied by it; 0 means 1. 0.01 undoes Anserini's */
  bool skip_refused; /* leave vectors with a refused fault out instead of failing */
  bool accept_prefix;  /* compact: an unfinished file ends silently at its last whole
                          block; otherwise that is EFORMAT after the last vector */
  bool numeric_tokens; /* JSON object keys are term numbers, not tokens */
  sp_vector_find find; /* tokens to terms; NULL: numbered as they come, see
                          sp_vector_reader_vocabulary() */
  void *find_context;
} sp_vector_read_options;

/* Borrowed from the reader until its next call. */
typedef struct sp_vector_record {
  const char *id; /* NUL-terminated; may hold NULs */
  size_t id_n;
  const sp_vec *vec; /* sound: see base/vec.h */
  const char *text;  /* NULL: the format or the record has none */
  size_t text_n;
} sp_vector_record;

typedef struct sp_vector_reader sp_vector_reader;

/* `path` "-" is standard input (not for csr). options NULL: all defaults. Memory stays
 * bounded by the largest vector (or block of the compact format), not by the file; a
 * vocabulary comes on top. On SP_OK the caller owns *out.
 * Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT (none of the formats, damaged), EINVAL. */
sp_err sp_vector_reader_open(const char *path, const sp_vector_read_options *options,
                             sp_vector_reader **out);
void sp_vector_reader_close(sp_vector_reader *r); /* NULL is fine */

/* The next vector; *more is false at the end. A failure is final.
 * Errors: EFORMAT (names the file and the line or record, and the id), EIO, ENOMEM. */
sp_err sp_vector_reader_next(sp_vector_reader *r, sp_vector_record *out, bool *more);

sp_vector_format sp_vector_reader_format(const sp_vector_reader *r);

/* Terms are 0 .. n-1 as the file says (csr, finished compact files) or as far as the
 * vocabulary has grown; 0: not known. */
uint32_t sp_vector_reader_n_terms(const sp_vector_reader *r);

/* How many vectors the file holds, for a progress bar; 0: not known before the end. */
uint64_t sp_vector_reader_n_vectors(const sp_vector_reader *r);

/* What was found so far; borrowed. */
const sp_vector_report *sp_vector_reader_report(const sp_vector_reader *r);

/* The tokens numbered so far, or NULL when terms are not numbered here. Borrowed; valid
 * until close, grows with next. */
const sp_strmap *sp_vector_reader_vocabulary(const sp_vector_reader *r);

/* --- writing --- */

/* A term's spelling (*n bytes), or NULL when it has none. */
typedef const char *(*sp_vector_spell)(void *context, uint32_t term, size_t *n);

typedef struct sp_vector_write_options {
  sp_vector_format format; /* AUTO: .spv compact, .csr csr, .jsonl and "-" jsonl */
  uint32_t n_terms; /* columns of csr, n_terms of compact; 0: the largest term + 1 */
  bool resumable;   /* compact only: written in place, block by block; an unfinished or
                       finished file of that name is continued. Otherwise the file appears
                       under its name when it is complete */
  sp_vector_spell spell; /* seismic, anserini; NULL, or a term without spelling: the
                            term's number */
  void *spell_context;
} sp_vector_write_options;

typedef struct sp_vector_writer sp_vector_writer;

/* `path` "-" is standard output (not for csr, nor with resumable). Errors: EINVAL, EIO,
 * ENOMEM, EFORMAT (a file to continue is not in the compact format). */
sp_err sp_vector_writer_open(const char *path, const sp_vector_write_options *options,
                             sp_vector_writer **out);

/* Vectors in the file so far: right after opening with `resumable`, those that a
 * former writer left. */
uint64_t sp_vector_writer_n_vectors(const sp_vector_writer *w);

/* Appends one sound vector. `text` may be NULL; only seismic and anserini keep it.
 * Errors: EINVAL (an id over 65,535 bytes, a vector over 2^27 entries, a term that the
 * format cannot hold), EIO, ENOMEM. */
sp_err sp_vector_writer_put(sp_vector_writer *w, const char *id, size_t id_n,
                            const sp_vec *vec, const char *text, size_t text_n);

/* With `resumable`: all that was put is on the disk when this returns. Otherwise does
 * nothing. Errors: EIO. */
sp_err sp_vector_writer_sync(sp_vector_writer *w);

/* Completes the file and frees the writer, also on failure. Errors: EIO, ENOMEM. */
sp_err sp_vector_writer_finish(sp_vector_writer *w);

/* Frees the writer without completing the file: it is removed, or with `resumable` keeps
 * its whole blocks. NULL is fine. */
void sp_vector_writer_abort(sp_vector_writer *w);

#endif
