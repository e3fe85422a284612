/* kernels/sparse.h - the arithmetic of a search: a stored document against a query, and
 * inverted lists added up document by document.
 *
 * Three implementations (plain C, AVX2, AVX-512) of the same sums: each product is
 * rounded to float and added in one order that is the same everywhere, without fused
 * multiply-adds, so that a score is the same to the last bit on every processor. */
#ifndef SP_KERNELS_SPARSE_H
#define SP_KERNELS_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"

enum {
  SP_SHORT_MAX = 24,  /* terms of a query that count as short */
  SP_SHORT_SLOTS = 64 /* of its hash table */
};

/* A short query as the kernels like it. Its terms lie in a table without collisions:
 * term t can only be in slot (uint16_t)(t * multiplier) >> 10. */
typedef struct sp_short_query {
  _Alignas(64) uint16_t slots[SP_SHORT_SLOTS]; /* an empty slot holds a term that
                                                  belongs into another */
  uint16_t terms[SP_SHORT_MAX];
  uint32_t n;
  uint16_t multiplier;
} sp_short_query;

/* False when the query is not short: more than SP_SHORT_MAX terms or none, a term over
 * 65,535, or (hardly ever) no multiplier without collisions found. `terms` are distinct.
 */
bool sp_short_query_set(sp_short_query *q, const uint32_t *terms, uint32_t n);

/* In all of these: a document is its n terms followed by its n weights (f16 bits), as it
 * lies in the forward index, 2-byte aligned (4 for u32 terms); `table` holds the query's
 * weight for every term, 0 for those it has not; finite, >= 0. Terms may repeat or be out
 * of order in a damaged document: the result is then some number, nothing worse. */
typedef struct sp_sparse_kernels {
  sp_cpu_level level;

  /* <query, document>, u16 terms; table[65536]. Entry i is added to partial sum i mod 32;
   * the 32 are then added by halves. */
  float (*dot_u16)(const void *doc, uint32_t n, const float *table);

  /* The same for u32 terms; table[n_table + 1], table[n_table] = 0: terms at or above
   * n_table count as that. */
  float (*dot_u32)(const void *doc, uint32_t n, const float *table, uint32_t n_table);

  /* The same for a short query and u16 terms: finds the few entries that count by
   * comparing, looks up only these. The h-th of them (at most the first 32) is added to
   * partial sum h mod 16; these are then added by halves. `q` and `table` agree. */
  float (*dot_short)(const void *doc, uint32_t n, const sp_short_query *q,
                     const float *table);

  /* A list's postings within one window, n of them, docs[] distinct: for each i
   *   sums[docs[i]] += max(scale * codes[i] - shift, FLT_MIN)
   * sums[65536], not negative. */
  void (*add_postings)(const uint16_t *docs, const uint8_t *codes, uint32_t n,
                       float scale, float shift, float *sums);

  /* Makes sums[docs[i]] 0 for the same, and writes those that were above 0 and at least
   * `least` to found_docs and found_sums, in the order of docs[]. Returns how many. Both
   * arrays have room for n + 16. */
  uint32_t (*take_sums)(const uint16_t *docs, uint32_t n, float least, float *sums,
                        uint16_t *found_docs, float *found_sums);
} sp_sparse_kernels;

/* The kernels of `level`, or of the next lower level that this build has. Constant. */
const sp_sparse_kernels *sp_sparse_kernels_get(sp_cpu_level level);

#endif
