/* tests/encoder_goldens.h - reading golden/encoders of SPINDLE_SHARED, and comparing. */
#ifndef SP_TESTS_ENCODER_GOLDENS_H
#define SP_TESTS_ENCODER_GOLDENS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"

typedef struct golden {
  json_t *line;
  const char *text;
  size_t text_n;
  bool query;
  uint32_t *ids;
  uint32_t n_ids;
  uint32_t pool_first, pool_end;
  sp_vec vector;
} golden;

typedef struct goldens {
  golden *all;
  size_t n;
} goldens;

/* "SPINDLE_SHARED/rest", by default below ../shared; the caller frees it. */
char *shared_path(const char *rest);

/* Reads a file below the shared folder; where it is not there, says so and skips the test. */
goldens goldens_read(const char *rest);
void goldens_free(goldens *g);

/* |a - b| / |b|; 0 for two empty vectors. */
double relative_l2(const sp_vec *a, const sp_vec *b);

/* The ten largest terms of both are the same; terms within `slack` (relative) of the tenth
 * weight may change places, and terms below `slack` of the largest weight may be missing. */
bool same_top_ten(const sp_vec *a, const sp_vec *b, double slack);

#endif
