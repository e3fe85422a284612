/* encoder/lexical.h - the lexical encoder's inside; private to encoder/lexical*.c.
 *
 * BM25 as a dot product of two sparse vectors (Robertson and Zaragoza 2009, section 3): the
 * document's weight is tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length)), the
 * query's ln(1 + (N - df + 0.5) / (df + 0.5)), each distinct term once. Length is in tokens.
 */
#ifndef SP_LEXICAL_H
#define SP_LEXICAL_H

#include <pthread.h>

#include "base/pool.h"
#include "base/strmap.h"
#include "encoder/encoder_ops.h"
#include "encoder/tokenizer.h"
#include "encoder/words.h"

/* What one text needs while it is encoded. */
typedef struct sp_lexical_scratch {
  struct sp_lexical_scratch *next; /* in the list of the idle ones */
  sp_tokens tokens;
  sp_words words;
} sp_lexical_scratch;

typedef struct sp_lexical {
  sp_encoder base;
  double k1, b;
  sp_tokenizer *tokenizer; /* NULL: words */
  sp_strmap *words;        /* NULL: the tokenizer's ids */

  /* statistics of the documents counted */
  uint64_t n_docs, total_length;
  uint32_t *df; /* [df_cap] zero beyond what was counted */
  uint32_t df_cap;

  unsigned n_threads;
  sp_pool *pool;   /* made by the first batch of documents */
  sp_words *batch; /* [batch_cap] the words of a batch's texts */
  size_t batch_cap;
  pthread_mutex_t lock; /* of `idle` */
  sp_lexical_scratch *idle;
} sp_lexical;

/* An encoder without tokenizer and words, or NULL (and the failure is kept). */
sp_lexical *sp_lexical_new(double k1, double b, unsigned n_threads);

/* Room for the counts of n terms. Errors: ENOMEM. */
sp_err sp_lexical_reserve(sp_lexical *x, uint32_t n);

/* Terms are below; as sp_encoder_n_terms(). */
uint32_t sp_lexical_n_terms(const sp_lexical *x);

/* Appends what sp_lexical_restore() reads. Errors: ENOMEM. */
sp_err sp_lexical_save(const sp_encoder *e, sp_buf *out);

#endif
