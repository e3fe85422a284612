/* index/format.h - every value of an index, byte by byte.
 *
 * An index is a directory with one LMDB environment (data.mdb, lock.mdb) of eight named
 * databases. All numbers are little-endian except in keys, which are big-endian so that
 * LMDB's order is theirs.
 *
 *   database   key                    value
 *   meta       "index"                sp_disk_index: version, counters, parameters
 *              "contract", "encoder"  blob: the encoder's contract (JSON), its state
 *              "dictionary" + u32     blob: a zstd dictionary, numbered from 1
 *              "building"             blob: where an unfinished build stands (build.h)
 *              "committed"            blob: the same of the last build that was finished
 *   segments   segment                sp_disk_segment
 *   deleted    segment                blob: portable roaring bitmap of deleted documents
 *   forward    segment, chunk         chunk: vectors of documents 4096 * chunk ..
 *   lists      segment, chunk         chunk: inverted lists, ascending by term
 *              segment, 0xffffffff    chunk: u64 list_at[n_terms], the lists' directory
 *   names      segment, document      chunk: external ids, from that document on
 *   documents  segment, document      chunk: stored fields, from that document on
 *   ids        segment, rank          chunk: hashes of external ids, ascending
 *
 * "segment", "chunk", "document", "rank" are u32; a document is numbered within its
 * segment, a rank is the number of hashes before. A segment's chunks may be on disk before
 * the segment is: nobody sees them until `segments` names it. A reader passes over
 * databases that it does not know.
 *
 * blob:  u64 XXH3 of the rest | the rest.
 * chunk: sp_disk_chunk, 48 bytes | payload. LMDB puts a large value 16 bytes into a page,
 *        so the payload is 64-byte aligned; values are padded to a page to be "large".
 *
 * Payloads, with their `count` in the chunk's heading:
 *
 * forward (count = documents)
 *   u32 start[count + 1]  in units of 4 bytes from `base`
 *   u16 n[count]          entries of each vector
 *   padding to 64, here is `base`; vector i at base + 4 * start[i]:
 *     terms[n] ascending, u16 or u32 | f16 weights[n] > 0 | padding to 4
 *
 * lists (count = lists), each list at a multiple of 4 from the payload:
 *   sp_disk_list, 32 bytes
 *   u32 run_start[n_runs + 1]
 *   u16 run_window[n_runs]
 *   u16 docs[n_docs]
 *   u8  codes[n_docs]  a weight over max_weight / 255, rounded up
 *
 * directory (count = n_terms): u64 list_at[n_terms]: (list chunk + 1) << 32 | offset of
 *   the list in the chunk's payload; 0: the term has no list.
 *
 * names (count = documents): u32 end[count], then the bytes of all ids side by side;
 *   id i is end[i - 1] .. end[i] of them.
 *
 * documents (count = documents): u32 end[count], u32 raw[count], then the compressed
 *   documents side by side as above; document i has raw[i] bytes of JSON, compressed by
 *   zstd with the segment's dictionary; raw[i] 0: nothing was stored, no bytes.
 *
 * ids (count = ids): u64 hash[count] ascending, u32 document[count]: XXH3 of an external
 *   id and the document that has it. Equal hashes may follow each other. */
#ifndef SP_FORMAT_H
#define SP_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "index/index.h"

enum {
  SP_FORMAT_VERSION = 2,
  SP_ID_MAX = 511,          /* bytes of an external id */
  SP_CHUNK_HEADING = 48,    /* sizeof(sp_disk_chunk) */
  SP_CHUNK_BYTES = 2 << 20, /* a chunk of lists, names or documents ends past this size */
  SP_IDS_PER_CHUNK = 1 << 17,
  SP_FIELDS_MAX = 1 << 30 /* bytes of one document's stored fields */
};

typedef enum sp_chunk_kind {
  SP_CHUNK_FORWARD = 1,
  SP_CHUNK_LISTS,
  SP_CHUNK_DIRECTORY,
  SP_CHUNK_NAMES,
  SP_CHUNK_DOCUMENTS,
  SP_CHUNK_IDS
} sp_chunk_kind;

typedef struct sp_disk_chunk {
  uint32_t magic; /* SP_CHUNK_MAGIC */
  uint16_t kind;
  uint16_t reserved;
  uint32_t segment;
  uint32_t number; /* the second half of its key */
  uint64_t payload_bytes;
  uint32_t count;
  uint32_t reserved2;
  uint64_t checksum;         /* XXH3 of the payload */
  uint64_t heading_checksum; /* XXH3 of the 40 bytes above */
} sp_disk_chunk;
#define SP_CHUNK_MAGIC 0x4b435053u /* "SPCK" */

typedef struct sp_disk_list {
  uint32_t term;
  uint32_t bytes; /* of the list with this heading, without the padding after it */
  uint32_t n_docs, n_all_docs, n_runs;
  float max_weight, max_discarded;
  uint32_t reserved;
} sp_disk_list;

typedef struct sp_disk_params {
  uint32_t n_postings, reserved;
  double max_fraction;
  uint64_t reserved2[2];
} sp_disk_params;

typedef struct sp_disk_index {
  char magic[8];    /* SP_INDEX_MAGIC */
  uint32_t version; /* magic and version keep their place for ever */
  uint32_t next_segment;
  uint32_t next_doc; /* internal ids below are or were taken */
  uint32_t next_dictionary;
  uint32_t n_terms; /* the largest of the segments' */
  uint32_t reserved[5];
  sp_disk_params params; /* of the newest build */
  uint64_t checksum;     /* XXH3 of all above */
} sp_disk_index;
#define SP_INDEX_MAGIC "spindle\n"

typedef struct sp_disk_segment {
  uint32_t id, first_doc, n_docs, n_terms;
  uint32_t term_bytes, sealed;
  uint32_t n_forward, n_lists, n_names, n_documents, n_ids; /* chunks of each kind */
  uint32_t dictionary; /* of its documents; 0: none */
  uint64_t nnz;
  uint64_t n_postings; /* in all lists, after pruning */
  uint32_t reserved[8];
  sp_disk_params params;
  uint64_t checksum; /* XXH3 of all above */
} sp_disk_segment;

_Static_assert(sizeof(sp_disk_chunk) == SP_CHUNK_HEADING, "a chunk's heading");
_Static_assert(sizeof(sp_disk_list) == 32, "a list's heading");
_Static_assert(sizeof(sp_disk_params) == 32, "parameters");
_Static_assert(sizeof(sp_disk_index) == 88, "the index's record");
_Static_assert(sizeof(sp_disk_segment) == 136, "a segment's record");

static inline size_t sp_round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

sp_disk_params sp_disk_params_of(const sp_build_params *p);
sp_build_params sp_disk_params_read(const sp_disk_params *p);

enum { SP_LIST_ALIGNMENT = 4 };

/* A list of these numbers takes this many bytes, heading included; padding excluded. */
uint64_t sp_list_bytes(const sp_disk_list *h);

/* Points into the list at `at`, of which `room` bytes may be read, after checking that
 * everything a search will follow stays inside: offsets and windows ascend, documents are
 * below n_docs and ascend, weights are finite. Returns false for a damaged list. */
bool sp_list_read(const uint8_t *at, uint64_t room, uint32_t term, uint32_t n_docs,
                  sp_list *out);

/* The same without looking: for a list that was checked before. */
void sp_list_point(const uint8_t *at, sp_list *out);

/* Appends a list: `h` tells its term, n_docs, n_all_docs and weights; docs[n_docs]
 * ascending with their weights in f16. Errors: ENOMEM, EINVAL (over 2 GiB). */
sp_err sp_list_write(const sp_disk_list *h, const uint32_t *docs, const uint16_t *weights,
                     sp_buf *out);

/* Points into a forward chunk of `count` documents, of which `bytes` may be read. False when
 * an offset leaves it, or a term of four bytes is not below n_terms (those of two bytes
 * index a table of 65,536 at worst). */
bool sp_forward_read(const uint8_t *payload, uint64_t bytes, uint32_t count,
                     uint32_t n_terms, uint32_t term_bytes, sp_forward_chunk *out);

/* The same without looking. */
sp_forward_chunk sp_forward_point(const uint8_t *payload, uint32_t count);

/* Fills in a chunk's heading for the payload that follows it. */
void sp_chunk_seal(void *value, sp_chunk_kind kind, uint32_t segment, uint32_t number,
                   uint32_t count, uint64_t payload_bytes);

/* Checks a chunk's heading against its key and size; `where` names the index. Errors:
 * EFORMAT. */
sp_err sp_chunk_open(const void *value, size_t n, sp_chunk_kind kind, uint32_t segment,
                     uint32_t number, const char *where, sp_disk_chunk *out);
sp_err sp_chunk_verify(const void *value, const char *where); /* its checksum */
const char *sp_chunk_kind_name(sp_chunk_kind kind);           /* "forward", ... */

#endif
