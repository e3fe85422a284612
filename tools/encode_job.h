/* tools/encode_job.h - a file of texts through an encoder into a file of vectors: one thread
 * reads, one writes, the caller encodes, all at once. */
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
  uint64_t n_done; /* vectors written by this job */
} encode_job;

/* Errors: whatever reading, encoding or writing said. */
sp_err encode_job_run(encode_job *job);

/* For encoders that learn (lexical): all texts are counted before the first is written. */
sp_err encode_job_run_learning(encode_job *job);

#endif
