/* tools/encode_stages.c - three stages and a ring of chunks between them. */
#include "tools/encode_stages.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

/* Chunks begin small, so that the first vectors come soon, and grow until one takes about
 * two seconds: large enough to keep a device busy, small enough to lose little in a crash. */
enum { MOST_AT_ONCE = 4, MOST_SLOTS = MOST_AT_ONCE + 2, FIRST_TEXTS = 256 };
static const double GOOD_SECONDS = 2;

typedef enum slot_state { EMPTY, READ, ENCODING, ENCODED } slot_state;

typedef struct slot {
  slot_state state;
  encode_chunk chunk;
  char place[ENCODE_PLACE_BYTES];
  size_t n_place;
  bool last;
} slot;

/* Chunk i is in slot i % n_slots from its reading to its keeping. */
typedef struct ring {
  const encode_stages *stages;
  slot slots[MOST_SLOTS];
  size_t at_once, n_slots;
  pthread_mutex_t lock; /* of all below and of the slots' states */
  pthread_cond_t moved; /* a slot changed its state, n_chunks or err was set */
  size_t wanted;        /* texts in the next chunk */
  size_t n_begun;       /* chunks that an encoding thread has taken */
  size_t n_chunks;      /* SIZE_MAX until the last is read */
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

/* Waits until chunk i's slot is in the state; NULL after a failure or when there is no chunk
 * i. The lock is held. */
static slot *await_locked(ring *r, size_t i, slot_state state) {
  slot *s = &r->slots[i % r->n_slots];
  while (s->state != state && !r->err && i < r->n_chunks)
    pthread_cond_wait(&r->moved, &r->lock);
  return r->err || i >= r->n_chunks ? NULL : s;
}

static slot *await(ring *r, size_t i, slot_state state) {
  pthread_mutex_lock(&r->lock);
  slot *s = await_locked(r, i, state);
  pthread_mutex_unlock(&r->lock);
  return s;
}

/* Passes the slot on, unless its stage failed. */
static void hand_on(ring *r, slot *s, sp_err err, slot_state state) {
  if (err) {
    give_up(r, err);
    return;
  }
  pthread_mutex_lock(&r->lock);
  s->state = state;
  pthread_cond_broadcast(&r->moved);
  pthread_mutex_unlock(&r->lock);
}

static void *reader(void *arg) {
  ring *r = arg;
  slot *s;
  for (size_t i = 0; (s = await(r, i, EMPTY)); i++) {
    pthread_mutex_lock(&r->lock);
    size_t wanted = r->wanted;
    pthread_mutex_unlock(&r->lock);
    sp_err err = read_slot(r->stages, s, wanted);
    if (!err && s->last) {
      pthread_mutex_lock(&r->lock);
      r->n_chunks = i + 1;
      pthread_mutex_unlock(&r->lock);
    }
    hand_on(r, s, err, READ);
  }
  return NULL;
}

static void *keeper(void *arg) {
  ring *r = arg;
  slot *s;
  for (size_t i = 0; (s = await(r, i, ENCODED)); i++)
    hand_on(r, s, keep_slot(r->stages, s), EMPTY);
  return NULL;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static slot *take_read(ring *r) {
  pthread_mutex_lock(&r->lock);
  slot *s = await_locked(r, r->n_begun++, READ);
  if (s) s->state = ENCODING; /* so that nobody takes it for a later chunk of this slot */
  pthread_mutex_unlock(&r->lock);
  return s;
}

static void *encode_chunks(void *arg) {
  ring *r = arg;
  slot *s;
  while ((s = take_read(r))) {
    double began = now_s();
    sp_err err = encode_slot(r->stages, s);
    pthread_mutex_lock(&r->lock);
    if (now_s() - began < GOOD_SECONDS && r->wanted * 2 <= r->stages->most_texts)
      r->wanted *= 2;
    pthread_mutex_unlock(&r->lock);
    hand_on(r, s, err, ENCODED);
  }
  return NULL;
}

/* The caller's thread is one of those that encode. */
static void run_at_once(ring *r) {
  pthread_t threads[MOST_SLOTS];
  size_t n = 0;
  int failed = 0;
  for (; n < r->at_once + 1 && !failed; n += !failed)
    failed = pthread_create(&threads[n], NULL,
                            n == 0   ? reader
                            : n == 1 ? keeper
                                     : encode_chunks,
                            r);
  if (failed)
    give_up(r, sp_fail_errno(failed, "cannot start a thread"));
  else
    encode_chunks(r);
  while (n-- > 0) pthread_join(threads[n], NULL);
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
  const size_t at_once = sp_encoder_at_once(stages->encoder);
  ring r = {.stages = stages,
            .wanted = (FIRST_TEXTS + window - 1) / window * window,
            .at_once = at_once < MOST_AT_ONCE ? at_once : MOST_AT_ONCE,
            .n_chunks = SIZE_MAX};
  r.n_slots = r.at_once + 2; /* one is read, one is kept meanwhile */
  pthread_mutex_init(&r.lock, NULL);
  pthread_cond_init(&r.moved, NULL);
  if (stages->in_turn)
    run_in_turn(&r);
  else
    run_at_once(&r);
  for (size_t i = 0; i < r.n_slots; i++) encode_chunk_free(&r.slots[i].chunk);
  pthread_mutex_destroy(&r.lock);
  pthread_cond_destroy(&r.moved);
  return r.err ? sp_fail(r.err, "%s", r.message) : SP_OK;
}
