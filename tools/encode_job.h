/* tools/encode_job.h - a file of texts through an encoder into a file of vectors. */
#ifndef SP_ENCODE_JOB_H
#define SP_ENCODE_JOB_H

#include "encoder/encoder.h"
#include "tools/text_lines.h"
#include "tools/vector_output.h"

typedef struct encode_job {
  sp_encoder *encoder;
  sp_side side;
  text_lines *in;
  vector_output *out;
  uint64_t n_skip; /* texts at the start that the output holds already */
} encode_job;

/* Errors: whatever reading, encoding or writing said; EINVAL for an encoder that learns
 * (lexical) with texts to skip, as its weights depend on all texts, and for fewer texts than
 * are to be skipped. */
sp_err encode_job_run(const encode_job *job);

#endif
