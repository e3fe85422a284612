/* server/service.c - the table of indexes and the stack of workspaces. */
#include "server/service.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct sp_service {
  const char *version;
  size_t n_indexes;
  const sp_engine **engines; /* [n_indexes] */
  json_t **contracts;        /* [n_indexes], NULL where there is no encoder */
  pthread_mutex_t lock;
  pthread_cond_t given;
  sp_workspace *free_ones; /* a stack: the one used last has the warmest memory */
};

static void workspace_free(sp_workspace *w, size_t n_indexes) {
  if (!w) return;
  for (size_t i = 0; w->sessions && i < n_indexes; i++) sp_session_free(w->sessions[i]);
  free(w->sessions);
  sp_buf_free(&w->fields);
  free(w);
}

static sp_err workspace_new(const sp_service *s, sp_workspace **out) {
  sp_workspace *w = calloc(1, sizeof *w);
  if (w) w->sessions = calloc(s->n_indexes, sizeof *w->sessions);
  sp_err err =
      w && w->sessions ? SP_OK : sp_fail(SP_ENOMEM, "out of memory for a thread");
  for (size_t i = 0; i < s->n_indexes && !err; i++)
    err = sp_session_new(s->engines[i], &w->sessions[i]);
  if (err) {
    workspace_free(w, s->n_indexes);
    return err;
  }
  *out = w;
  return SP_OK;
}

/* Index i joins the table. */
static sp_err add_index(sp_service *s, size_t i, const sp_engine *engine) {
  const char *name = sp_engine_name(engine);
  for (size_t j = 0; j < i; j++)
    if (strcmp(name, sp_engine_name(s->engines[j])) == 0)
      return sp_fail(SP_EINVAL, "two indexes have the name \"%s\"", name);
  s->engines[i] = engine;
  sp_encoder *encoder = sp_engine_encoder(engine);
  return encoder ? sp_encoder_contract(encoder, &s->contracts[i]) : SP_OK;
}

sp_err sp_service_new(sp_engine *const *engines, size_t n, unsigned n_threads,
                      const char *version, sp_service **out) {
  *out = NULL;
  sp_service *s = calloc(1, sizeof *s);
  if (!s) return sp_fail(SP_ENOMEM, "out of memory for the service");
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->given, NULL);
  s->version = version;
  s->n_indexes = n;
  s->engines = calloc(n, sizeof *s->engines);
  s->contracts = calloc(n, sizeof *s->contracts);
  sp_err err = s->engines && s->contracts
                   ? SP_OK
                   : sp_fail(SP_ENOMEM, "out of memory for the service");
  for (size_t i = 0; i < n && !err; i++) err = add_index(s, i, engines[i]);
  for (unsigned t = 0; t < n_threads && !err; t++) {
    sp_workspace *w;
    err = workspace_new(s, &w);
    if (!err) sp_service_give(s, w);
  }
  if (err) {
    sp_service_free(s);
    return err;
  }
  *out = s;
  return SP_OK;
}

void sp_service_free(sp_service *s) {
  if (!s) return;
  while (s->free_ones) {
    sp_workspace *w = s->free_ones;
    s->free_ones = w->next;
    workspace_free(w, s->n_indexes);
  }
  for (size_t i = 0; s->contracts && i < s->n_indexes; i++) json_decref(s->contracts[i]);
  free(s->contracts);
  free(s->engines);
  pthread_cond_destroy(&s->given);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

const char *sp_service_version(const sp_service *s) {
  return s->version;
}

size_t sp_service_n_indexes(const sp_service *s) {
  return s->n_indexes;
}

const sp_engine *sp_service_engine(const sp_service *s, size_t i) {
  return s->engines[i];
}

const json_t *sp_service_contract(const sp_service *s, size_t i) {
  return s->contracts[i];
}

size_t sp_service_find(const sp_service *s, const char *name, size_t name_n) {
  for (size_t i = 0; i < s->n_indexes; i++) {
    const char *other = sp_engine_name(s->engines[i]);
    if (strlen(other) == name_n && memcmp(other, name, name_n) == 0) return i;
  }
  return s->n_indexes;
}

sp_workspace *sp_service_take(sp_service *s) {
  pthread_mutex_lock(&s->lock);
  while (!s->free_ones) pthread_cond_wait(&s->given, &s->lock);
  sp_workspace *w = s->free_ones;
  s->free_ones = w->next;
  pthread_mutex_unlock(&s->lock);
  return w;
}

void sp_service_give(sp_service *s, sp_workspace *w) {
  pthread_mutex_lock(&s->lock);
  w->next = s->free_ones;
  s->free_ones = w;
  pthread_cond_signal(&s->given);
  pthread_mutex_unlock(&s->lock);
}
