/* encoder/encoder_ops.h - what a family of encoders fills in; private to encoder/.
 *
 * encoder/encoder.c forwards the calls of encoder/encoder.h to these. A NULL entry has the
 * default named beside it. */
#ifndef SP_ENCODER_OPS_H
#define SP_ENCODER_OPS_H

#include "encoder/encoder.h"

typedef struct sp_encoder_ops {
  char tag; /* the first byte of a saved state: 'm' a model, 'l' lexical */
  void (*free)(sp_encoder *e);
  uint32_t (*n_terms)(const sp_encoder *e);
  sp_err (*encode)(sp_encoder *e, sp_side side, const sp_text *texts, size_t n,
                   sp_vec *out);
  const char *(*term)(const sp_encoder *e, uint32_t term, size_t *n);
  sp_err (*contract)(const sp_encoder *e, json_t **out);
  sp_err (*save)(const sp_encoder *e, sp_buf *out); /* what follows the tag */

  bool (*learns)(const sp_encoder *e);                                   /* false */
  sp_err (*observe)(sp_encoder *e, const sp_vec *frequencies, int sign); /* nothing */
  void (*finish_document)(const sp_encoder *e, sp_vec *v);               /* nothing */
  bool (*query_weights)(const sp_encoder *e, float *weight);             /* false */
  uint32_t (*window)(const sp_encoder *e);                               /* 1 */
  uint32_t (*at_once)(const sp_encoder *e);                              /* 1 */
  uint32_t (*token_dim)(const sp_encoder *e);                            /* 0 */
  sp_err (*encode_tokens)(sp_encoder *e, sp_side side, const sp_text *texts, size_t n,
                          sp_vec *vectors, sp_token_rows *out); /* EINVAL */
} sp_encoder_ops;

/* The head of every family's own struct. */
struct sp_encoder {
  const sp_encoder_ops *ops;
};

/* What sp_encoder_restore() calls after the tag. `state` is borrowed for the call. */
sp_err sp_neural_restore(const char *state, size_t n, const char *model_dir,
                         const sp_encoder_options *options, sp_encoder **out);
sp_err sp_lexical_restore(const char *state, size_t n, const sp_encoder_options *options,
                          sp_encoder **out);

#endif
