/* tests/fake_segment.h - segments made in memory from vectors, for tests of query/.
 *
 * Stands in for index/: a test that links fake_segment.c and not sp_index sees these
 * through sp_snapshot_segment() and sp_segment_list(). */
#ifndef SP_FAKE_SEGMENT_H
#define SP_FAKE_SEGMENT_H

#include "base/vec.h"
#include "index/index.h"

enum { FAKE_MAX_SEGMENTS = 4 };

struct sp_snapshot {
  sp_segment segments[FAKE_MAX_SEGMENTS];
  uint32_t n_segments;
};

typedef struct fake_options {
  uint32_t n_terms;
  bool sealed;
  uint32_t n_postings; /* the strongest kept of each list; 0: all */
} fake_options;

/* Adds a segment of n vectors behind those that are there. Out of memory aborts. */
void fake_add_segment(sp_snapshot *s, const sp_vec *docs, uint32_t n,
                      const fake_options *options);
void fake_delete(sp_snapshot *s, uint32_t doc); /* by internal id */
void fake_free(sp_snapshot *s);

#endif
