/* index/vector_block.c - the bytes of a compact vector file, written and distrusted. */
#include "index/vector_block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/half.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the file's numbers are the machine's");

static const char MAGIC[8] = {'S', 'P', 'V', 'E', 'C', 'T', 'O', 'R'};
static const char BLOCK[4] = {'B', 'L', 'O', 'K'}, END[4] = {'E', 'N', 'D', 'S'};
enum { VERSION = 1 };

static uint32_t get_u32(const uint8_t *at) {
  uint32_t x;
  memcpy(&x, at, sizeof x);
  return x;
}

static uint64_t get_u64(const uint8_t *at) {
  uint64_t x;
  memcpy(&x, at, sizeof x);
  return x;
}

static void put_u32(uint8_t *at, uint32_t x) {
  memcpy(at, &x, sizeof x);
}

static void put_u64(uint8_t *at, uint64_t x) {
  memcpy(at, &x, sizeof x);
}

static uint64_t padded(uint64_t n) {
  return (n + 7) & ~(uint64_t)7;
}

void sp_vf_header_write(uint8_t out[SP_VF_HEADER_BYTES]) {
  memset(out, 0, SP_VF_HEADER_BYTES);
  memcpy(out, MAGIC, sizeof MAGIC);
  put_u32(out + 8, VERSION);
  put_u64(out + 24, XXH3_64bits(out, 24));
}

sp_err sp_vf_header_check(const uint8_t in[SP_VF_HEADER_BYTES], const char *path) {
  if (memcmp(in, MAGIC, sizeof MAGIC) != 0)
    return sp_fail(SP_EFORMAT, "%s: not a compact vector file", path);
  uint32_t version = get_u32(in + 8); /* first: a newer header may be laid out anew */
  if (version != VERSION)
    return sp_fail(SP_EFORMAT,
                   "%s: compact vector file of version %u, expected version %d", path,
                   version, VERSION);
  if (get_u64(in + 24) != XXH3_64bits(in, 24))
    return sp_fail(SP_EFORMAT, "%s: the header is damaged", path);
  if (get_u32(in + 12) || get_u64(in + 16))
    return sp_fail(SP_EFORMAT, "%s: the header's reserved bytes are not 0", path);
  return SP_OK;
}

/* Where the parts of a body lie; in bytes from its start. */
typedef struct layout {
  uint64_t id_ends, terms, weights, ids, end;
} layout;

static layout lay_out(uint32_t flags, uint64_t n_vectors, uint64_t n_entries,
                      uint64_t ids_bytes) {
  layout l;
  l.id_ends = padded(4 * n_vectors);
  l.terms = l.id_ends + padded(4 * n_vectors);
  l.weights = l.terms + padded(n_entries * (flags & SP_VF_WIDE_TERMS ? 4 : 2));
  l.ids = l.weights + padded(n_entries * (flags & SP_VF_WIDE_WEIGHTS ? 4 : 2));
  l.end = l.ids + padded(ids_bytes);
  return l;
}

const char *sp_vf_head_read(const uint8_t in[SP_VF_HEAD_BYTES], sp_vf_head *out) {
  *out = (sp_vf_head){.flags = get_u32(in + 4), .first = get_u64(in + 8)};
  if (memcmp(in, END, sizeof END) == 0) {
    out->end = true;
    out->all_entries = get_u64(in + 16);
    out->n_terms = get_u32(in + 24);
    if (get_u64(in + SP_VF_SUMMED_BYTES) != XXH3_64bits(in, SP_VF_SUMMED_BYTES))
      return "the end mark is damaged";
    return out->flags || get_u32(in + 28) ? "the end mark's reserved bytes are not 0"
                                          : NULL;
  }
  if (memcmp(in, BLOCK, sizeof BLOCK) != 0)
    return "neither a block nor the end mark where one must begin";
  out->n_vectors = get_u32(in + 16);
  out->n_entries = get_u32(in + 20);
  out->ids_bytes = get_u32(in + 24);
  out->n_terms = get_u32(in + 28);
  if (out->flags & ~(uint32_t)(SP_VF_WIDE_TERMS | SP_VF_WIDE_WEIGHTS))
    return "a block with unknown flags";
  if (out->n_vectors == 0 || out->n_vectors > SP_VF_MAX_VECTORS ||
      out->n_entries > SP_VF_MAX_ENTRIES || out->ids_bytes > SP_VF_MAX_ENTRIES)
    return "a block with impossible counts";
  out->body_bytes =
      lay_out(out->flags, out->n_vectors, out->n_entries, out->ids_bytes).end;
  return NULL;
}

void sp_vf_end_write(uint64_t n_vectors, uint64_t n_entries, uint32_t n_terms,
                     uint8_t out[SP_VF_HEAD_BYTES]) {
  memset(out, 0, SP_VF_HEAD_BYTES);
  memcpy(out, END, sizeof END);
  put_u64(out + 8, n_vectors);
  put_u64(out + 16, n_entries);
  put_u32(out + 24, n_terms);
  put_u64(out + SP_VF_SUMMED_BYTES, XXH3_64bits(out, SP_VF_SUMMED_BYTES));
}

sp_err sp_vf_block_reserve(sp_vector_block *b, uint64_t n) {
  size_t need = SP_VF_SUMMED_BYTES + (size_t)n;
  if (need <= b->data_cap) return SP_OK;
  char *data = realloc(b->data, need);
  if (!data) return sp_fail(SP_ENOMEM, "a block of %zu bytes: out of memory", need);
  b->data = data;
  b->data_cap = need;
  return SP_OK;
}

/* Turns counts into starts, and checks them and the ids against their sums. */
static const char *settle_counts(sp_vector_block *b, const uint32_t *counts,
                                 uint32_t ids_bytes) {
  uint64_t sum = 0;
  uint32_t id_end = 0;
  for (uint32_t i = 0; i < b->n_vectors; i++) {
    b->starts[i] = (uint32_t)sum;
    sum += counts[i];
    if (sum > b->n_entries) return "a block whose vectors hold more entries than it does";
    if (b->id_ends[i] < id_end || b->id_ends[i] - id_end > SP_VF_MAX_ID_BYTES)
      return "a block whose ids are out of order or too long";
    id_end = b->id_ends[i];
  }
  b->starts[b->n_vectors] = (uint32_t)sum;
  if (sum != b->n_entries || id_end != ids_bytes)
    return "a block whose vectors do not fill it";
  return NULL;
}

static uint32_t term_at(const sp_vector_block *b, uint32_t i) {
  return b->flags & SP_VF_WIDE_TERMS ? ((const uint32_t *)b->terms)[i]
                                     : ((const uint16_t *)b->terms)[i];
}

static float weight_at(const sp_vector_block *b, uint32_t i) {
  return b->flags & SP_VF_WIDE_WEIGHTS ? ((const float *)b->weights)[i]
                                       : sp_f16_to_f32(((const uint16_t *)b->weights)[i]);
}

static const char *check_entries(const sp_vector_block *b) {
  for (uint32_t v = 0; v < b->n_vectors; v++) {
    for (uint32_t i = b->starts[v]; i < b->starts[v + 1]; i++) {
      uint32_t term = term_at(b, i);
      float w = weight_at(b, i);
      if (i > b->starts[v] && term <= term_at(b, i - 1))
        return "a vector whose terms do not ascend";
      if (term >= b->n_terms) return "a term beyond its block's bound";
      if (!(w > 0) || !isfinite(w)) return "a weight that is not above 0 and finite";
    }
  }
  return NULL;
}

sp_err sp_vf_block_settle(sp_vector_block *b, const uint8_t head[SP_VF_HEAD_BYTES],
                          const sp_vf_head *h, const char **fault) {
  uint64_t sum = XXH3_64bits(b->data, SP_VF_SUMMED_BYTES + (size_t)h->body_bytes);
  *fault = NULL;
  if (sum != get_u64(head + SP_VF_SUMMED_BYTES)) {
    *fault = "a block is damaged (its checksum differs)";
    return SP_OK;
  }
  if (b->starts_cap < (size_t)h->n_vectors + 1) {
    uint32_t *starts = realloc(b->starts, ((size_t)h->n_vectors + 1) * sizeof *b->starts);
    if (!starts)
      return sp_fail(SP_ENOMEM, "a block of %u vectors: out of memory", h->n_vectors);
    b->starts = starts;
    b->starts_cap = (size_t)h->n_vectors + 1;
  }
  layout l = lay_out(h->flags, h->n_vectors, h->n_entries, h->ids_bytes);
  char *body = b->data + SP_VF_SUMMED_BYTES;
  b->first = h->first;
  b->n_vectors = h->n_vectors;
  b->n_entries = h->n_entries;
  b->n_terms = h->n_terms;
  b->flags = h->flags;
  b->id_ends = (uint32_t *)(void *)(body + l.id_ends);
  b->terms = body + l.terms;
  b->weights = body + l.weights;
  b->ids = body + l.ids;
  *fault = settle_counts(b, (const uint32_t *)(const void *)body, h->ids_bytes);
  if (!*fault) *fault = check_entries(b);
  return SP_OK;
}

sp_err sp_vector_block_get(const sp_vector_block *b, uint32_t i, sp_vec *v) {
  uint32_t start = b->starts[i], n = b->starts[i + 1] - start;
  v->n = 0;
  sp_err err = sp_vec_reserve(v, n);
  if (err) return err;
  if (b->flags & SP_VF_WIDE_TERMS) {
    if (n) memcpy(v->terms, (const uint32_t *)b->terms + start, n * sizeof *v->terms);
  } else {
    for (uint32_t j = 0; j < n; j++)
      v->terms[j] = ((const uint16_t *)b->terms)[start + j];
  }
  if (b->flags & SP_VF_WIDE_WEIGHTS) {
    if (n) memcpy(v->weights, (const float *)b->weights + start, n * sizeof *v->weights);
  } else {
    sp_f16_to_f32_array((const uint16_t *)b->weights + start, v->weights, n);
  }
  v->n = n;
  return SP_OK;
}

const char *sp_vector_block_id(const sp_vector_block *b, uint32_t i, size_t *n) {
  uint32_t start = i ? b->id_ends[i - 1] : 0;
  *n = b->id_ends[i] - start;
  return b->ids + start;
}

void sp_vector_block_free(sp_vector_block *b) {
  free(b->data);
  free(b->starts);
  *b = (sp_vector_block){0};
}

/* The narrowest forms that lose nothing. */
static uint32_t choose_flags(const sp_vf_parts *p) {
  uint32_t flags = p->n_terms > 0x10000 ? SP_VF_WIDE_TERMS : 0;
  for (uint32_t i = 0; i < p->n_entries; i++)
    if (sp_f16_to_f32(sp_f32_to_f16(p->weights[i])) != p->weights[i])
      return flags | SP_VF_WIDE_WEIGHTS;
  return flags;
}

static void write_body(const sp_vf_parts *p, uint32_t flags, const layout *l,
                       char *body) {
  memcpy(body, p->counts, p->n_vectors * sizeof *p->counts);
  memcpy(body + l->id_ends, p->id_ends, p->n_vectors * sizeof *p->id_ends);
  if (p->ids_bytes) memcpy(body + l->ids, p->ids, p->ids_bytes);
  if (p->n_entries == 0) return;
  uint16_t *narrow = (uint16_t *)(void *)(body + l->terms);
  if (flags & SP_VF_WIDE_TERMS)
    memcpy(body + l->terms, p->terms, p->n_entries * sizeof *p->terms);
  else
    for (uint32_t i = 0; i < p->n_entries; i++) narrow[i] = (uint16_t)p->terms[i];
  uint16_t *halves = (uint16_t *)(void *)(body + l->weights);
  if (flags & SP_VF_WIDE_WEIGHTS)
    memcpy(body + l->weights, p->weights, p->n_entries * sizeof *p->weights);
  else
    for (uint32_t i = 0; i < p->n_entries; i++) halves[i] = sp_f32_to_f16(p->weights[i]);
}

sp_err sp_vf_block_write(const sp_vf_parts *p, sp_buf *out) {
  uint32_t flags = choose_flags(p);
  layout l = lay_out(flags, p->n_vectors, p->n_entries, p->ids_bytes);
  size_t bytes = SP_VF_HEAD_BYTES + (size_t)l.end;
  sp_err err = sp_buf_reserve(out, bytes);
  if (err) return err;
  memset(out->data, 0, bytes);
  out->n = bytes;

  uint8_t *head = (uint8_t *)out->data;
  memcpy(head, BLOCK, sizeof BLOCK);
  put_u32(head + 4, flags);
  put_u64(head + 8, p->first);
  put_u32(head + 16, p->n_vectors);
  put_u32(head + 20, p->n_entries);
  put_u32(head + 24, p->ids_bytes);
  put_u32(head + 28, p->n_terms);
  write_body(p, flags, &l, out->data + SP_VF_HEAD_BYTES);
  XXH3_state_t *state = XXH3_createState();
  if (!state) return sp_fail(SP_ENOMEM, "a checksum: out of memory");
  XXH3_64bits_reset(state);
  XXH3_64bits_update(state, head, SP_VF_SUMMED_BYTES);
  XXH3_64bits_update(state, head + SP_VF_HEAD_BYTES, (size_t)l.end);
  put_u64(head + SP_VF_SUMMED_BYTES, XXH3_64bits_digest(state));
  XXH3_freeState(state);
  return SP_OK;
}
