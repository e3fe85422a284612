/* encoder/query_table.h - inference-free queries: a weight for each token, no network. */
#ifndef SP_QUERY_TABLE_H
#define SP_QUERY_TABLE_H

#include "base/vec.h"
#include "encoder/model.h"
#include "encoder/tokenizer.h"

typedef struct sp_query_table {
  float *weights; /* [n_terms]; 0: the token counts for nothing */
  uint32_t n_terms;
  uint64_t hash; /* of the weights */
} sp_query_table;

/* From a SparseStaticEmbedding's tensor. Errors: ENOMEM, EFORMAT (a weight that is not
 * finite). Each ends with sp_query_table_free(). */
sp_err sp_query_table_from_matrix(const sp_matrix *m, const char *where,
                                  sp_query_table *out);

/* From a file of tokens and weights: a JSON object {"token": weight} (idf.json), or lines
 * "token<TAB or space>weight" (query_token_weights.txt). Tokens that are not named weigh 0;
 * names that are no token are passed over. Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT. */
sp_err sp_query_table_load(const char *path, const sp_tokenizer *tokenizer,
                           uint32_t n_terms, sp_query_table *out);
void sp_query_table_free(sp_query_table *t);

/* Every distinct id once, with its weight where that is > 0. ids[n] is sorted in place.
 * Errors: ENOMEM. */
sp_err sp_query_table_apply(const sp_query_table *t, uint32_t *ids, uint32_t n,
                            sp_vec *out);

#endif
