/* tools/index_corpus.c - documents read, encoded and added in batches. */
#include "tools/index_corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/progress.h"

enum { BATCH_DOCS = 256, BATCH_BYTES = 1 << 20 }; /* whichever is reached first */

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

/* Where a document's parts lie in the batch's bytes. */
typedef struct part {
  size_t id, id_n, text, text_n, fields, fields_n;
} part;

typedef struct batch {
  size_t n;
  sp_buf bytes;
  part parts[BATCH_DOCS];
  sp_text texts[BATCH_DOCS];
  sp_vec vecs[BATCH_DOCS];
} batch;

static void batch_free(batch *k) {
  if (!k) return;
  for (size_t i = 0; i < BATCH_DOCS; i++) sp_vec_free(&k->vecs[i]);
  sp_buf_free(&k->bytes);
  free(k);
}

static sp_err keep(batch *k, const sp_corpus_doc *d) {
  size_t at = k->bytes.n;
  k->parts[k->n++] =
      (part){at, d->id_n, at + d->id_n, d->text_n, at + d->id_n + d->text_n, d->fields_n};
  sp_err err = sp_buf_append(&k->bytes, d->id, d->id_n);
  if (!err) err = sp_buf_append(&k->bytes, d->text, d->text_n);
  return err ? err : sp_buf_append(&k->bytes, d->fields, d->fields_n);
}

static sp_err read_batch(sp_corpus *c, batch *k, bool *more) {
  k->n = 0;
  sp_buf_clear(&k->bytes);
  while (k->n < BATCH_DOCS && k->bytes.n < BATCH_BYTES) {
    sp_corpus_doc d;
    sp_err err = sp_corpus_next(c, &d, more);
    if (err || !*more) return err;
    err = keep(k, &d);
    if (err) return err;
  }
  return SP_OK;
}

static sp_err add_batch(sp_builder *b, sp_encoder *e, batch *k) {
  for (size_t i = 0; i < k->n; i++)
    k->texts[i] = (sp_text){k->bytes.data + k->parts[i].text, k->parts[i].text_n};
  sp_err err = sp_encoder_encode(e, SP_DOCUMENT, k->texts, k->n, k->vecs);
  for (size_t i = 0; i < k->n && !err; i++) {
    const part *p = &k->parts[i];
    err = sp_builder_add(b, k->bytes.data + p->id, p->id_n, &k->vecs[i],
                         k->bytes.data + p->fields, p->fields_n);
  }
  return err;
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
  batch *k = calloc(1, sizeof *k);
  if (!k) return sp_fail(SP_ENOMEM, "no memory for a batch of documents");
  uint64_t n_docs = sp_builder_start(b)->n_docs;
  sp_progress p;
  sp_progress_begin(&p, progress, "documents encoded", n_docs, 0);
  for (bool more = true; more && !err;) {
    err = read_batch(c, k, &more);
    if (!err && k->n) err = add_batch(b, e, k);
    if (!err) err = sp_builder_checkpoint(b, sp_corpus_tell(c), sizeof(sp_corpus_place));
    if (!err) sp_progress_set(&p, n_docs += k->n);
  }
  if (!err) sp_progress_end(&p);
  batch_free(k);
  return err;
}
