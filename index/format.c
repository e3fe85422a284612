/* index/format.c - reading and sealing the values of an index. */
#include "index/format.h"

#include <string.h>
#include <xxhash.h>

sp_disk_params sp_disk_params_of(const sp_build_params *p) {
  return (sp_disk_params){.n_postings = p->n_postings, .max_fraction = p->max_fraction};
}

sp_build_params sp_disk_params_read(const sp_disk_params *p) {
  return (sp_build_params){.n_postings = p->n_postings, .max_fraction = p->max_fraction};
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
