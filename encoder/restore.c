/* encoder/restore.c - an encoder again, from what an index kept of it. */
#include "encoder/encoder_ops.h"

sp_err sp_encoder_restore(const void *state, size_t n, const char *model_dir,
                          const sp_encoder_options *options, sp_encoder **out) {
  *out = NULL;
  const char *bytes = state;
  sp_encoder_options defaults = sp_encoder_defaults();
  if (!options) options = &defaults;
  if (n > 0 && bytes[0] == 'm')
    return sp_neural_restore(bytes + 1, n - 1, model_dir, options, out);
  if (n > 0 && bytes[0] == 'l') {
    if (model_dir)
      return sp_fail(SP_EINVAL, "%s: the index was built without a model (lexical)",
                     model_dir);
    return sp_lexical_restore(bytes + 1, n - 1, options, out);
  }
  return sp_fail(SP_EFORMAT, "the stored encoder is of no known family");
}
