/* tests/fuzz_tokenizer.c - any bytes as a tokenizer.json, and any bytes as a text.
 *
 * The input is the file, then, behind the last byte 0xff, the text: 0xff is in no UTF-8,
 * so no file is lost. A file that begins with 0xff is, behind it, a vocab.txt. What parses must save to what parses to the same tokenizer, spans
 * must lie within the text, and words met before must give the tokens they gave. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "encoder/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool holds) {
  if (!holds) abort();
}

/* False: refused, as normalization makes it grow too much. */
static bool encode(const sp_tokenizer *t, const char *text, size_t n, sp_tokens *tokens,
                   const sp_tokenize_options *options) {
  if (sp_tokenizer_encode(t, text, n, options, tokens)) return false;
  require(!options->max_length || tokens->n <= options->max_length);
  for (uint32_t i = 0; i < tokens->n; i++) {
    size_t length;
    require(tokens->ids[i] < sp_tokenizer_n_ids(t));
    const char *token = sp_tokenizer_token(t, tokens->ids[i], &length);
    require(token && sp_tokenizer_find(t, token, length) == tokens->ids[i]);
    require(!options->offsets ||
            (tokens->begin[i] <= tokens->end[i] && tokens->end[i] <= n));
  }
  return true;
}

/* Two scratches: one knows words of before, the other is new now and then (seldom, as
 * libFuzzer looks for leaks after each input that keeps memory). */
static void encode_text(const sp_tokenizer *t, const char *text, size_t n) {
  enum { LIFE = 1024 };
  static sp_tokens kept, fresh;
  static unsigned age;
  const sp_tokenize_options all = {.special_tokens = true, .offsets = true};
  const sp_tokenize_options cut = {.special_tokens = true, .max_length = 3};
  const sp_tokenize_options plain = {0};
  if (!encode(t, text, n, &kept, &all)) return;
  encode(t, text, n, &fresh, &cut);
  require(encode(t, text, n, &kept, &plain) && encode(t, text, n, &fresh, &plain));
  require(kept.n == fresh.n);
  if (kept.n) require(!memcmp(kept.ids, fresh.ids, kept.n * sizeof *kept.ids));
  if (++age % LIFE == 0) sp_tokens_free(&fresh);
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

static sp_err open_vocab_txt(const uint8_t *data, size_t n, sp_tokenizer **out) {
  char path[32];
  int fd = memfd_create("vocab.txt", 0);
  require(fd >= 0 && write(fd, data, n) == (ssize_t)n);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  sp_err err = sp_tokenizer_open(path, out);
  close(fd);
  return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  size_t split = n;
  while (split > 0 && data[split - 1] != 0xff) split--;
  size_t n_json = split ? split - 1 : n, text = split ? split : 0;
  sp_tokenizer *t;
  if (n_json && data[0] == 0xff
          ? open_vocab_txt(data + 1, n_json - 1, &t)
          : sp_tokenizer_parse((const char *)data, n_json, "fuzz", &t))
    return 0;
  encode_text(t, (const char *)data + text, n - text);
  save_and_reopen(t);
  sp_tokenizer_free(t);
  return 0;
}
