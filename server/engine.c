/* server/engine.c - opens an index with its encoder, and searches for texts and vectors.
 */
#include "server/engine.h"

#include <stdlib.h>
#include <string.h>

struct sp_engine {
  char *name;
  sp_index *index;
  sp_snapshot *snapshot;
  sp_encoder *encoder; /* NULL: none */
};

struct sp_session {
  const sp_engine *engine;
  sp_searcher *searcher;
  sp_vec query; /* of the last text */
  sp_hit *hits; /* [hits_cap] */
  uint32_t hits_cap;
};

/* "scifact" of "indexes/scifact/"; of "." and the like, the real directory's name. */
static char *name_of(const char *path) {
  char *real = realpath(path, NULL);
  const char *from = real ? real : path;
  const char *slash = strrchr(from, '/');
  char *name = strdup(slash && slash[1] ? slash + 1 : from);
  free(real);
  if (!name) sp_fail(SP_ENOMEM, "%s: the index's name", path);
  return name;
}

static sp_err open_encoder(sp_engine *e, const char *path, const char *model,
                           const sp_encoder_options *options) {
  const sp_index_info *info = sp_snapshot_info(e->snapshot);
  if (info->encoder_state) {
    sp_err err = sp_encoder_restore(info->encoder_state, info->encoder_state_n, model,
                                    options, &e->encoder);
    if (err) return sp_err_at(err, "%s", path);
    /* An encoder that would give other vectors than the index holds must not answer. */
    return sp_encoder_check_contract(e->encoder, info->contract, path);
  }
  if (!model) return SP_OK;
  /* Vectors from a file: no contract to hold the model to, only the vocabulary's size. */
  sp_err err = sp_encoder_open(model, options, &e->encoder);
  if (err) return err;
  uint32_t n_terms = sp_encoder_n_terms(e->encoder);
  if (info->n_terms > n_terms)
    return sp_fail(SP_EINVAL, "%s: has %u terms, but %s knows only %u", path,
                   info->n_terms, model, n_terms);
  return SP_OK;
}

sp_err sp_engine_open(const char *path, const char *model,
                      const sp_encoder_options *options, sp_engine **out) {
  *out = NULL;
  sp_encoder_options defaults = sp_encoder_defaults();
  sp_engine *e = calloc(1, sizeof *e);
  if (!e) return sp_fail(SP_ENOMEM, "%s: engine", path);
  sp_err err = sp_index_open(path, &e->index);
  if (err) goto fail;
  err = sp_snapshot_open(e->index, &e->snapshot);
  if (err) goto fail;
  err = SP_ENOMEM;
  e->name = name_of(path);
  if (!e->name) goto fail;
  err = open_encoder(e, path, model, options ? options : &defaults);
  if (err) goto fail;
  *out = e;
  return SP_OK;

fail:
  sp_engine_close(e);
  return err;
}

void sp_engine_close(sp_engine *e) {
  if (!e) return;
  sp_encoder_free(e->encoder);
  sp_snapshot_close(e->snapshot);
  sp_index_close(e->index);
  free(e->name);
  free(e);
}

const char *sp_engine_name(const sp_engine *e) {
  return e->name;
}

const sp_snapshot *sp_engine_snapshot(const sp_engine *e) {
  return e->snapshot;
}

const sp_index_info *sp_engine_info(const sp_engine *e) {
  return sp_snapshot_info(e->snapshot);
}

sp_encoder *sp_engine_encoder(const sp_engine *e) {
  return e->encoder;
}

sp_err sp_session_new(const sp_engine *e, sp_session **out) {
  *out = NULL;
  sp_session *s = calloc(1, sizeof *s);
  if (!s) return sp_fail(SP_ENOMEM, "%s: session", e->name);
  s->engine = e;
  sp_err err = sp_searcher_new(e->snapshot, &s->searcher);
  if (err) {
    sp_session_free(s);
    return err;
  }
  *out = s;
  return SP_OK;
}

void sp_session_free(sp_session *s) {
  if (!s) return;
  sp_searcher_free(s->searcher);
  sp_vec_free(&s->query);
  free(s->hits);
  free(s);
}

sp_err sp_session_search_text(sp_session *s, const char *text, size_t n,
                              const sp_search_params *params, sp_result *out) {
  if (!s->engine->encoder)
    return sp_fail(SP_EINVAL,
                   "%s: was built from vectors and has no encoder: ask with a vector, or "
                   "name a model",
                   s->engine->name);
  sp_text one = {text, n};
  sp_err err = sp_encoder_encode(s->engine->encoder, SP_QUERY, &one, 1, &s->query);
  if (err) return err;
  return sp_session_search_vector(s, &s->query, params, out);
}

sp_err sp_session_search_vector(sp_session *s, const sp_vec *query,
                                const sp_search_params *params, sp_result *out) {
  if (params->k < 1 || params->k > SP_MAX_K)
    return sp_fail(SP_EINVAL, "k is %u, but must be 1 .. %d", params->k, SP_MAX_K);
  if (params->k > s->hits_cap) {
    sp_hit *hits = realloc(s->hits, params->k * sizeof *hits);
    if (!hits) return sp_fail(SP_ENOMEM, "%u hits", params->k);
    s->hits = hits;
    s->hits_cap = params->k;
  }
  *out = (sp_result){.hits = s->hits, .query = query};
  return sp_search(s->searcher, query, params, s->hits, &out->n, &out->stats);
}
