/* tests/fuzz_tokenizer.c - any bytes as a tokenizer.json, and any bytes as a text.
 *
 * The input is the file, then, behind the last byte 0xff, the text: 0xff is in no UTF-8,
 * so no file is lost. What parses must save to what parses to the same tokenizer, and
 * spans must lie within the text. Run by hand:
 *   fuzz_tokenizer FOLDER -max_total_time=300 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "encoder/tokenizer.h"

static void require(bool holds) {
  if (!holds) abort();
}

static void encode(const sp_tokenizer *t, const char *text, size_t n, sp_tokens *tokens,
                   const sp_tokenize_options *options) {
  if (sp_tokenizer_encode(t, text, n, options, tokens)) return; /* grows too much */
  require(!options->max_length || tokens->n <= options->max_length);
  for (uint32_t i = 0; i < tokens->n; i++) {
    size_t length;
    require(tokens->ids[i] < sp_tokenizer_n_ids(t));
    require(sp_tokenizer_token(t, tokens->ids[i], &length) != NULL);
    require(!options->offsets ||
            (tokens->begin[i] <= tokens->end[i] && tokens->end[i] <= n));
  }
}

static void save_and_reopen(const sp_tokenizer *t) {
  sp_buf saved = {0};
  sp_tokenizer *again = NULL;
  require(sp_tokenizer_save(t, &saved) == SP_OK);
  require(sp_tokenizer_parse(saved.data, saved.n, "saved", &again) == SP_OK);
  require(sp_tokenizer_hash(t) == sp_tokenizer_hash(again));
  sp_tokenizer_free(again);
  sp_buf_free(&saved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  size_t split = n;
  while (split > 0 && data[split - 1] != 0xff) split--;
  size_t n_json = split ? split - 1 : n, text = split ? split : 0;
  sp_tokenizer *t;
  if (sp_tokenizer_parse((const char *)data, n_json, "fuzz", &t)) return 0;
  sp_tokens tokens = {0};
  sp_tokenize_options spans = {.special_tokens = true, .offsets = true};
  sp_tokenize_options cut = {.special_tokens = true, .max_length = 3};
  encode(t, (const char *)data + text, n - text, &tokens, &spans);
  encode(t, (const char *)data + text, n - text, &tokens, &cut);
  sp_tokens_free(&tokens);
  save_and_reopen(t);
  sp_tokenizer_free(t);
  return 0;
}
