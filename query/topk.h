/* query/topk.h - the k best of a stream of scored documents. */
#ifndef SP_TOPK_H
#define SP_TOPK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* A candidate as one number that orders as results do: the higher score first, of equal
 * scores the lower document. (The bits of floats >= 0 order as their values.) */
static inline uint64_t sp_rank_key(float score, uint32_t doc) {
  uint32_t bits;
  memcpy(&bits, &score, sizeof bits);
  return (uint64_t)bits << 32 | (uint32_t)~doc;
}

static inline uint32_t sp_rank_key_doc(uint64_t key) {
  return ~(uint32_t)key;
}

static inline float sp_rank_key_score(uint64_t key) {
  uint32_t bits = (uint32_t)(key >> 32);
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

/* A heap of the k largest keys seen, the smallest of them on top. {0} is empty, with room
 * for none. */
typedef struct sp_topk {
  uint64_t *keys; /* [k] */
  uint32_t n, k, cap;
  uint64_t floor; /* a key must be above it to enter; 0 until k keys are in */
} sp_topk;

/* Empties it and makes it hold the best `k` >= 1. Errors: ENOMEM. */
sp_err sp_topk_reset(sp_topk *t, uint32_t k);
void sp_topk_free(sp_topk *t);

/* For a key above the floor. */
void sp_topk_insert(sp_topk *t, uint64_t key);

static inline void sp_topk_offer(sp_topk *t, uint64_t key) {
  if (key > t->floor) sp_topk_insert(t, key);
}

/* The k-th best score so far; 0 while fewer than k are in. */
static inline float sp_topk_threshold(const sp_topk *t) {
  return sp_rank_key_score(t->floor);
}

/* Puts the keys into descending order. After this only reading and reset are legal. */
void sp_topk_sort(sp_topk *t);

#endif
