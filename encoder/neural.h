/* encoder/neural.h - the neural family's parts; private to encoder/neural*.c.
 *
 *   neural.c          opening, the contract, the calls of encoder/encoder_ops.h
 *   neural_texts.c    a text becomes the ids that the network is given
 *   neural_batches.c  many texts become batches, and batches' results the texts' */
#ifndef SP_NEURAL_H
#define SP_NEURAL_H

#include <pthread.h>

#include "base/pool.h"
#include "encoder/backend.h"
#include "encoder/encoder_ops.h"
#include "encoder/model.h"
#include "encoder/query_table.h"
#include "encoder/tokenizer.h"

enum { NEURAL_WINDOW = 4096 }; /* most texts in a window */

/* A call with documents has two of the backend's slots, which take turns, one with queries has
 * one. So many calls run at once, the next waits. */
enum { DOCUMENT_RUNS = 2, RUN_SLOTS = 2, QUERY_RUNS = 2 };
enum {
  DOCUMENT_SLOTS = DOCUMENT_RUNS * RUN_SLOTS,
  N_SLOTS = DOCUMENT_SLOTS + QUERY_RUNS
};

/* Ids side by side, and what the batch must know of each text. */
typedef struct text_ids {
  uint32_t *ids; /* [n_ids] */
  uint32_t n_ids, cap_ids;
  struct text_range {
    uint32_t first, n;             /* its ids */
    uint32_t pool_first, pool_end; /* within them */
    uint32_t attend_end;
  } * texts; /* [n_texts] */
  uint32_t n_texts, cap_texts;
} text_ids;

/* The arrays of a batch under way, and room for its results in the batch's order. */
typedef struct slot_state {
  sp_batch batch;
  uint32_t *ids, *positions; /* [cap_tokens] */
  uint32_t cap_tokens;
  uint32_t *starts, *pool_first, *pool_end, *attend_end; /* [cap_texts (+ 1)] */
  sp_vec *vectors;                                       /* [cap_texts] */
  uint32_t cap_texts;
  float *tokens; /* [cap_rows] floats */
  size_t cap_rows;
} slot_state;

typedef struct neural {
  sp_encoder base;
  char *dir, *idf; /* absolute; idf NULL: the model's own table, if any */
  sp_model *model;
  sp_tokenizer *tokenizer, *own_query_tokenizer;
  const sp_tokenizer *query_tokenizer; /* of the table */
  sp_query_table table;                /* weights NULL: none */
  bool use_table;                      /* for queries */
  sp_backend *backend;
  sp_pool *pool; /* tokenizes documents, a window at a time */
  pthread_mutex_t pool_lock;
  uint32_t max_length; /* ids of a text */
  uint32_t top_k;      /* 0: all */
  float threshold;
  uint32_t window;       /* texts that are cut into batches together */
  uint32_t batch_tokens; /* shrinks when a batch does not fit the device */
  uint64_t model_hash;

  /* An echo's pieces around the two copies of the text; NULL without. */
  uint32_t *echo[4]; /* what stands before all, and the three literals */
  uint32_t n_echo[4];
  bool *skipped; /* [vocab] document tokens that give no vector; NULL: none */
  uint32_t mask_id;

  slot_state slots[N_SLOTS];
  pthread_mutex_t lock; /* of batch_tokens and of what follows */
  pthread_cond_t run_ended;
  bool document_run[DOCUMENT_RUNS], query_run[QUERY_RUNS]; /* true: under way */
} neural;

/* What a call wants of each text. */
typedef struct wish {
  sp_side side;
  bool tokens; /* the ids as token vectors want them, and their vectors */
  bool vectors;
} wish;

/* Appends one text's ids to `out`; `scratch` is the thread's own. Errors: ENOMEM, EINVAL. */
sp_err neural_text_ids(const neural *e, const wish *w, const sp_text *text,
                       sp_tokens *scratch, sp_buf *joined, text_ids *out);

/* Ids of a query for the table: no special tokens. Errors: ENOMEM, EINVAL. */
sp_err neural_table_query(const neural *e, const sp_text *text, sp_vec *out);

/* Prepares e->echo, e->skipped and e->mask_id. Errors: ENOMEM, EFORMAT. */
sp_err neural_prepare_texts(neural *e);
void text_ids_clear(text_ids *t); /* keeps the memory */
void text_ids_free(text_ids *t);

/* Encodes n texts through the network; vectors[n] and rows[n] as wished, else NULL. */
sp_err neural_run(neural *e, const wish *w, const sp_text *texts, size_t n,
                  sp_vec *vectors, sp_token_rows *rows);
void slot_state_free(slot_state *s);

#endif
