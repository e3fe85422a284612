/* base/strmap.c - open addressing over one block of key bytes. */
#include "base/strmap.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"

struct sp_strmap {
  sp_buf keys;      /* all keys, each followed by a NUL */
  size_t *starts;   /* [cap + 1] */
  uint32_t *slots;  /* [n_slots] number, or SP_STRMAP_NONE */
  uint32_t *hashes; /* [cap] kept so that growing never rereads keys */
  uint32_t n, cap;
  size_t n_slots; /* a power of two, at least twice n */
};

sp_err sp_strmap_new(sp_strmap **out) {
  *out = calloc(1, sizeof **out);
  return *out ? SP_OK : sp_fail(SP_ENOMEM, "string map: out of memory");
}

void sp_strmap_free(sp_strmap *m) {
  if (!m) return;
  sp_buf_free(&m->keys);
  free(m->starts);
  free(m->slots);
  free(m->hashes);
  free(m);
}

static uint32_t hash_of(const char *key, size_t n) {
  return (uint32_t)XXH3_64bits(key, n);
}

const char *sp_strmap_key(const sp_strmap *m, uint32_t number, size_t *n) {
  *n = m->starts[number + 1] - m->starts[number] - 1;
  return m->keys.data + m->starts[number];
}

/* The slot that holds the key, or the free one where it belongs. Needs n_slots > 0. */
static size_t slot_of(const sp_strmap *m, const char *key, size_t n, uint32_t hash) {
  size_t mask = m->n_slots - 1;
  for (size_t s = hash & mask;; s = (s + 1) & mask) {
    uint32_t number = m->slots[s];
    if (number == SP_STRMAP_NONE) return s;
    size_t length;
    if (m->hashes[number] != hash) continue;
    const char *at = sp_strmap_key(m, number, &length);
    if (length == n && memcmp(at, key, n) == 0) return s;
  }
}

static sp_err grow(sp_strmap *m) {
  uint32_t cap = m->cap ? m->cap * 2 : 64;
  if (cap < m->cap) return sp_fail(SP_EINVAL, "string map: too many keys");
  size_t *starts = realloc(m->starts, ((size_t)cap + 1) * sizeof *starts);
  if (starts) m->starts = starts;
  uint32_t *hashes = starts ? realloc(m->hashes, (size_t)cap * sizeof *hashes) : NULL;
  if (hashes) m->hashes = hashes;
  size_t n_slots = (size_t)cap * 2;
  uint32_t *slots = hashes ? malloc(n_slots * sizeof *slots) : NULL;
  if (!slots) return sp_fail(SP_ENOMEM, "string map of %u keys: out of memory", cap);

  memset(slots, 0xff, n_slots * sizeof *slots);
  for (uint32_t i = 0; i < m->n; i++) {
    size_t s = m->hashes[i] & (n_slots - 1);
    while (slots[s] != SP_STRMAP_NONE) s = (s + 1) & (n_slots - 1);
    slots[s] = i;
  }
  free(m->slots);
  m->slots = slots;
  m->n_slots = n_slots;
  m->cap = cap;
  m->starts[m->n] = m->keys.n;
  return SP_OK;
}

sp_err sp_strmap_add(sp_strmap *m, const char *key, size_t n, uint32_t *number) {
  if (m->n == m->cap) {
    sp_err err = grow(m);
    if (err) return err;
  }
  uint32_t hash = hash_of(key, n);
  size_t s = slot_of(m, key, n, hash);
  *number = m->slots[s];
  if (*number != SP_STRMAP_NONE) return SP_OK;

  sp_err err = sp_buf_reserve(&m->keys, m->keys.n + n + 1);
  if (err) return err;
  sp_buf_append(&m->keys, key, n); /* room was made: cannot fail */
  sp_buf_append_char(&m->keys, '\0');
  *number = m->n;
  m->slots[s] = m->n;
  m->hashes[m->n++] = hash;
  m->starts[m->n] = m->keys.n;
  return SP_OK;
}

uint32_t sp_strmap_find(const sp_strmap *m, const char *key, size_t n) {
  if (!m->n) return SP_STRMAP_NONE;
  return m->slots[slot_of(m, key, n, hash_of(key, n))];
}

uint32_t sp_strmap_count(const sp_strmap *m) {
  return m->n;
}
