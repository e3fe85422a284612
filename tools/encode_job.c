/* tools/encode_job.c - from lines of text to lines of vectors. */
#include "tools/encode_job.h"

#include "base/progress.h"
#include "tools/encode_stages.h"

enum { MOST_TEXTS = 32768 };
static const size_t GOOD_BYTES = (size_t)32 << 20;

typedef struct flow {
  const encode_job *job;
  uint64_t to_skip; /* texts that the reader passes over: whole windows */
  uint64_t to_drop; /* vectors behind them that are made again, but are there already */
  sp_buf text;      /* of the current line, with its title */
  sp_progress progress;
  uint64_t n_done;
} flow;

static sp_err next(void *context, encode_record *out, bool *more) {
  flow *f = context;
  text_line line;
  sp_err err;
  do err = text_lines_next(f->job->in, &line, more);
  while (!err && *more && f->to_skip && f->to_skip--);
  if (err || !*more) return err;
  sp_buf_clear(&f->text);
  err = text_line_document(&line, &f->text);
  *out = (encode_record){.id = line.id,
                         .n_id = line.n_id,
                         .text = f->text.data,
                         .n_text = f->text.n,
                         .extra = line.id_json,
                         .n_extra = line.n_id_json};
  return err;
}

static sp_err put(void *context, const encode_record *r, const sp_vec *vector) {
  flow *f = context;
  if (f->to_drop) {
    f->to_drop--;
    return SP_OK;
  }
  const text_line line = {.id = r->id,
                          .n_id = r->n_id,
                          .id_json = r->extra,
                          .n_id_json = r->n_extra,
                          .text = r->text,
                          .n_text = r->n_text};
  sp_err err = vector_output_put(f->job->out, &line, vector);
  if (!err) sp_progress_set(&f->progress, ++f->n_done);
  return err;
}

static sp_err sync_output(void *context, const void *place, size_t n) {
  (void)place;
  (void)n;
  return vector_output_sync(((flow *)context)->job->out);
}

static sp_err run_stages(flow *f) {
  const encode_stages stages = {.encoder = f->job->encoder,
                                .side = f->job->side,
                                .most_texts = MOST_TEXTS,
                                .good_bytes = GOOD_BYTES,
                                .context = f,
                                .next = next,
                                .put = put,
                                .put_place = sync_output};
  return encode_stages_run(&stages);
}

/* All texts are counted before the first is written, so all are kept in memory. */
static sp_err run_learning(flow *f, encode_chunk *c) {
  sp_encoder *e = f->job->encoder;
  sp_err err = SP_OK;
  for (bool more = true; !err;) {
    encode_record record;
    err = next(f, &record, &more);
    if (!more) break;
    if (!err) err = encode_chunk_add(c, &record);
  }
  encode_chunk_seal(c);
  for (size_t i = 0; i < c->n && !err; i++) {
    err = sp_encoder_encode(e, f->job->side, &c->texts[i], 1, &c->vectors[i]);
    if (!err) err = sp_encoder_observe(e, &c->vectors[i], 1);
  }
  for (size_t i = 0; i < c->n && !err; i++) {
    sp_encoder_finish_document(e, &c->vectors[i]);
    encode_record record = encode_chunk_at(c, i);
    err = put(f, &record, &c->vectors[i]);
  }
  return err;
}

sp_err encode_job_run(const encode_job *job) {
  bool learns = sp_encoder_learns(job->encoder);
  if (learns && job->n_skip)
    return sp_fail(SP_EINVAL, "a lexical encoding cannot be resumed");
  uint64_t n_drop = job->n_skip % sp_encoder_window(job->encoder);
  flow f = {.job = job,
            .to_skip = job->n_skip - n_drop,
            .to_drop = n_drop,
            .n_done = job->n_skip};
  encode_chunk all = {0};
  sp_progress_begin(&f.progress, stderr, "texts", job->n_skip, 0);
  sp_err err = learns ? run_learning(&f, &all) : run_stages(&f);
  if (!err && (f.to_skip || f.to_drop))
    err = sp_fail(SP_EINVAL,
                  "%s: the output holds %llu vectors, of more texts than are here",
                  job->in->in.name, (unsigned long long)job->n_skip);
  if (!err) sp_progress_end(&f.progress);
  encode_chunk_free(&all);
  sp_buf_free(&f.text);
  return err;
}
