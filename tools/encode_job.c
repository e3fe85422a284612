/* tools/encode_job.c - three stages and a ring of chunks between them. */
#include "tools/encode_job.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/progress.h"

/* Chunks begin small, so that the first vectors come soon, and grow until one takes about
 * two seconds: large enough to keep a device busy, small enough to lose little in a crash.
 * They are whole windows of the encoder's, so how they grew shows in no vector, nor where an
 * earlier run ended: it is gone on with from the last window that it finished. */
enum { N_CHUNKS = 3, FIRST_TEXTS = 256, MOST_TEXTS = 32768 };
static const size_t GOOD_BYTES = (size_t)32 << 20, MOST_BYTES = (size_t)128 << 20;
static const double GOOD_SECONDS = 2;

typedef enum chunk_state { EMPTY, READ, ENCODED } chunk_state;

typedef struct chunk {
  chunk_state state;
  sp_buf bytes; /* per text: its id as JSON, its id, its text */
  struct place {
    size_t at, n_id_json, n_id, n_text;
  } * places;      /* [cap] */
  sp_text *texts;  /* [cap] */
  sp_vec *vectors; /* [cap] */
  size_t n, cap;
  bool last;
} chunk;

typedef struct stages {
  encode_job *job;
  chunk chunks[N_CHUNKS];
  pthread_mutex_t lock;
  pthread_cond_t moved; /* a chunk changed its state, or err was set */
  size_t wanted;        /* texts in the next chunk */
  uint64_t window;      /* of the encoder: chunks are multiples of it */
  uint64_t to_skip;     /* the reader's own count */
  uint64_t to_drop;     /* the writer's own: encoded again, but there already */
  sp_err err;
  char message[1024];
} stages;

/* The first failure counts and stops all stages. */
static void give_up(stages *s, sp_err err) {
  pthread_mutex_lock(&s->lock);
  if (!s->err) {
    s->err = err;
    strncpy(s->message, sp_err_message(), sizeof s->message - 1);
  }
  pthread_cond_broadcast(&s->moved);
  pthread_mutex_unlock(&s->lock);
}

/* Waits until chunk `i` is in the state; NULL after a failure. */
static chunk *await(stages *s, size_t i, chunk_state state) {
  chunk *c = &s->chunks[i % N_CHUNKS];
  pthread_mutex_lock(&s->lock);
  while (c->state != state && !s->err) pthread_cond_wait(&s->moved, &s->lock);
  bool failed = s->err;
  pthread_mutex_unlock(&s->lock);
  return failed ? NULL : c;
}

static void hand_on(stages *s, chunk *c, chunk_state state) {
  pthread_mutex_lock(&s->lock);
  c->state = state;
  pthread_cond_broadcast(&s->moved);
  pthread_mutex_unlock(&s->lock);
}

static sp_err grow_chunk(chunk *c) {
  size_t cap = c->cap ? c->cap * 2 : 256;
  void *places = realloc(c->places, cap * sizeof *c->places);
  if (places) c->places = places;
  void *texts = realloc(c->texts, cap * sizeof *c->texts);
  if (texts) c->texts = texts;
  void *vectors = realloc(c->vectors, cap * sizeof *c->vectors);
  if (vectors) c->vectors = vectors;
  if (!places || !texts || !vectors) return sp_fail(SP_ENOMEM, "texts: out of memory");
  memset(c->vectors + c->cap, 0, (cap - c->cap) * sizeof *c->vectors);
  c->cap = cap;
  return SP_OK;
}

static sp_err add_text(chunk *c, const text_line *l) {
  sp_err err = c->n == c->cap ? grow_chunk(c) : SP_OK;
  if (err) return err;
  struct place *p = &c->places[c->n];
  *p = (struct place){c->bytes.n, l->n_id_json, l->n_id, 0};
  err = sp_buf_append(&c->bytes, l->id_json, l->n_id_json);
  if (!err) err = sp_buf_append(&c->bytes, l->id, l->n_id);
  size_t begin = c->bytes.n;
  if (!err) err = text_line_document(l, &c->bytes);
  p->n_text = c->bytes.n - begin;
  if (!err) c->n++;
  return err;
}

static text_line line_at(const chunk *c, size_t i) {
  const struct place *p = &c->places[i];
  const char *at = c->bytes.data + p->at;
  return (text_line){.id_json = at,
                     .n_id_json = p->n_id_json,
                     .id = at + p->n_id_json,
                     .n_id = p->n_id,
                     .text = at + p->n_id_json + p->n_id,
                     .n_text = p->n_text};
}

/* Enough bytes: at a window's end, unless the window is too large for that. */
static bool is_full(const stages *s, const chunk *c) {
  return c->bytes.n >= (c->n % s->window == 0 ? GOOD_BYTES : MOST_BYTES);
}

/* Fills the chunk with the next texts; the texts point into its bytes. */
static sp_err fill(stages *s, chunk *c, size_t wanted) {
  c->n = 0;
  c->last = false;
  sp_buf_clear(&c->bytes);
  while (c->n < wanted && !is_full(s, c)) {
    text_line line;
    bool more;
    sp_err err = text_lines_next(s->job->in, &line, &more);
    if (!err && more && s->to_skip) {
      s->to_skip--;
      continue;
    }
    if (!err && more) err = add_text(c, &line);
    if (err) return err;
    if (!more) {
      c->last = true;
      break;
    }
  }
  for (size_t i = 0; i < c->n; i++) {
    text_line line = line_at(c, i);
    c->texts[i] = (sp_text){line.text, line.n_text};
  }
  return SP_OK;
}

static void *reader(void *arg) {
  stages *s = arg;
  for (size_t i = 0;; i++) {
    chunk *c = await(s, i, EMPTY);
    if (!c) break;
    pthread_mutex_lock(&s->lock);
    size_t wanted = s->wanted;
    pthread_mutex_unlock(&s->lock);
    sp_err err = fill(s, c, wanted);
    if (err) {
      give_up(s, err);
      break;
    }
    bool last = c->last;
    hand_on(s, c, READ);
    if (last) break;
  }
  return NULL;
}

static sp_err write_chunk(encode_job *job, const chunk *c, uint64_t *to_drop,
                          sp_progress *progress) {
  for (size_t i = 0; i < c->n; i++) {
    if (*to_drop) {
      --*to_drop;
      continue;
    }
    text_line line = line_at(c, i);
    sp_err err = vector_output_put(job->out, &line, &c->vectors[i]);
    if (err) return err;
    sp_progress_set(progress, progress->base + ++job->n_done);
  }
  return vector_output_sync(job->out);
}

static void *writer(void *arg) {
  stages *s = arg;
  sp_progress progress;
  sp_progress_begin(&progress, stderr, "texts", s->job->n_skip, 0);
  for (size_t i = 0;; i++) {
    chunk *c = await(s, i, ENCODED);
    if (!c) break;
    sp_err err = write_chunk(s->job, c, &s->to_drop, &progress);
    if (err) {
      give_up(s, err);
      break;
    }
    bool last = c->last;
    hand_on(s, c, EMPTY);
    if (last) break;
  }
  sp_progress_end(&progress);
  return NULL;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void encode_all(stages *s) {
  for (size_t i = 0;; i++) {
    chunk *c = await(s, i, READ);
    if (!c) return;
    double began = now_s();
    sp_err err =
        sp_encoder_encode(s->job->encoder, s->job->side, c->texts, c->n, c->vectors);
    if (err) {
      give_up(s, err);
      return;
    }
    pthread_mutex_lock(&s->lock);
    if (now_s() - began < GOOD_SECONDS && s->wanted < MOST_TEXTS) s->wanted *= 2;
    pthread_mutex_unlock(&s->lock);
    bool last = c->last;
    hand_on(s, c, ENCODED);
    if (last) return;
  }
}

static void free_chunk(chunk *c) {
  for (size_t i = 0; i < c->cap; i++) sp_vec_free(&c->vectors[i]);
  free(c->vectors);
  free(c->texts);
  free(c->places);
  sp_buf_free(&c->bytes);
}

sp_err encode_job_run(encode_job *job) {
  const uint64_t window = sp_encoder_window(job->encoder);
  stages s = {.job = job,
              .window = window,
              .wanted = (FIRST_TEXTS + window - 1) / window * window,
              .to_skip = job->n_skip / window * window,
              .to_drop = job->n_skip % window};
  pthread_mutex_init(&s.lock, NULL);
  pthread_cond_init(&s.moved, NULL);
  pthread_t threads[2];
  int no_writer = pthread_create(&threads[0], NULL, writer, &s);
  int no_reader = no_writer ? no_writer : pthread_create(&threads[1], NULL, reader, &s);
  if (no_reader)
    give_up(&s, sp_fail_errno(no_reader, "cannot start a thread"));
  else
    encode_all(&s);
  if (!no_reader) pthread_join(threads[1], NULL);
  if (!no_writer) pthread_join(threads[0], NULL);
  for (int i = 0; i < N_CHUNKS; i++) free_chunk(&s.chunks[i]);
  pthread_mutex_destroy(&s.lock);
  pthread_cond_destroy(&s.moved);
  return s.err ? sp_fail(s.err, "%s", s.message) : SP_OK;
}

sp_err encode_job_run_learning(encode_job *job) {
  if (job->n_skip) return sp_fail(SP_EINVAL, "a lexical encoding cannot be resumed");
  chunk c = {0};
  sp_progress progress;
  sp_progress_begin(&progress, stderr, "texts", 0, 0);
  sp_err err = SP_OK;
  /* One chunk holds all, bytes included: the statistics need every text first. */
  while (!err) {
    text_line line;
    bool more;
    err = text_lines_next(job->in, &line, &more);
    if (err || !more) break;
    err = add_text(&c, &line);
  }
  for (size_t i = 0; i < c.n && !err; i++) {
    text_line line = line_at(&c, i);
    c.texts[i] = (sp_text){line.text, line.n_text};
    err = sp_encoder_encode(job->encoder, job->side, &c.texts[i], 1, &c.vectors[i]);
    if (!err) err = sp_encoder_observe(job->encoder, &c.vectors[i], 1);
  }
  for (size_t i = 0; i < c.n && !err; i++)
    sp_encoder_finish_document(job->encoder, &c.vectors[i]);
  uint64_t to_drop = 0;
  if (!err) err = write_chunk(job, &c, &to_drop, &progress);
  sp_progress_end(&progress);
  free_chunk(&c);
  return err;
}
