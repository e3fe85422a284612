/* base/strmap.h - strings numbered in the order they came: vocabularies, ids, merges.
 *
 * Keys are byte strings (NULs allowed), copied. Numbers run 0, 1, 2, ... without gaps; a
 * caller that needs other values keeps an array beside the map. One writer or many
 * readers. */
#ifndef SP_STRMAP_H
#define SP_STRMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct sp_strmap sp_strmap;

enum { SP_STRMAP_NONE = 0xffffffff }; /* no such key */

/* Errors: ENOMEM. */
sp_err sp_strmap_new(sp_strmap **out);
void sp_strmap_free(sp_strmap *m); /* NULL is fine */

/* *number is the key's number, new or old; the count grew exactly if it was new.
 * Errors: ENOMEM, EINVAL (more than 2^32 - 2 keys). */
sp_err sp_strmap_add(sp_strmap *m, const char *key, size_t n, uint32_t *number);

uint32_t sp_strmap_find(const sp_strmap *m, const char *key, size_t n);
uint32_t sp_strmap_count(const sp_strmap *m);

/* The key of `number` < count; *n its bytes. NUL-terminated; valid until the next add. */
const char *sp_strmap_key(const sp_strmap *m, uint32_t number, size_t *n);

#endif
