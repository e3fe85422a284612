/* tests/fuzz_model_config.c - any JSON as a config.json: what is accepted can be computed
 * with. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "encoder/model_config.h"

static void require(int holds) {
  if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  json_t *o;
  if (sp_json_parse((const char *)data, n, "fuzz", &o)) return 0;
  sp_model_config c;
  if (!sp_model_config_parse(o, "fuzz", &c)) {
    require(c.vocab_size && c.hidden_size && c.n_layers && c.n_heads && c.n_kv_heads);
    require(c.head_dim && c.intermediate_size && c.max_positions);
    require(c.n_heads % c.n_kv_heads == 0);
    require((uint64_t)c.n_heads * c.head_dim * 3 <= UINT32_MAX);
    require((uint64_t)c.intermediate_size * 2 <= UINT32_MAX);
    require(c.rope_theta == 0 || c.head_dim % 2 == 0);
    require(c.norm_eps >= 0 && c.norm_eps <= 1);
    sp_model_config_free(&c);
  }
  json_decref(o);
  return 0;
}
