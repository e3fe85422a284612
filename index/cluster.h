/* index/cluster.h - one list's documents grouped into blocks of near ones, and the blocks
 * as they lie on disk. Private to index/build*.c.
 *
 * Shallow k-means (Bruch, Nardini, Rulli, Venturini, SIGIR 2024, section 5.2; the inverted
 * assignment of their code, "random-kmeans-inverted-index-approx"): centroids are
 * documents drawn from the list; every document goes to the centroid with the largest
 * inner product with its doc_cut strongest terms; clusters of min_cluster_size documents
 * or fewer are dissolved and their members assigned again among the others. One pass, no
 * new means. */
#ifndef SP_CLUSTER_H
#define SP_CLUSTER_H

#include "base/buf.h"
#include "index/build.h"

/* The scratch of one thread, for any number of lists. {0} plus init. */
typedef struct sp_cluster {
  uint16_t *max_weight;    /* [n_terms] f16; zeros between uses */
  uint32_t *start, *count; /* [n_terms]; zeros between uses */
  uint64_t *seen;          /* bitset [n_terms / 64 + 1]; zeros between uses */
  uint32_t *touched;       /* terms, [n_terms] */
  /* Of one list; grown as needed. */
  uint32_t *order, *assigned, *sizes;
  size_t docs_cap;
  float *score; /* [SP_MAX_BLOCKS + 1] */
  bool *gone;   /* dissolved centroids */
  uint16_t *entry_centroid;
  float *entry_weight;
  size_t entries_cap;
  sp_buf block_terms; /* sp_summary_entry of all blocks */
  sp_buf numbers;     /* f32 min, step, cut of all blocks */
} sp_cluster;

enum {
  SP_MAX_BLOCKS = 65535,
  SP_SMALL_LIST = 64, /* up to here a list is one block and has no summary */
  SP_MAX_CENTROID_ENTRIES = 2 << 20 /* bounds a thread's memory: fewer centroids then */
};

sp_err sp_cluster_init(sp_cluster *c, uint32_t n_terms); /* Errors: ENOMEM */
void sp_cluster_free(sp_cluster *c);

/* One list before and after grouping. */
typedef struct sp_grouping {
  uint32_t term;
  uint32_t n_docs, n_all_docs;
  float max_weight, max_discarded;
  uint32_t *docs;        /* [n_docs] ascending; afterwards in the order of the blocks */
  uint32_t *block_start; /* [n_blocks + 1], the cluster's memory */
  uint32_t n_blocks;
} sp_grouping;

/* Errors: ENOMEM. Depends on the seed, the term and the documents alone. */
sp_err sp_cluster_group(const sp_builder *b, sp_cluster *c, sp_grouping *g);

/* Appends the list as format.h says, with its summaries. Errors: ENOMEM. */
sp_err sp_summary_write(const sp_builder *b, sp_cluster *c, const sp_grouping *g,
                        sp_buf *out);

/* Document `doc`'s strongest terms, strongest first; 0 ends them early. */
typedef struct sp_top_view {
  const uint32_t *terms;   /* [doc_cut] */
  const uint16_t *weights; /* [doc_cut] f16, times the expected query weight */
} sp_top_view;

static inline size_t sp_top_bytes(uint32_t doc_cut) {
  return sp_round_up(6 * (size_t)doc_cut, 4);
}

static inline sp_top_view sp_top_of(const sp_top *t, uint32_t doc) {
  const uint8_t *at = (const uint8_t *)t->map + doc * sp_top_bytes(t->doc_cut);
  return (sp_top_view){(const void *)at, (const void *)(at + 4 * (size_t)t->doc_cut)};
}

#endif
