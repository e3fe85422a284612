/* encoder/encoder.h - a text becomes a sparse vector: the one interface of all families.
 *
 * An encoder has two sides. Documents and queries may be encoded alike (SPLADE) or not
 * (inference-free: the query is a table look-up; lexical: impacts against IDF). */
#ifndef SP_ENCODER_H
#define SP_ENCODER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/vec.h"

typedef struct sp_encoder sp_encoder;

typedef enum sp_side { SP_DOCUMENT, SP_QUERY } sp_side;

/* UTF-8; invalid bytes count as U+FFFD. Borrowed. */
typedef struct sp_text {
  const char *data;
  size_t n;
} sp_text;

typedef struct sp_encoder_options {
  const char *device; /* "auto", "cpu" or "cuda" */
  /* CPU: "f32", or "int8": layers of 14- to 16-bit whole numbers, a decoder whose 8-bit copy
   * finds the terms that float32 then weighs: within 1 % of f32 and about twice as fast.
   * CUDA: "f16", or "bf16", which has float32's range and an eighth of f16's exactness.
   * "auto": f32 on the CPU; f16 on a GPU, or bf16 where a weight is beyond f16's range. */
  const char *precision;
  unsigned n_threads;    /* 0: one for each processor */
  uint32_t batch_tokens; /* most tokens in one forward pass; 0: chosen */
  uint32_t max_length;   /* cut texts to this many tokens; 0: the model's own limit */
  uint32_t top_k;        /* keep the k largest weights; 0: as the model ships it */
  float threshold;       /* drop weights below; 0: none */
  bool neural_queries;   /* queries go through the network, also where there is a table */
  const char *idf;       /* an idf.json to use as the query table; NULL: the model's */
} sp_encoder_options;
sp_encoder_options sp_encoder_defaults(void);

/* Opens a model directory as hubs ship it. On SP_OK the caller owns *out.
 * Errors: ENOTFOUND, EFORMAT, EIO, ENOMEM, ECUDA, EINVAL (an option does not fit). */
sp_err sp_encoder_open(const char *dir, const sp_encoder_options *options,
                       sp_encoder **out);

typedef struct sp_lexical_options {
  const char *tokenizer; /* tokenizer.json or vocab.txt: terms are its ids; NULL: Unicode
                            words, with a vocabulary that grows with the documents */
  double k1, b;          /* BM25; 0.9 and 0.4 by default */
  unsigned n_threads;
} sp_lexical_options;
sp_err sp_encoder_open_lexical(const sp_lexical_options *options, sp_encoder **out);

/* Opens the encoder an index was built with, from what sp_encoder_save() wrote into it.
 * `model_dir` replaces the directory kept there (NULL: that one). Errors: as open. */
sp_err sp_encoder_restore(const void *state, size_t n, const char *model_dir,
                          const sp_encoder_options *options, sp_encoder **out);

/* Appends everything needed to restore it: statistics, vocabulary and tokenizer of a
 * lexical encoder; the absolute directory of a model. Errors: ENOMEM. */
sp_err sp_encoder_save(const sp_encoder *e, sp_buf *out);
void sp_encoder_free(sp_encoder *e); /* NULL is fine */

/* Terms are 0 .. n_terms-1. Grows while a lexical encoder over words sees documents. */
uint32_t sp_encoder_n_terms(const sp_encoder *e);

/* Encodes n texts into out[n] ({0} or reused; the caller frees them). A document's vector
 * is final only after sp_encoder_finish_document(). The same text gives the same vector
 * whatever stands beside it, to within the rounding of another order of summation (see
 * sp_encoder_window()). Threads: sp_encoder_at_once() calls with documents at once, any
 * number with queries. Errors: ENOMEM, ECUDA, EINVAL. */
sp_err sp_encoder_encode(sp_encoder *e, sp_side side, const sp_text *texts, size_t n,
                         sp_vec *out);

/* Batches are cut within windows of this many texts, counted from a call's first. So a
 * collection's vectors are the same to the last bit however it is divided into calls, as
 * long as each call but the last takes a multiple of this. Only a device that runs out of
 * memory, where batches become smaller, is an exception. */
uint32_t sp_encoder_window(const sp_encoder *e);

/* Calls with documents that may be made at once, each from its own thread, and that keep the
 * device busy: 2 where it can work for one while the other cuts and tokenizes, else 1. */
uint32_t sp_encoder_at_once(const sp_encoder *e);

/* Lexical weights depend on the whole collection: encode gives a document's term
 * frequencies, observe counts it into the statistics (sign +1) or out of them (-1), and
 * finish turns frequencies into BM25 impacts once all are counted. For other families
 * encode is all and these do nothing. */
bool sp_encoder_learns(const sp_encoder *e);
sp_err sp_encoder_observe(sp_encoder *e, const sp_vec *frequencies, int sign);
void sp_encoder_finish_document(const sp_encoder *e, sp_vec *v);

/* Where a query's weights come from a table (IDF, learned), writes weight[n_terms] and
 * returns true: an index builder may lean on it. Otherwise false. */
bool sp_encoder_query_weights(const sp_encoder *e, float *weight);

/* Token vectors of one text (ColBERT): a row for each token that gives one. {0} is empty;
 * reused from call to call; ended by sp_token_rows_free(). */
typedef struct sp_token_rows {
  float *rows;   /* [n, dim], of length 1 where the model normalises them */
  uint32_t *ids; /* [n] the tokens, for sp_encoder_term() */
  uint32_t n, cap;
} sp_token_rows;
void sp_token_rows_free(sp_token_rows *r);

/* The width of token vectors, or 0 where the model has none. */
uint32_t sp_encoder_token_dim(const sp_encoder *e);

/* Token vectors of n texts into out[n], and in the same pass their sparse vectors into
 * vectors[n] (NULL: not wanted). Queries go through the network here even where a table
 * gives their sparse vector; `vectors` then are the table's. Threads as
 * sp_encoder_encode(). Errors: EINVAL (no such vectors in this model), ENOMEM, ECUDA. */
sp_err sp_encoder_encode_tokens(sp_encoder *e, sp_side side, const sp_text *texts,
                                size_t n, sp_vec *vectors, sp_token_rows *out);

/* The term's spelling for people; borrowed from `e` until the next document; NULL: none.
 */
const char *sp_encoder_term(const sp_encoder *e, uint32_t term, size_t *n);

/* The contract: a flat JSON object of everything that decides the vectors (family, hashes
 * of weights, tokenizer and query table, n_terms, pooling, activation, max_length,
 * prompts, k1, b ...). *out is the caller's. Errors: ENOMEM. */
sp_err sp_encoder_contract(const sp_encoder *e, json_t **out);

/* SP_OK when equal; else EINVAL with a sentence that names the first field that differs
 * and both values. `where` names the index. */
sp_err sp_contract_compare(const json_t *stored, const json_t *given, const char *where);

/* The same for an encoder and the contract that an index stored as JSON text. Errors: those of
 * sp_encoder_contract() and sp_contract_compare(); EFORMAT when the text is not JSON. */
sp_err sp_encoder_check_contract(const sp_encoder *e, const char *stored,
                                 const char *where);

#endif
