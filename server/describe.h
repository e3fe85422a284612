/* server/describe.h - an index described in JSON, the same over HTTP and in the tools. */
#ifndef SP_DESCRIBE_H
#define SP_DESCRIBE_H

#include <jansson.h>

#include "index/index.h"

/* Counts, parameters, and `contract`, the encoder's (NULL: none; only read). A new object,
 * the caller's; NULL: memory ran out. */
json_t *sp_describe_index(const char *name, const sp_index_info *info,
                          const json_t *contract);

#endif
