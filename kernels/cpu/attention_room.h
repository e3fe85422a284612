/* kernels/cpu/attention_room.h - how the scratch of kernels/cpu/attention.h is divided; for its
 * kernels. */
#ifndef SP_CPU_ATTENTION_ROOM_H
#define SP_CPU_ATTENTION_ROOM_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/panel.h"

/* A query, a key or a value is a row of four-byte words: a float, or two numbers of 16
 * bits. */
typedef struct attention_room {
  size_t words;      /* from row to row of queries and keys: head_dim rounded up to 16 */
  float *rows;       /* [PANEL, words] the queries of a block, */
  float *queries;    /* [words, PANEL] the same turned */
  float *keys;       /* [KEYS, words] */
  float *key_scales; /* [head_dim rounded up to PANEL] of columns */
  float *values;     /* [head_dim / PANEL, KEYS, PANEL], in int16 half as many rows */
  float *value_scales; /* the same */
  float *scores;       /* [KEYS, PANEL]: a row for each key, a column for each query */
  float *tops;         /* [QUERIES] largest score of the keys so far */
  float *totals;       /* [QUERIES] sum of their weights */
  size_t n_floats;     /* in all */
} attention_room;

static inline attention_room attention_room_at(float *scratch, uint32_t head_dim) {
  const size_t words = ((size_t)head_dim + 15) / 16 * 16;
  const size_t columns = ((size_t)head_dim + SP_PANEL - 1) / SP_PANEL * SP_PANEL;
  attention_room r = {.words = words};
  const struct {
    float **part;
    size_t n;
  } parts[] = {{&r.rows, SP_PANEL * words},
               {&r.queries, words * SP_PANEL},
               {&r.keys, SP_ATTENTION_KEYS * words},
               {&r.key_scales, columns},
               {&r.values, SP_ATTENTION_KEYS * columns},
               {&r.value_scales, columns},
               {&r.scores, (size_t)SP_ATTENTION_KEYS * SP_PANEL},
               {&r.tops, SP_ATTENTION_QUERIES},
               {&r.totals, SP_ATTENTION_QUERIES}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    *parts[i].part = scratch ? scratch + r.n_floats : NULL;
    r.n_floats += parts[i].n; /* each a multiple of 64 bytes */
  }
  return r;
}

#endif
