/* index/format.c - reading and sealing the values of an index. */
#include "index/format.h"

#include <string.h>
#include <xxhash.h>

sp_disk_params sp_disk_params_of(const sp_build_params *p) {
  return (sp_disk_params){.n_postings = p->n_postings,
                          .min_cluster_size = p->min_cluster_size,
                          .doc_cut = p->doc_cut,
                          .max_fraction = p->max_fraction,
                          .centroid_fraction = p->centroid_fraction,
                          .summary_energy = p->summary_energy,
                          .seed = p->seed};
}

sp_build_params sp_disk_params_read(const sp_disk_params *p) {
  return (sp_build_params){.n_postings = p->n_postings,
                           .min_cluster_size = p->min_cluster_size,
                           .doc_cut = p->doc_cut,
                           .max_fraction = p->max_fraction,
                           .centroid_fraction = p->centroid_fraction,
                           .summary_energy = p->summary_energy,
                           .seed = p->seed};
}

uint64_t sp_list_bytes(const sp_disk_list *h, uint32_t term_bytes) {
  return sizeof *h + 4 * (uint64_t)h->n_docs + 4 * ((uint64_t)h->n_blocks + 1) +
         4 * ((uint64_t)h->n_summary_terms + 1) + 12 * (uint64_t)h->n_blocks +
         (uint64_t)term_bytes * h->n_summary_terms + 3 * (uint64_t)h->n_entries;
}

void sp_list_point(const uint8_t *at, uint32_t term_bytes, sp_list *out) {
  const sp_disk_list *h = (const void *)at;
  *out = (sp_list){.n_docs = h->n_docs,
                   .n_blocks = h->n_blocks,
                   .n_summary_terms = h->n_summary_terms,
                   .n_all_docs = h->n_all_docs,
                   .max_weight = h->max_weight,
                   .max_discarded = h->max_discarded};
  at += sizeof *h;
  out->docs = (const void *)at;
  out->block_start = out->docs + h->n_docs;
  out->summary_start = out->block_start + h->n_blocks + 1;
  out->block_min = (const void *)(out->summary_start + h->n_summary_terms + 1);
  out->block_step = out->block_min + h->n_blocks;
  out->block_cut = out->block_step + h->n_blocks;
  at = (const void *)(out->block_cut + h->n_blocks);
  out->summary_terms = at;
  at += (size_t)term_bytes * h->n_summary_terms;
  out->summary_block = (const void *)at;
  out->summary_code = at + 2 * (size_t)h->n_entries;
}

/* start[0..n] ascends (equal neighbours allowed) from 0 to `end`. */
static bool ascends(const uint32_t *start, uint32_t n, uint32_t end) {
  if (start[0] != 0 || start[n] != end) return false;
  uint32_t bad = 0;
  for (uint32_t i = 0; i < n; i++) bad |= start[i + 1] < start[i];
  return !bad;
}

static bool all_below(const uint32_t *x, uint32_t n, uint32_t limit) {
  uint32_t bad = 0;
  for (uint32_t i = 0; i < n; i++) bad |= x[i] >= limit;
  return !bad;
}

static bool terms_ascend(const sp_list *l, uint32_t n_terms, uint32_t term_bytes) {
  uint32_t n = l->n_summary_terms, bad = 0;
  if (term_bytes == 2) {
    const uint16_t *t = l->summary_terms;
    for (uint32_t i = 1; i < n; i++) bad |= t[i] <= t[i - 1];
    return !bad && (n == 0 || t[n - 1] < n_terms);
  }
  const uint32_t *t = l->summary_terms;
  for (uint32_t i = 1; i < n; i++) bad |= t[i] <= t[i - 1];
  return !bad && (n == 0 || t[n - 1] < n_terms);
}

bool sp_list_read(const uint8_t *at, uint64_t room, uint32_t term, uint32_t n_docs,
                  uint32_t n_terms, uint32_t term_bytes, sp_list *out) {
  const sp_disk_list *h = (const void *)at;
  if (room < sizeof *h || h->term != term || h->bytes > room || h->n_blocks > 65535 ||
      sp_list_bytes(h, term_bytes) != h->bytes)
    return false;
  sp_list_point(at, term_bytes, out);
  if (!all_below(out->docs, h->n_docs, n_docs) ||
      !ascends(out->block_start, h->n_blocks, h->n_docs) ||
      !ascends(out->summary_start, h->n_summary_terms, h->n_entries) ||
      !terms_ascend(out, n_terms, term_bytes))
    return false;
  uint32_t bad = 0;
  for (uint32_t i = 0; i < h->n_entries; i++) bad |= out->summary_block[i] >= h->n_blocks;
  return !bad;
}

sp_forward_chunk sp_forward_point(const uint8_t *payload, uint32_t count) {
  const uint32_t *start = (const void *)payload;
  return (sp_forward_chunk){payload + sp_round_up(6 * (uint64_t)count + 4, 64), start,
                            (const void *)(start + count + 1)};
}

/* Offsets are known to be sound. */
static bool wide_terms_below(const sp_forward_chunk *c, uint32_t count,
                             uint32_t n_terms) {
  for (uint32_t i = 0; i < count; i++)
    if (!all_below((const void *)(c->base + (size_t)c->start[i] * 4), c->n[i], n_terms))
      return false;
  return true;
}

bool sp_forward_read(const uint8_t *payload, uint64_t bytes, uint32_t count,
                     uint32_t n_terms, uint32_t term_bytes, sp_forward_chunk *out) {
  uint64_t base = sp_round_up(6 * (uint64_t)count + 4, 64);
  if (bytes < base) return false;
  *out = sp_forward_point(payload, count);
  const uint32_t *start = out->start;
  const uint16_t *n = out->n;
  if (bytes - base < 4 * (uint64_t)start[count] || !ascends(start, count, start[count]))
    return false;
  uint32_t bad = 0;
  if (term_bytes == 2)
    for (uint32_t i = 0; i < count; i++) bad |= start[i + 1] - start[i] < n[i];
  else
    for (uint32_t i = 0; i < count; i++)
      bad |= (start[i + 1] - start[i]) * (uint64_t)4 < n[i] * (uint64_t)6;
  return !bad && (term_bytes == 2 || wide_terms_below(out, count, n_terms));
}

void sp_chunk_seal(void *value, sp_chunk_kind kind, uint32_t segment, uint32_t number,
                   uint32_t count, uint64_t payload_bytes) {
  sp_disk_chunk h = {.magic = SP_CHUNK_MAGIC,
                     .kind = (uint16_t)kind,
                     .segment = segment,
                     .number = number,
                     .payload_bytes = payload_bytes,
                     .count = count};
  h.checksum = XXH3_64bits((const char *)value + SP_CHUNK_HEADING, payload_bytes);
  h.heading_checksum = XXH3_64bits(&h, offsetof(sp_disk_chunk, heading_checksum));
  memcpy(value, &h, sizeof h);
}

const char *sp_chunk_kind_name(sp_chunk_kind kind) {
  switch (kind) {
    case SP_CHUNK_FORWARD:
      return "forward";
    case SP_CHUNK_LISTS:
      return "lists";
    case SP_CHUNK_DIRECTORY:
      return "directory";
    case SP_CHUNK_NAMES:
      return "names";
    case SP_CHUNK_DOCUMENTS:
      return "documents";
    case SP_CHUNK_IDS:
      return "ids";
  }
  return "unknown";
}

sp_err sp_chunk_open(const void *value, size_t n, sp_chunk_kind kind, uint32_t segment,
                     uint32_t number, const char *where, sp_disk_chunk *out) {
  const char *name = sp_chunk_kind_name(kind);
  if (n < sizeof *out)
    return sp_fail(SP_EFORMAT, "%s: %s chunk %u of segment %u: %zu bytes are too few",
                   where, name, number, segment, n);
  memcpy(out, value, sizeof *out);
  if (out->magic != SP_CHUNK_MAGIC || out->kind != kind || out->segment != segment ||
      out->number != number || out->payload_bytes > n - sizeof *out ||
      out->heading_checksum !=
          XXH3_64bits(out, offsetof(sp_disk_chunk, heading_checksum)))
    return sp_fail(SP_EFORMAT, "%s: %s chunk %u of segment %u: its heading is damaged",
                   where, name, number, segment);
  if (((uintptr_t)value + SP_CHUNK_HEADING) % 64)
    return sp_fail(SP_EFORMAT, "%s: %s chunk %u of segment %u is not aligned in the map",
                   where, name, number, segment);
  return SP_OK;
}

sp_err sp_chunk_verify(const void *value, const char *where) {
  sp_disk_chunk h;
  memcpy(&h, value, sizeof h);
  if (XXH3_64bits((const char *)value + sizeof h, h.payload_bytes) == h.checksum)
    return SP_OK;
  return sp_fail(SP_EFORMAT,
                 "%s: %s chunk %u of segment %u is damaged (checksum differs)", where,
                 sp_chunk_kind_name((sp_chunk_kind)h.kind), h.number, h.segment);
}
