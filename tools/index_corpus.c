/* tools/index_corpus.c - documents read, encoded and added in batches. */
#include "tools/index_corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "tools/encode_stages.h"

/* Of documents that are encoded at once: enough to fill a GPU, and little memory. */
enum { MOST_TEXTS = 8192, GOOD_BYTES = 8 << 20 };
_Static_assert(sizeof(sp_corpus_place) <= ENCODE_PLACE_BYTES, "a place in a corpus fits");

/* --- the builder's hooks --- */

static sp_err observe(void *e, const sp_vec *v) {
  return sp_encoder_observe(e, v, 1);
}

static void finish(void *e, sp_vec *v) {
  sp_encoder_finish_document(e, v);
}

static bool query_weights(void *e, float *weight, uint32_t n_terms) {
  return n_terms >= sp_encoder_n_terms(e) && sp_encoder_query_weights(e, weight);
}

static uint32_t n_terms(void *e) {
  return sp_encoder_n_terms(e);
}

static sp_err save(void *e, sp_buf *out) {
  return sp_encoder_save(e, out);
}

static sp_err put_contract(void *e, sp_buf *out) {
  json_t *contract;
  sp_err err = sp_encoder_contract(e, &contract);
  if (err) return err;
  char *text = json_dumps(contract, JSON_SORT_KEYS);
  json_decref(contract);
  err =
      text ? sp_buf_append_str(out, text) : sp_fail(SP_ENOMEM, "the contract: no memory");
  free(text);
  return err;
}

/* --- the encoder --- */

sp_err sp_corpus_encoder_open(const sp_corpus_encoder *how, sp_buf *source,
                              sp_encoder **out) {
  sp_err err = how->model ? sp_encoder_open(how->model, &how->options, out)
                          : sp_encoder_open_lexical(&how->lexical, out);
  if (err) return err;
  err = put_contract(*out, source);
  if (!err) return SP_OK;
  sp_encoder_free(*out);
  *out = NULL;
  return err;
}

sp_err sp_corpus_encoder_attach(sp_builder *b, const sp_corpus_encoder *how,
                                const char *path, sp_encoder **e) {
  const sp_build_start *start = sp_builder_start(b);
  sp_err err =
      start->contract ? sp_encoder_check_contract(*e, start->contract, path) : SP_OK;
  if (!err && start->encoder_state_n && sp_encoder_learns(*e)) {
    sp_encoder *restored;
    err = sp_encoder_restore(start->encoder_state, start->encoder_state_n, how->model,
                             &how->options, &restored);
    if (!err) {
      sp_encoder_free(*e);
      *e = restored;
    }
  }
  if (err) return err;
  bool learns = sp_encoder_learns(*e); /* else a pass over all documents is saved */
  const sp_build_hooks hooks = {.arg = *e,
                                .observe = learns ? observe : NULL,
                                .finish = learns ? finish : NULL,
                                .query_weights = query_weights,
                                .n_terms = n_terms,
                                .save = save,
                                .contract = put_contract};
  sp_builder_attach(b, &hooks);
  return SP_OK;
}

/* --- the documents --- */

typedef struct flow {
  sp_corpus *corpus;
  sp_builder *builder;
  sp_progress progress;
  uint64_t n_docs;
} flow;

static sp_err next(void *context, encode_record *out, bool *more) {
  sp_corpus_doc d;
  sp_err err = sp_corpus_next(((flow *)context)->corpus, &d, more);
  if (!err && *more)
    *out = (encode_record){d.id, d.id_n, d.text, d.text_n, d.fields, d.fields_n};
  return err;
}

static size_t place(void *context, void *out) {
  memcpy(out, sp_corpus_tell(((flow *)context)->corpus), sizeof(sp_corpus_place));
  return sizeof(sp_corpus_place);
}

static sp_err put(void *context, const encode_record *r, const sp_vec *vector) {
  flow *f = context;
  sp_err err = sp_builder_add(f->builder, r->id, r->n_id, vector, r->extra, r->n_extra);
  if (!err) sp_progress_set(&f->progress, ++f->n_docs);
  return err;
}

static sp_err put_place(void *context, const void *at, size_t n) {
  return sp_builder_checkpoint(((flow *)context)->builder, at, n);
}

/* Goes to where the builder's last checkpoint was written. */
static sp_err take_up(const sp_builder *b, sp_corpus *c) {
  const sp_build_start *start = sp_builder_start(b);
  sp_corpus_place place;
  if (!start->position_n) return SP_OK;
  if (start->position_n != sizeof place)
    return sp_fail(SP_EFORMAT, "the checkpoint holds no place in a corpus");
  memcpy(&place, start->position, sizeof place);
  return sp_corpus_seek(c, &place);
}

sp_err sp_corpus_add(sp_builder *b, sp_corpus *c, sp_encoder *e, FILE *progress) {
  if (sp_builder_start(b)->complete) return SP_OK;
  sp_err err = take_up(b, c);
  if (err) return err;
  flow f = {.corpus = c, .builder = b, .n_docs = sp_builder_start(b)->n_docs};
  const encode_stages stages = {.encoder = e,
                                .side = SP_DOCUMENT,
                                .most_texts = MOST_TEXTS,
                                .good_bytes = GOOD_BYTES,
                                .in_turn = sp_encoder_learns(e), /* from what is added */
                                .context = &f,
                                .next = next,
                                .place = place,
                                .put = put,
                                .put_place = put_place};
  sp_progress_begin(&f.progress, progress, "documents encoded", f.n_docs, 0);
  err = encode_stages_run(&stages);
  if (!err) sp_progress_end(&f.progress);
  return err;
}
