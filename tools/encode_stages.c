/* tools/encode_stages.c - three stages and a ring of chunks between them. */
#include "tools/encode_stages.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

/* Chunks begin small, so that the first vectors come soon, and grow until one takes about
 * two seconds: large enough to keep a device busy, small enough to lose little in a crash. */
enum { N_CHUNKS = 3, FIRST_TEXTS = 256 };
static const double GOOD_SECONDS = 2;

typedef enum slot_state { EMPTY, READ, ENCODED } slot_state;

typedef struct slot {
  slot_state state;
  encode_chunk chunk;
  char place[ENCODE_PLACE_BYTES];
  size_t n_place;
  bool last;
} slot;

typedef struct ring {
  const encode_stages *stages;
  slot slots[N_CHUNKS];
  pthread_mutex_t lock;
  pthread_cond_t moved; /* a slot changed its state, or err was set */
  size_t wanted;        /* texts in the next chunk */
  sp_err err;
  char message[1024];
} ring;

/* --- the stages' work on one slot --- */

/* Enough bytes: at a window's end, unless the window is too large for that. */
static bool is_full(const encode_stages *s, const encode_chunk *c) {
  bool whole = c->n % sp_encoder_window(s->encoder) == 0;
  return c->bytes.n >= (whole ? s->good_bytes : 4 * s->good_bytes);
}

static sp_err read_slot(const encode_stages *s, slot *to, size_t wanted) {
  encode_chunk *c = &to->chunk;
  encode_chunk_clear(c);
  to->last = false;
  while (!to->last && c->n < wanted && !is_full(s, c)) {
    encode_record record;
    bool more;
    sp_err err = s->next(s->context, &record, &more);
    if (!err && more) err = encode_chunk_add(c, &record);
    if (err) return err;
    to->last = !more;
  }
  to->n_place = s->place ? s->place(s->context, to->place) : 0;
  encode_chunk_seal(c);
  return SP_OK;
}

static sp_err encode_slot(const encode_stages *s, slot *at) {
  encode_chunk *c = &at->chunk;
  if (c->n == 0) return SP_OK;
  return sp_encoder_encode(s->encoder, s->side, c->texts, c->n, c->vectors);
}

static sp_err keep_slot(const encode_stages *s, const slot *from) {
  const encode_chunk *c = &from->chunk;
  for (size_t i = 0; i < c->n; i++) {
    encode_record record = encode_chunk_at(c, i);
    sp_err err = s->put(s->context, &record, &c->vectors[i]);
    if (err) return err;
  }
  return s->put_place(s->context, from->place, from->n_place);
}

/* --- at once --- */

/* The first failure counts and stops all stages. */
static void give_up(ring *r, sp_err err) {
  pthread_mutex_lock(&r->lock);
  if (!r->err) {
    r->err = err;
    strncpy(r->message, sp_err_message(), sizeof r->message - 1);
  }
  pthread_cond_broadcast(&r->moved);
  pthread_mutex_unlock(&r->lock);
}

/* Waits until slot `i` is in the state; NULL after a failure. */
static slot *await(ring *r, size_t i, slot_state state) {
  slot *s = &r->slots[i % N_CHUNKS];
  pthread_mutex_lock(&r->lock);
  while (s->state != state && !r->err) pthread_cond_wait(&r->moved, &r->lock);
  bool failed = r->err;
  pthread_mutex_unlock(&r->lock);
  return failed ? NULL : s;
}

/* Passes the slot on, or gives up; true when there is more for this stage to do. */
static bool hand_on(ring *r, slot *s, sp_err err, slot_state state) {
  if (err) {
    give_up(r, err);
    return false;
  }
  bool last = s->last; /* another stage's from the next line on */
  pthread_mutex_lock(&r->lock);
  s->state = state;
  pthread_cond_broadcast(&r->moved);
  pthread_mutex_unlock(&r->lock);
  return !last;
}

static void *reader(void *arg) {
  ring *r = arg;
  slot *s;
  for (size_t i = 0; (s = await(r, i, EMPTY)); i++) {
    pthread_mutex_lock(&r->lock);
    size_t wanted = r->wanted;
    pthread_mutex_unlock(&r->lock);
    if (!hand_on(r, s, read_slot(r->stages, s, wanted), READ)) break;
  }
  return NULL;
}

static void *keeper(void *arg) {
  ring *r = arg;
  slot *s;
  for (size_t i = 0; (s = await(r, i, ENCODED)); i++)
    if (!hand_on(r, s, keep_slot(r->stages, s), EMPTY)) break;
  return NULL;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void encode_all(ring *r) {
  slot *s;
  for (size_t i = 0; (s = await(r, i, READ)); i++) {
    double began = now_s();
    sp_err err = encode_slot(r->stages, s);
    pthread_mutex_lock(&r->lock);
    if (now_s() - began < GOOD_SECONDS && r->wanted * 2 <= r->stages->most_texts)
      r->wanted *= 2;
    pthread_mutex_unlock(&r->lock);
    if (!hand_on(r, s, err, ENCODED)) break;
  }
}

static void run_at_once(ring *r) {
  pthread_t threads[2];
  int no_keeper = pthread_create(&threads[0], NULL, keeper, r);
  int no_reader = no_keeper ? no_keeper : pthread_create(&threads[1], NULL, reader, r);
  if (no_reader)
    give_up(r, sp_fail_errno(no_reader, "cannot start a thread"));
  else
    encode_all(r);
  if (!no_reader) pthread_join(threads[1], NULL);
  if (!no_keeper) pthread_join(threads[0], NULL);
}

/* --- one after the other --- */

static void run_in_turn(ring *r) {
  slot *s = &r->slots[0];
  sp_err err = SP_OK;
  while (!err && !s->last) {
    err = read_slot(r->stages, s, r->wanted);
    if (!err) err = encode_slot(r->stages, s);
    if (!err) err = keep_slot(r->stages, s);
  }
  if (err) give_up(r, err);
}

sp_err encode_stages_run(const encode_stages *stages) {
  const size_t window = sp_encoder_window(stages->encoder);
  ring r = {.stages = stages, .wanted = (FIRST_TEXTS + window - 1) / window * window};
  pthread_mutex_init(&r.lock, NULL);
  pthread_cond_init(&r.moved, NULL);
  if (stages->in_turn)
    run_in_turn(&r);
  else
    run_at_once(&r);
  for (int i = 0; i < N_CHUNKS; i++) encode_chunk_free(&r.slots[i].chunk);
  pthread_mutex_destroy(&r.lock);
  pthread_cond_destroy(&r.moved);
  return r.err ? sp_fail(r.err, "%s", r.message) : SP_OK;
}
