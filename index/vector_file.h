/* index/vector_file.h - the compact vector file: its bytes, and reading it block by
 * block.
 *
 * For one vector after the other, or for writing, see index/vector_io.h. This is for
 * those who want blocks: a builder whose threads each take some.
 *
 * A file is a header, blocks, and an end mark. All numbers are little-endian; every part
 * begins at a multiple of 8 bytes from the start of the file. XXH3 is XXH3_64bits, seed
 * 0.
 *
 * Header, 32 bytes
 *    0  u8[8]  "SPVECTOR"
 *    8  u32    version, 1
 *   12  u32    0
 *   16  u64    0
 *   24  u64    XXH3 of bytes 0..23
 *
 * Block: a head of 40 bytes
 *    0  u8[4]  "BLOK"
 *    4  u32    flags: 1 terms are u32 (else u16); 2 weights are f32 (else f16); the rest 0
 *    8  u64    vectors in the file before this block
 *   16  u32    n_vectors, 1 .. 2^20
 *   20  u32    n_entries of all its vectors, at most 2^27
 *   24  u32    ids_bytes, at most 2^27
 *   28  u32    the largest term + 1; 0 without entries
 *   32  u64    XXH3 of the head's bytes 0..31 followed by the body
 * and a body, each part padded with zeros to a multiple of 8 bytes:
 *   u32  n_entries of each vector                     [n_vectors]
 *   u32  end of each vector's id within the ids       [n_vectors], at most 65,535 bytes each
 *   u16 or u32  terms, strictly ascending in a vector [n_entries]
 *   f16 or f32  weights, finite and > 0               [n_entries]
 *   u8   ids, in the order of the vectors, without separators  [ids_bytes]
 *
 * End mark, 40 bytes, and nothing after it
 *    0  u8[4]  "ENDS"
 *    4  u32    0
 *    8  u64    vectors in the file
 *   16  u64    entries in the file
 *   24  u32    n_terms: every term is below
 *   28  u32    0
 *   32  u64    XXH3 of bytes 0..31
 *
 * The narrow form is taken block by block where it loses nothing: u16 when every term
 * fits, f16 when every weight survives the way there and back. So weights are always
 * exactly as given.
 *
 * A file without end mark is unfinished: its whole blocks can be read, and a writer can
 * go on behind them. */
#ifndef SP_VECTOR_FILE_H
#define SP_VECTOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vec.h"

typedef struct sp_vector_file_info {
  uint64_t n_vectors, n_entries; /* of the whole blocks */
  uint64_t n_blocks;
  uint32_t n_terms; /* every term is below */
  bool finished;    /* the end mark is there */
} sp_vector_file_info;

typedef struct sp_vector_file sp_vector_file; /* immutable: threads may share one */

/* Opens a file on disk and walks over the heads of its blocks (the bodies are not read).
 * Of an unfinished file the blocks up to the first that is cut short are there. On SP_OK
 * the caller owns *out. Errors: ENOTFOUND, EIO, EFORMAT, ENOMEM. */
sp_err sp_vector_file_open(const char *path, sp_vector_file **out);
void sp_vector_file_close(sp_vector_file *f); /* NULL is fine */
const sp_vector_file_info *sp_vector_file_get_info(const sp_vector_file *f);

/* One block in memory. {0} is empty; reused from read to read. Not shared between
 * threads while it is being read. */
typedef struct sp_vector_block {
  uint64_t first;     /* number of its first vector in the file */
  uint32_t n_vectors; /* i below: 0 .. n_vectors-1 */
  uint32_t n_entries;
  uint32_t n_terms;  /* its largest term + 1 */
  uint32_t *starts;  /* [n_vectors + 1]: where each vector's entries begin */
  uint32_t *id_ends; /* [n_vectors] */
  const char *ids;   /* private from here */
  const void *terms, *weights;
  uint32_t flags;
  char *data;
  size_t data_cap, starts_cap;
} sp_vector_block;

/* Reads block 0 .. n_blocks-1 and checks all of it: what get() gives is sound.
 * Errors: EIO, ENOMEM, EFORMAT. */
sp_err sp_vector_file_read(const sp_vector_file *f, uint64_t block, sp_vector_block *b);
void sp_vector_block_free(sp_vector_block *b);

/* Copies vector i into *v. Errors: ENOMEM. */
sp_err sp_vector_block_get(const sp_vector_block *b, uint32_t i, sp_vec *v);

/* Its id, borrowed from the block, not NUL-terminated. */
const char *sp_vector_block_id(const sp_vector_block *b, uint32_t i, size_t *n);

#endif
