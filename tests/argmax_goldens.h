/* tests/argmax_goldens.h - which token of a text gave each term its weight: the positions in
 * golden/encoders/golden/bert-splade-tiny/argmax.jsonl of SPINDLE_SHARED, for both backends.
 *
 * A backend hands out vectors, not the hidden states behind them. So the model is opened with
 * the identity as its token projection: its token vectors are then, position by position and
 * untouched, what the decoder sees, and the head's own calls answer for them. */
#ifndef SP_TESTS_ARGMAX_GOLDENS_H
#define SP_TESTS_ARGMAX_GOLDENS_H

#include "encoder/backend.h"
#include "kernels/lm_head.h"
#include "tests/encoder_goldens.h"

typedef struct argmax_goldens {
  sp_model *model;
  goldens lines; /* the texts */
  json_t **want; /* [lines.n] their lines of argmax.jsonl */
  uint32_t dim, vocab;
  float *identity;           /* [dim, dim] */
  float *decoder, *bias;     /* [vocab, dim], [vocab] */
  uint32_t *ids, *positions; /* [batch.n_tokens] */
  uint32_t *starts;          /* [lines.n + 1] */
  uint32_t *first, *end;     /* [lines.n] pooled, within the text */
  sp_batch batch;            /* all texts */
} argmax_goldens;

/* Reads all; where it is not there, says so and skips the test. */
void argmax_goldens_open(argmax_goldens *a);
void argmax_goldens_close(argmax_goldens *a);

/* What the decoder sees, [batch.n_tokens, dim], through the backend; the caller frees it. */
float *argmax_goldens_states(const argmax_goldens *a, sp_backend *b);

/* Every text's pooled rows. */
sp_lm_texts argmax_goldens_texts(const argmax_goldens *a);

/* Holds a head's out and argmax, both [lines.n, vocab], to the goldens: every term of a golden
 * vector has its position, unless the second best logit is within `least_gap` or the weight so
 * small that rounding took it to 0; every weight is within `tolerance`. Prints how many were
 * as close as that. */
void argmax_goldens_expect(const argmax_goldens *a, const float *out,
                           const int32_t *argmax, double least_gap, double tolerance);

#endif
