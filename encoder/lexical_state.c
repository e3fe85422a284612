/* encoder/lexical_state.c - a lexical encoder kept in an index: statistics, vocabulary,
 * tokenizer.
 *
 * All numbers little-endian.
 *    0  u8[4]  "LEX1": the family's format, version 1
 *    4  u32    flags: 1 the terms are a tokenizer's ids (else words); the rest 0
 *    8  f64    k1
 *   16  f64    b
 *   24  u64    documents counted
 *   32  u64    their tokens in all
 *   40  u32    n_terms
 *   44  u32    bytes of the payload before compression
 *   48  u64    XXH3 of bytes 0..47 followed by the rest from byte 56 on
 *   56  u8[]   the payload, one zstd frame
 * Payload: the document frequency of each term as LEB128; then with words the length of
 * each as LEB128 and its bytes, with a tokenizer its tokenizer.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "encoder/lexical.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the state's numbers are the machine's");

static const char MAGIC[4] = {'L', 'E', 'X', '1'};
enum { HEAD_BYTES = 56, SUMMED_BYTES = 48, WITH_TOKENIZER = 1, ZSTD_LEVEL = 3 };
static const size_t MAX_PAYLOAD_BYTES = (size_t)1 << 30;

/* As it lies in the state; every member is naturally aligned there. */
typedef struct state_head {
  char magic[4];
  uint32_t flags;
  double k1, b;
  uint64_t n_docs, total_length;
  uint32_t n_terms, payload_bytes;
  uint64_t checksum;
} state_head;
_Static_assert(sizeof(state_head) == HEAD_BYTES, "the layout above");

/* --- saving --- */

static sp_err put_number(sp_buf *out, uint32_t x) {
  char bytes[5];
  size_t n = 0;
  while (x >= 0x80) {
    bytes[n++] = (char)(x | 0x80);
    x >>= 7;
  }
  bytes[n++] = (char)x;
  return sp_buf_append(out, bytes, n);
}

static sp_err put_payload(const sp_lexical *x, uint32_t n_terms, sp_buf *out) {
  sp_err err = SP_OK;
  for (uint32_t t = 0; t < n_terms && !err; t++)
    err = put_number(out, t < x->df_cap ? x->df[t] : 0);
  if (err) return err;
  if (x->tokenizer) return sp_tokenizer_save(x->tokenizer, out);
  for (uint32_t t = 0; t < n_terms && !err; t++) {
    size_t n;
    const char *word = sp_strmap_key(x->words, t, &n);
    err = put_number(out, (uint32_t)n);
    if (!err) err = sp_buf_append(out, word, n);
  }
  return err;
}

/* The head's sum runs over what stands before it and what stands behind it. */
static sp_err checksum(const void *head, const void *rest, size_t rest_n, uint64_t *out) {
  XXH3_state_t *state = XXH3_createState();
  if (!state) return sp_fail(SP_ENOMEM, "a checksum: out of memory");
  XXH3_64bits_reset(state);
  XXH3_64bits_update(state, head, SUMMED_BYTES);
  XXH3_64bits_update(state, rest, rest_n);
  *out = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return SP_OK;
}

static sp_err put_compressed(const sp_buf *payload, sp_buf *out) {
  size_t bound = ZSTD_compressBound(payload->n);
  sp_err err = sp_buf_reserve(out, out->n + bound);
  if (err) return err;
  size_t n =
      ZSTD_compress(out->data + out->n, bound, payload->data, payload->n, ZSTD_LEVEL);
  if (ZSTD_isError(n))
    return sp_fail(SP_ENOMEM, "the encoder's state: %s", ZSTD_getErrorName(n));
  out->n += n;
  return SP_OK;
}

sp_err sp_lexical_save(const sp_encoder *e, sp_buf *out) {
  const sp_lexical *x = (const sp_lexical *)(const void *)e;
  state_head h = {.flags = x->tokenizer ? WITH_TOKENIZER : 0,
                  .k1 = x->k1,
                  .b = x->b,
                  .n_docs = x->n_docs,
                  .total_length = x->total_length,
                  .n_terms = sp_lexical_n_terms(x)};
  memcpy(h.magic, MAGIC, sizeof MAGIC);
  sp_buf payload = {.max = MAX_PAYLOAD_BYTES};
  size_t start = out->n;
  sp_err err = put_payload(x, h.n_terms, &payload);
  h.payload_bytes = (uint32_t)payload.n;
  if (!err) err = sp_buf_append(out, &h, sizeof h);
  if (!err) err = put_compressed(&payload, out);
  if (!err)
    err = checksum(&h, out->data + start + HEAD_BYTES, out->n - start - HEAD_BYTES,
                   &h.checksum);
  if (!err) memcpy(out->data + start, &h, sizeof h);
  sp_buf_free(&payload);
  return err;
}

/* --- restoring --- */

static sp_err damaged(const char *what) {
  return sp_fail(SP_EFORMAT, "the stored lexical encoder is damaged: %s", what);
}

static sp_err check_head(const state_head *h, const char *rest, size_t rest_n) {
  if (memcmp(h->magic, MAGIC, 3) != 0) return damaged("no lexical encoder begins so");
  if (h->magic[3] != MAGIC[3])
    return sp_fail(SP_EFORMAT,
                   "the stored lexical encoder is of version '%c', expected '%c'",
                   h->magic[3], MAGIC[3]);
  uint64_t sum;
  sp_err err = checksum(h, rest, rest_n, &sum);
  if (err) return err;
  if (sum != h->checksum) return damaged("its checksum differs");
  if (h->flags & ~(uint32_t)WITH_TOKENIZER) return damaged("unknown flags");
  if (!(h->k1 >= 0 && h->k1 <= 1000) || !(h->b >= 0 && h->b <= 1))
    return damaged("impossible k1 or b");
  if (h->payload_bytes > MAX_PAYLOAD_BYTES || h->n_terms > h->payload_bytes)
    return damaged("impossible sizes");
  return SP_OK;
}

typedef struct cursor {
  const char *at, *end;
} cursor;

static bool get_number(cursor *c, uint32_t *out) {
  uint64_t x = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    if (c->at == c->end) return false;
    unsigned char byte = (unsigned char)*c->at++;
    x |= (uint64_t)(byte & 0x7f) << shift;
    if (byte & 0x80) continue;
    *out = (uint32_t)x;
    return x <= UINT32_MAX;
  }
  return false;
}

static sp_err get_counts(sp_lexical *x, uint32_t n_terms, cursor *c) {
  sp_err err = sp_lexical_reserve(x, n_terms);
  if (err) return err;
  for (uint32_t t = 0; t < n_terms; t++)
    if (!get_number(c, &x->df[t]) || x->df[t] > x->n_docs)
      return damaged("impossible counts");
  return SP_OK;
}

static sp_err get_words(sp_lexical *x, uint32_t n_terms, cursor *c) {
  sp_err err = sp_strmap_new(&x->words);
  for (uint32_t t = 0; t < n_terms && !err; t++) {
    uint32_t n, term = 0;
    if (!get_number(c, &n) || n > (size_t)(c->end - c->at))
      return damaged("a word that is cut short");
    err = sp_strmap_add(x->words, c->at, n, &term);
    if (!err && term != t) return damaged("a word twice");
    c->at += n;
  }
  if (!err && c->at != c->end) return damaged("bytes behind the words");
  return err;
}

static sp_err get_payload(sp_lexical *x, const state_head *h, const char *payload) {
  cursor c = {payload, payload + h->payload_bytes};
  sp_err err = get_counts(x, h->n_terms, &c);
  if (err) return err;
  if (!(h->flags & WITH_TOKENIZER)) return get_words(x, h->n_terms, &c);
  err = sp_tokenizer_parse(c.at, (size_t)(c.end - c.at), "the stored tokenizer",
                           &x->tokenizer);
  if (!err && sp_tokenizer_n_ids(x->tokenizer) != h->n_terms)
    err = damaged("its tokenizer has another number of terms");
  return err;
}

static sp_err decompress(const state_head *h, const char *rest, size_t rest_n,
                         char **out) {
  *out = NULL;
  if (ZSTD_getFrameContentSize(rest, rest_n) != h->payload_bytes)
    return damaged("its payload is of another size");
  char *payload = malloc((size_t)h->payload_bytes + 1);
  if (!payload)
    return sp_fail(SP_ENOMEM, "an encoder's state of %u bytes: out of memory",
                   h->payload_bytes);
  size_t n = ZSTD_decompress(payload, h->payload_bytes, rest, rest_n);
  if (ZSTD_isError(n) || n != h->payload_bytes) {
    free(payload);
    return damaged("its payload does not decompress");
  }
  payload[n] = '\0';
  *out = payload;
  return SP_OK;
}

sp_err sp_lexical_restore(const char *state, size_t n, const sp_encoder_options *options,
                          sp_encoder **out) {
  *out = NULL;
  state_head h;
  if (n < sizeof h) return damaged("it is cut short");
  memcpy(&h, state, sizeof h); /* it may lie anywhere in a map */
  const char *rest = state + HEAD_BYTES;
  sp_err err = check_head(&h, rest, n - HEAD_BYTES);
  if (err) return err;
  char *payload;
  err = decompress(&h, rest, n - HEAD_BYTES, &payload);
  if (err) return err;
  sp_lexical *x = sp_lexical_new(h.k1, h.b, options->n_threads);
  if (!x) {
    free(payload);
    return SP_ENOMEM;
  }
  x->n_docs = h.n_docs;
  x->total_length = h.total_length;
  err = get_payload(x, &h, payload);
  free(payload);
  if (err) {
    sp_encoder_free(&x->base);
    return err;
  }
  *out = &x->base;
  return SP_OK;
}
