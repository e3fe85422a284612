/* server/hit.h - a result in JSON, the same over HTTP and in the tools. */
#ifndef SP_HIT_H
#define SP_HIT_H

#include <jansson.h>

#include "base/buf.h"
#include "index/index.h"
#include "query/search.h"

/* Appends {"id": .., "score": .., FIELD: .., ...}: the fields that are stored with the
 * document and named in `fields`, an array of strings (NULL: all). A stored "id" or "score"
 * does not show. A score has nine digits: the float is whole. `scratch` is overwritten.
 * Errors: ENOMEM, EFORMAT (the index is damaged). */
sp_err sp_put_hit(const sp_snapshot *snapshot, const sp_hit *hit, const json_t *fields,
                  sp_buf *scratch, sp_buf *out);

#endif
