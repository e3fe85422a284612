/* tests/test_model_open.c - model directories, sound and hostile. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "encoder/encoder.h"
#include "encoder/model.h"
#include "tests/harness.h"
#include "tests/tiny_model.h"

static const char *shared(void) {
  const char *dir = getenv("SPINDLE_SHARED");
  return dir ? dir : "../shared";
}

static char *golden_path(const char *rest) {
  char *path = NULL;
  if (asprintf(&path, "%s/golden/encoders/%s", shared(), rest) < 0) abort();
  return path;
}

static char *need_golden(const char *rest) {
  char *path = golden_path(rest);
  if (sp_path_exists(path)) return path;
  print_message("skipped: %s is not there\n", path);
  free(path);
  skip();
  return NULL;
}

/* What the sentence must say about each. */
static const struct {
  const char *directory, *fault;
} HOSTILE[] = {
    {"adapter-base-missing", "../no-such-model is not there"},
    {"adapter-dora", "use_dora is not supported"},
    {"adapter-half-pair", "without its lora_B"},
    {"adapter-no-weights", "No such file"},
    {"adapter-not-lora", "peft_type IA3"},
    {"adapter-rank-disagrees", "rank 4"},
    {"adapter-unknown-layer", "layers.9"},
    {"config-empty", "the file is empty"},
    {"config-half", "premature end"},
    {"config-heads", "16 is not a multiple of num_attention_heads 3"},
    {"config-huge", "\"hidden_size\" is 4611686018427387904"},
    {"config-kv-heads",
     "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
    {"config-missing", "No such file"},
    {"config-negative-layers", "\"num_hidden_layers\" is -1"},
    {"config-no-architecture", "neither architectures nor model_type"},
    {"config-relative-positions", "position_embedding_type relative_key_query"},
    {"config-string-number", "\"hidden_size\" must be a whole number"},
    {"config-unknown-activation", "activation swishglu"},
    {"config-unknown-architecture", "T5ForConditionalGeneration"},
    {"config-zero-heads", "\"num_attention_heads\" is 0"},
    {"dtype-bytes-disagree",
     "layer.0.output.dense.weight has 1536 bytes, its shape and dtype F16"},
    {"dtype-not-float", "is I32, weights must be F32, F16 or BF16"},
    {"dtype-unknown", "unknown (F33)"},
    {"file-cut", "cut short?"},
    {"file-empty", "the file is empty"},
    {"file-shorter-than-8", "shorter than the 8"},
    {"header-cut", "premature end"},
    {"header-length-overflows", "18446744073709551615 is larger than the file"},
    {"header-length-zero", "the header is empty"},
    {"header-longer-than-file", "is larger than the file"},
    {"header-not-json", "the header is not JSON"},
    {"header-not-object", "not a JSON object"},
    {"index-escapes", "../good/model.safetensors leaves the directory"},
    {"index-half", "not JSON"},
    {"index-missing-shard", "model-00002-of-00002.safetensors, which is not there"},
    {"index-no-map", "weight_map is missing"},
    {"index-wrong-shard",
     "word_embeddings.weight is in model-00002-of-00002.safetensors, and it is not"},
    {"layers-against-config",
     "bert.encoder.layer.1.attention.self.query.weight is missing"},
    {"modules-escapes", "leaves the directory"},
    {"modules-half", "premature end"},
    {"modules-missing-folder", "1_SpladePooling"},
    {"modules-unknown-type", "sentence_transformers.models.LSTM"},
    {"no-lm-head", "no language-model head (cls.predictions.*)"},
    {"offsets-absent", "has no data_offsets"},
    {"offsets-fraction", "is not a whole number"},
    {"offsets-huge", "too large"},
    {"offsets-negative", "is negative"},
    {"offsets-outside", "transform.LayerNorm.bias ends at byte"},
    {"offsets-overlap", "layer.0.output.dense.weight overlaps"},
    {"offsets-reversed", "reversed"},
    {"offsets-three", "has 3 entries"},
    {"pooling-unknown-activation", "activation_function softplus"},
    {"pooling-unknown-strategy", "pooling_strategy mean"},
    {"positions-against-config", "[32, 16], config.json asks for [64, 16]"},
    {"router-missing-module", "query route names query_0_Missing"},
    {"router-no-document", "no document route"},
    {"router-short-table", "69 weights, the vocabulary 76"},
    {"shape-against-config", "config.json asks for [76, 32]"},
    {"shape-bytes-disagree", "layer.0.output.dense.weight has 1536 bytes"},
    {"shape-huge", "word_embeddings.weight has 4864 bytes"},
    {"shape-negative", "is negative"},
    {"shape-not-array", "is not an array"},
    {"shape-overflow", "overflows"},
    {"shape-transposed", "[24, 16], config.json asks for [16, 24]"},
    {"tensor-missing", "layer.0.output.dense.weight is missing"},
    {"tensor-missing-bias", "cls.predictions.bias is missing"},
    {"tensor-twice", "layer.0.output.dense.weight is named twice"},
    {"tokenizer-added-larger", "[X] has id 576"},
    {"tokenizer-bad-utf8", "not valid UTF-8"},
    {"tokenizer-deep", "parsing depth"},
    {"tokenizer-empty", "the file is empty"},
    {"tokenizer-half", "not JSON"},
    {"tokenizer-id-twice", "same id"},
    {"tokenizer-missing", "the file is missing"},
    {"tokenizer-negative-id", "negative id"},
    {"tokenizer-no-unk", "unk_token [UNK]"},
    {"tokenizer-no-vocab", "vocab"},
    {"tokenizer-template-unknown-token", "[BOS]"},
    {"tokenizer-unknown-model", "WordLevel"},
    {"tokenizer-unknown-normalizer", "normalizer type"},
    {"tokenizer-unknown-pre-tokenizer", "pre_tokenizer type"},
    {"tokenizer-vocab-larger", "id 87"},
    {"vocab-against-config", "[76, 16], config.json asks for [85, 16]"},
    {"weights-missing", "neither it nor model.safetensors.index.json"},
    {"weights-pickle-only", "a pickle"},
};

static const char *const SOUND[] = {"good", "index-good", "router-good", "adapter-good"};

/* Opens golden/encoders/bad/NAME; the caller frees *message. */
static sp_err open_bad(const char *root, const char *name, char **message) {
  char *dir = sp_path_join(root, name);
  sp_encoder_options o = {.device = "cpu", .n_threads = 1};
  sp_encoder *e = (sp_encoder *)1; /* open must reset it */
  sp_err err = sp_encoder_open(dir, &o, &e);
  assert_true(err ? e == NULL : e != NULL);
  *message = strdup(err ? sp_err_message() : "it opened");
  sp_encoder_free(e);
  free(dir);
  return err;
}

/* The file that expected.txt blames. */
static char *blamed_file(const char *root, const char *name) {
  char *dir = sp_path_join(root, name), *path = sp_path_join(dir, "expected.txt"), *text;
  size_t n;
  assert_int_equal(sp_file_read(path, 1 << 16, &text, &n), SP_OK);
  text[strcspn(text, ":")] = '\0';
  free(path);
  free(dir);
  return text;
}

static void every_hostile_directory_is_refused_by_file_and_fault(void **state) {
  (void)state;
  char *root = need_golden("bad");
  int wrong = 0;
  for (size_t i = 0; i < sizeof HOSTILE / sizeof *HOSTILE; i++) {
    char *message, *file = blamed_file(root, HOSTILE[i].directory);
    sp_err err = open_bad(root, HOSTILE[i].directory, &message);
    if (!err || !strstr(message, file) || !strstr(message, HOSTILE[i].fault) ||
        strchr(message, '\n')) {
      print_message("%s: expected \"%s\" of %s: %s\n", HOSTILE[i].directory,
                    HOSTILE[i].fault, file, message);
      wrong++;
    }
    free(message);
    free(file);
  }
  free(root);
  assert_int_equal(wrong, 0);
}

static void the_four_sound_ones_open(void **state) {
  (void)state;
  char *root = need_golden("bad");
  for (size_t i = 0; i < sizeof SOUND / sizeof *SOUND; i++) {
    char *message;
    if (open_bad(root, SOUND[i], &message)) fail_msg("%s: %s", SOUND[i], message);
    free(message);
  }
  free(root);
}

static void every_golden_model_opens(void **state) {
  (void)state;
  char *root = need_golden("models");
  DIR *d = opendir(root);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    char *dir = sp_path_join(root, e->d_name);
    sp_model *m;
    if (sp_model_open(dir, &m)) fail_msg("%s: %s", e->d_name, sp_err_message());
    sp_model_close(m);
    free(dir);
  }
  closedir(d);
  free(root);
}

/* As transformers has it: a Mistral whose tokens see the later ones too. */
static void a_mistral_may_say_that_it_is_not_causal(void **state) {
  (void)state;
  char *source = need_golden("models/mistral-splade-full"), *dir = tiny_dir_new();
  static const char *const FILES[] = {"model.safetensors", "tokenizer.json"};
  for (size_t i = 0; i < 2; i++) {
    char *from = sp_path_join(source, FILES[i]), *to = sp_path_join(dir, FILES[i]);
    char *whole = realpath(from, NULL);
    assert_int_equal(symlink(whole, to), 0);
    free(from), free(to), free(whole);
  }
  char *path = sp_path_join(source, "config.json"), *config, *changed;
  size_t n;
  assert_int_equal(sp_file_read(path, 1 << 16, &config, &n), SP_OK);
  assert_true(asprintf(&changed, "{\"is_causal\": false,%s", strchr(config, '{') + 1) >
              0);
  tiny_put(dir, "config.json", changed);
  sp_model *causal, *m;
  uint64_t hash, other;
  sp_pool *pool;
  assert_int_equal(sp_model_open(source, &causal), SP_OK);
  assert_int_equal(sp_model_open(dir, &m), SP_OK);
  assert_true(causal->causal);
  assert_false(m->causal);
  assert_int_equal(sp_pool_new(1, &pool), SP_OK);
  assert_int_equal(sp_model_hash(causal, pool, &hash), SP_OK);
  assert_int_equal(sp_model_hash(m, pool, &other), SP_OK);
  assert_true(hash != other); /* an index of the one is no index of the other */
  sp_pool_free(pool);
  sp_model_close(causal);
  sp_model_close(m);
  free(path), free(config), free(changed), free(source);
  tiny_dir_free(dir);
}

/* Nothing writes into it: a reader that opens it waits for ever. */
static void a_pipe_in_place_of_a_file_is_refused_at_once(void **state) {
  (void)state;
  static const char *const NAMES[] = {"config.json",
                                      "model.safetensors",
                                      "model.safetensors.index.json",
                                      "tokenizer.json",
                                      "tokenizer_config.json",
                                      "vocab.txt",
                                      "modules.json",
                                      "adapter_config.json",
                                      "sentence_bert_config.json",
                                      "config_sentence_transformers.json",
                                      "spindle.json",
                                      "idf.json",
                                      "query_token_weights.txt"};
  alarm(20);
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    char *dir = tiny_dir_new();
    tiny_bert_put(dir);
    char *path = sp_path_join(dir, NAMES[i]);
    unlink(path);
    if (!strncmp(NAMES[i], "model.safetensors.", 18) ||
        !strncmp(NAMES[i], "adapter", 7)) {
      char *weights = sp_path_join(dir, "model.safetensors");
      unlink(weights);
      free(weights);
    }
    assert_int_equal(mkfifo(path, 0600), 0);
    sp_encoder *e;
    const sp_encoder_options o = {.device = "cpu", .n_threads = 1};
    assert_int_equal(sp_encoder_open(dir, &o, &e), SP_EIO);
    if (!strstr(sp_err_message(), path) ||
        !strstr(sp_err_message(), "not a regular file"))
      fail_msg("%s: %s", NAMES[i], sp_err_message());
    free(path);
    tiny_dir_free(dir);
  }
  alarm(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_hostile_directory_is_refused_by_file_and_fault),
      cmocka_unit_test(the_four_sound_ones_open),
      cmocka_unit_test(every_golden_model_opens),
      cmocka_unit_test(a_mistral_may_say_that_it_is_not_causal),
      cmocka_unit_test(a_pipe_in_place_of_a_file_is_refused_at_once),
  };
  return cmocka_run_group_tests_name("model_open", tests, NULL, NULL);
}
