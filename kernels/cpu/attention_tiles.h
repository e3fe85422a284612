/* kernels/cpu/attention_tiles.h - the two products of attention_body.h by tile_512.h or
 * tile_256.h, included before. */

enum { ATTENTION_TOKENS = TILE_TOKENS };

static void multiply_rows(const float *panel, const float *tokens, size_t m,
                          uint32_t groups, size_t words, float *sums, size_t ld) {
  tile_rows(panel, tokens, m, groups, words * sizeof *tokens, sums, ld);
}

static void multiply_columns(const float *panel, const float *tokens, size_t m,
                             uint32_t groups, float *sums, size_t ld) {
  tile_columns(panel, tokens, m, groups, sums, ld);
}

#include "kernels/cpu/attention_body.h"
