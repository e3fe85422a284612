/* index/vector_block.h - the parts of a compact vector file as bytes; private to
 * index/vector_file*.c. The layout stands in index/vector_file.h. */
#ifndef SP_VECTOR_BLOCK_H
#define SP_VECTOR_BLOCK_H

#include "base/buf.h"
#include "index/vector_file.h"

enum {
  SP_VF_HEADER_BYTES = 32,
  SP_VF_HEAD_BYTES = 40,   /* of a block, and the whole end mark */
  SP_VF_SUMMED_BYTES = 32, /* of a head: what its checksum covers */
  SP_VF_MAX_VECTORS = 1 << 20,
  SP_VF_MAX_ENTRIES = 1 << 27,
  SP_VF_MAX_ID_BYTES = 65535,
  SP_VF_WIDE_TERMS = 1, /* flags */
  SP_VF_WIDE_WEIGHTS = 2
};

void sp_vf_header_write(uint8_t out[SP_VF_HEADER_BYTES]);

/* Errors: EFORMAT. */
sp_err sp_vf_header_check(const uint8_t in[SP_VF_HEADER_BYTES], const char *path);

typedef struct sp_vf_head {
  bool end; /* the end mark */
  uint32_t flags;
  uint64_t first; /* end mark: all vectors */
  uint32_t n_vectors, n_entries, ids_bytes, n_terms;
  uint64_t all_entries; /* end mark only */
  uint64_t body_bytes;  /* computed; 0 for the end mark */
} sp_vf_head;

/* NULL when the head can be one, and *out is filled; else what is wrong with it, a static
 * phrase. The checksum of an end mark is checked, that of a block is not. */
const char *sp_vf_head_read(const uint8_t in[SP_VF_HEAD_BYTES], sp_vf_head *out);

void sp_vf_end_write(uint64_t n_vectors, uint64_t n_entries, uint32_t n_terms,
                     uint8_t out[SP_VF_HEAD_BYTES]);

/* b->data holds the head's first SP_VF_SUMMED_BYTES, then the body. Checks everything and
 * fills the rest of *b. *fault is NULL, or what is wrong. Errors: ENOMEM. */
sp_err sp_vf_block_settle(sp_vector_block *b, const uint8_t head[SP_VF_HEAD_BYTES],
                          const sp_vf_head *h, const char **fault);

/* Room in b->data for `n` bytes behind the head. Errors: ENOMEM. */
sp_err sp_vf_block_reserve(sp_vector_block *b, uint64_t n);

/* A block's parts as a writer collects them. */
typedef struct sp_vf_parts {
  uint64_t first;
  uint32_t n_vectors, n_entries, n_terms;
  const uint32_t *counts, *id_ends; /* [n_vectors] */
  const uint32_t *terms;            /* [n_entries] */
  const float *weights;
  const char *ids;
  uint32_t ids_bytes;
} sp_vf_parts;

/* Replaces *out by the whole block, head and body. Errors: ENOMEM. */
sp_err sp_vf_block_write(const sp_vf_parts *p, sp_buf *out);

#endif
