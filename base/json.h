/* base/json.h - reading JSON from strangers with jansson: one sentence for each fault.
 *
 * `where` names the file (or the field above) in messages. Returned pointers are borrowed
 * from the parent unless said otherwise. */
#ifndef SP_JSON_H
#define SP_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Parses a whole file of at most `max_bytes`; the caller ends *out with json_decref().
 * Errors: ENOTFOUND, EIO, ENOMEM, EINVAL (too large), EFORMAT ("path:line: reason"). */
sp_err sp_json_load_file(const char *path, size_t max_bytes, json_t **out);

/* The same of "dir/name", at most 4 MiB, whose path comes with it; both NULL where there
 * is no such file. `numbers_as_reals`: whole numbers come in as doubles, for files that may
 * say 10^30. The caller ends both, also after a failure. */
sp_err sp_json_load_beside(const char *dir, const char *name, bool numbers_as_reals,
                           char **path, json_t **out);

/* Parses n bytes. Duplicate keys: the last counts. EFORMAT: "where: reason (at byte b)".
 * U+0000 inside strings is accepted. */
sp_err sp_json_parse(const char *text, size_t n, const char *where, json_t **out);

/* Members of an object. A missing member leaves *out as it was: put the default there
 * first. A member that is null counts as missing. EFORMAT when the type or the range is
 * wrong. */
sp_err sp_json_get_bool(const json_t *o, const char *key, const char *where, bool *out);
sp_err sp_json_get_u32(const json_t *o, const char *key, const char *where, uint32_t min,
                       uint32_t max, uint32_t *out);
sp_err sp_json_get_double(const json_t *o, const char *key, const char *where, double min,
                          double max, double *out); /* whole numbers too; never NaN */
sp_err sp_json_get_string(const json_t *o, const char *key, const char *where,
                          const char **out);

/* The same, but a missing member is EFORMAT. */
sp_err sp_json_need_u32(const json_t *o, const char *key, const char *where, uint32_t min,
                        uint32_t max, uint32_t *out);
sp_err sp_json_need_string(const json_t *o, const char *key, const char *where,
                           const char **out);

/* Appends n bytes of UTF-8 (invalid ones replaced by U+FFFD) as a JSON string, with
 * quotes. */
sp_err sp_json_put_string(sp_buf *out, const char *s, size_t n);

#endif
