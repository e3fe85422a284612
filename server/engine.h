/* server/engine.h - an index and its encoder joined: a question becomes hits.
 *
 * The one place that knows both sides; the endpoint and the tools search through it.
 * Stored fields and external ids of the hits are read from the snapshot (index/index.h).
 */
#ifndef SP_ENGINE_H
#define SP_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vec.h"
#include "encoder/encoder.h"
#include "index/index.h"
#include "query/search.h"

/* An open index, a snapshot of it and its encoder. Never changes: threads share one. */
typedef struct sp_engine sp_engine;

/* Opens the index at `path` and the encoder it was built with. `model` (may be NULL) is a
 * directory to use instead of the one that the index remembers; an index built from a
 * file of vectors remembers none, and without `model` it answers vectors only. `options`
 * NULL: sp_encoder_defaults(). On SP_OK the caller owns *out. Errors: those of
 * sp_index_open() and sp_encoder_restore(); EINVAL (the encoder is not the index's: names
 * the field that differs). */
sp_err sp_engine_open(const char *path, const char *model,
                      const sp_encoder_options *options, sp_engine **out);
void sp_engine_close(sp_engine *e); /* after all its sessions; NULL is fine */

/* Borrowed from the engine; none fails. */
const char *sp_engine_name(const sp_engine *e); /* the last part of the index's path */
const sp_snapshot *sp_engine_snapshot(const sp_engine *e);
const sp_index_info *sp_engine_info(const sp_engine *e);
sp_encoder *sp_engine_encoder(const sp_engine *e); /* NULL: answers vectors only */

/* The scratch of one search at a time: made once a thread. Borrows the engine.
 * Errors: ENOMEM. */
typedef struct sp_session sp_session;
sp_err sp_session_new(const sp_engine *e, sp_session **out);
void sp_session_free(sp_session *s); /* NULL is fine */

/* Borrowed from the session until its next search. */
typedef struct sp_result {
  const sp_hit *hits; /* [n] best first */
  uint32_t n;
  const sp_vec *query; /* what was searched for: the text's vector, or the given one */
  sp_search_stats stats;
} sp_result;

/* Searches for a text (UTF-8; invalid bytes count as U+FFFD).
 * Errors: EINVAL (no encoder, k), ENOMEM, ECUDA. */
sp_err sp_session_search_text(sp_session *s, const char *text, size_t n,
                              const sp_search_params *params, sp_result *out);

/* Searches for a vector (base/vec.h: ascending terms, weights > 0). Errors: EINVAL,
 * ENOMEM.
 */
sp_err sp_session_search_vector(sp_session *s, const sp_vec *query,
                                const sp_search_params *params, sp_result *out);

#endif
