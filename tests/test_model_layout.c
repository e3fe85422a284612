/* tests/test_model_layout.c - which file of a model's directory says what. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "encoder/encoder.h"
#include "encoder/model.h"
#include "tests/harness.h"
#include "tests/tiny_model.h"

static const char MODULES[] =
    "[{\"path\": \"\", \"type\": \"sentence_transformers.models.MLMTransformer\"},"
    " {\"path\": \"1_SpladePooling\", \"type\": \"x.SpladePooling\"}]";

static int make(void **state) {
  char *dir = tiny_dir_new();
  *state = dir;
  return 0;
}

static int unmake(void **state) {
  tiny_dir_free(*state);
  return 0;
}

static sp_model *open_model(const char *dir, const char *name) {
  char *path = sp_path_join(dir, name);
  sp_model *m;
  if (sp_model_open(path, &m)) fail_msg("%s", sp_err_message());
  free(path);
  return m;
}

/* An adapter in dir/adapter on the model in dir/base, each with files of its own. */
static void put_adapter_and_base(const char *dir) {
  char *base = sp_path_join(dir, "base"), *adapter = sp_path_join(dir, "adapter");
  tiny_put(dir, "base/sentence_bert_config.json", "{\"max_seq_length\": 20}");
  tiny_put(dir, "base/config_sentence_transformers.json",
           "{\"prompts\": {\"query\": \"the \", \"document\": \"heron \"}}");
  tiny_bert_put(base);
  tiny_adapter_put(adapter, "../base", "");
  free(base);
  free(adapter);
}

static void put_layout_of_its_own(const char *dir) {
  tiny_put(dir, "adapter/modules.json", MODULES);
  tiny_put(dir, "adapter/1_SpladePooling/config.json",
           "{\"pooling_strategy\": \"max\", \"activation_function\": \"log1p_relu\"}");
}

static void an_adapter_without_files_of_its_own_is_its_bases(void **state) {
  put_adapter_and_base(*state);
  sp_model *m = open_model(*state, "adapter");
  assert_int_equal(m->log1p_times, 1);
  assert_int_equal(m->max_length, 20);
  assert_string_equal(m->query_prompt, "the ");
  assert_non_null(m->layers[0].q.weight.lora.a);
  sp_model_close(m);
}

static void an_adapter_says_itself_what_it_has_a_file_for(void **state) {
  put_adapter_and_base(*state);
  tiny_put(*state, "adapter/sentence_bert_config.json", "{\"max_seq_length\": 12}");
  sp_model *m = open_model(*state, "adapter");
  assert_int_equal(m->max_length, 12);
  assert_string_equal(m->query_prompt, "the ");
  sp_model_close(m);

  tiny_put(*state, "adapter/config_sentence_transformers.json",
           "{\"prompts\": {\"query\": \"search: \"}, \"max_active_dims\": 3}");
  m = open_model(*state, "adapter");
  assert_string_equal(m->query_prompt, "search: ");
  assert_string_equal(m->document_prompt, "");
  assert_int_equal(m->max_active_dims, 3);
  sp_model_close(m);
}

/* As sentence-transformers saves a trained adapter: nothing but the network is the base's. */
static void an_adapter_with_modules_has_nothing_but_the_network_from_its_base(
    void **state) {
  put_adapter_and_base(*state);
  put_layout_of_its_own(*state);
  sp_model *m = open_model(*state, "adapter");
  assert_int_equal(m->log1p_times, 2);
  assert_int_equal(m->max_length, TINY_POSITIONS);
  assert_string_equal(m->query_prompt, "");
  assert_string_equal(m->document_prompt, "");
  assert_non_null(m->layers[0].q.weight.lora.a);
  assert_non_null(m->tokenizer_path);
  sp_model_close(m);
}

static void an_adapter_may_lie_in_its_modules_folder(void **state) {
  put_adapter_and_base(*state);
  char *folder = sp_path_join(*state, "model/0_MLMTransformer");
  tiny_put(*state, "model/modules.json",
           "[{\"path\": \"0_MLMTransformer\", \"type\": \"x.MLMTransformer\"},"
           " {\"path\": \"1_SpladePooling\", \"type\": \"x.SpladePooling\"}]");
  tiny_put(*state, "model/1_SpladePooling/config.json", "{}");
  tiny_put(*state, "model/0_MLMTransformer/vocab.txt", TINY_VOCAB_TXT);
  tiny_adapter_put(folder, "../../base", "");
  sp_model *m = open_model(*state, "model");
  assert_non_null(m->layers[0].q.weight.lora.a);
  assert_non_null(strstr(m->tokenizer_path, "model/0_MLMTransformer/vocab.txt"));
  sp_model_close(m);
  free(folder);
}

static sp_err open_refused(const char *dir, const char *name, const char *why) {
  char *path = sp_path_join(dir, name);
  sp_model *m;
  sp_err err = sp_model_open(path, &m);
  if (!err) sp_model_close(m);
  if (!err || !strstr(sp_err_message(), why) || strchr(sp_err_message(), '\n'))
    fail_msg("expected \"%s\": %s", why, err ? sp_err_message() : "it opened");
  free(path);
  return err;
}

static void a_base_named_by_its_hub_id_is_told_where_to_lie(void **state) {
  char *adapter = sp_path_join(*state, "adapter"), *place = NULL;
  tiny_adapter_put(adapter, "naver/splade-v3", "");
  assert_true(asprintf(&place, "put its directory at %s/naver/splade-v3", adapter) > 0);
  assert_int_equal(open_refused(*state, "adapter", place), SP_ENOTFOUND);
  char *base = sp_path_join(adapter, "naver/splade-v3");
  tiny_bert_put(base);
  sp_model_close(open_model(*state, "adapter"));
  free(adapter);
  free(place);
  free(base);
}

/* Each would add nothing to the vectors, or something else than the sum. */
static void an_adapter_that_the_sum_is_wrong_for_is_refused(void **state) {
  static const char *const FAULTS[][2] = {
      {"\"bias\": \"all\"", "bias \"all\""},
      {"\"fan_in_fan_out\": true", "fan_in_fan_out"},
      {"\"modules_to_save\": [\"decoder\"]", "modules_to_save"},
      {"\"kasa_config\": {\"beta\": 1}", "kasa_config"},
      {"\"init_lora_weights\": \"pissa\"", "init_lora_weights"},
      {"\"rank_pattern\": {\"^query\": 2}", "not a plain name"},
      {"\"rank_pattern\": {\"query\": 3}", "rank 2, adapter_config.json says 3"}};
  char *base = sp_path_join(*state, "base"), *adapter = sp_path_join(*state, "adapter");
  tiny_bert_put(base);
  for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
    tiny_adapter_put(adapter, "../base", FAULTS[i][0]);
    open_refused(*state, "adapter", FAULTS[i][1]);
  }
  free(base);
  free(adapter);
}

static void an_adapter_on_what_the_network_does_not_use_is_refused(void **state) {
  static const tiny_tensor POOLER[] = {
      {"base_model.model.bert.pooler.dense.lora_A.weight", 2, 8, false},
      {"base_model.model.bert.pooler.dense.lora_B.weight", 8, 2, false}};
  static const tiny_tensor ABSENT[] = {
      {"base_model.model.bert.pooler.other.lora_A.weight", 2, 8, false},
      {"base_model.model.bert.pooler.other.lora_B.weight", 8, 2, false}};
  put_adapter_and_base(*state);
  char *adapter = sp_path_join(*state, "adapter");
  tiny_tensors_put(adapter, "adapter_model.safetensors", POOLER, 2);
  open_refused(*state, "adapter", "bert.pooler.dense, which the network does not use");
  tiny_tensors_put(adapter, "adapter_model.safetensors", ABSENT, 2);
  open_refused(*state, "adapter", "bert.pooler.other, which the base model lacks");
  free(adapter);
}

static float scale_of(const char *dir, const char *more) {
  char *adapter = sp_path_join(dir, "adapter");
  tiny_adapter_put(adapter, "../base", more);
  sp_model *m = open_model(dir, "adapter");
  float scale = m->layers[0].q.weight.lora.scale;
  sp_model_close(m);
  free(adapter);
  return scale;
}

static void patterns_and_rank_stabilising_decide_the_scale(void **state) {
  put_adapter_and_base(*state);
  const float root = sqrtf(2);
  assert_true(scale_of(*state, "") == 4 / 2.f);
  assert_true(fabsf(scale_of(*state, "\"use_rslora\": true") - 4 / root) < 1e-6f);
  assert_true(scale_of(*state, "\"alpha_pattern\": {\"self.query\": 3}") == 3 / 2.f);
  assert_true(scale_of(*state, "\"alpha_pattern\": {\"elf.query\": 3}") == 4 / 2.f);
  assert_true(scale_of(*state, "\"alpha_pattern\": {\"quer.\": 3}") == 3 / 2.f);
  assert_true(scale_of(*state,
                       "\"alpha_pattern\": {\"key\": 3, \"query\": 5},"
                       " \"rank_pattern\": {\"key\": 7, \"query\": 2}") == 5 / 2.f);
}

/* transformers' loader takes the adapter there, on the base that it names. */
static void an_adapter_beside_whole_weights_is_an_adapter(void **state) {
  put_adapter_and_base(*state);
  char *adapter = sp_path_join(*state, "adapter");
  tiny_bert_put(adapter);
  sp_model *m = open_model(*state, "adapter");
  assert_non_null(m->layers[0].q.weight.lora.a);
  sp_model_close(m);
  free(adapter);
}

/* transformers 4 ties them, 5 does not where they differ. */
static void a_parameter_that_is_there_twice_must_be_the_same(void **state) {
  static const tiny_tensor DECODER = {"cls.predictions.decoder.weight", 19, 8, false};
  static const tiny_tensor BIAS = {"cls.predictions.decoder.bias", 0, 19, false};
  tiny_bert_put_with(*state, &DECODER, 1);
  open_refused(*state, "", "decoder.weight is not equal to the word embedding");
  tiny_bert_put_with(*state, &BIAS, 1);
  open_refused(*state, "", "decoder.bias is not equal to the decoder's other bias");
}

static void a_shard_in_another_folder_is_refused(void **state) {
  tiny_bert_put(*state);
  char *weights = sp_path_join(*state, "model.safetensors");
  assert_int_equal(remove(weights), 0);
  free(weights);
  tiny_put(*state, "model.safetensors.index.json", "{\"weight_map\": {\"x\": \"a/b\"}}");
  open_refused(*state, "", "the shard a/b lies in another folder");
}

static void a_token_model_in_pylates_words_is_refused(void **state) {
  static const tiny_tensor LINEAR = {"linear.weight", 4, 8, false};
  tiny_bert_put(*state);
  tiny_put(*state, "modules.json",
           "[{\"path\": \"\", \"type\": \"x.Transformer\"},"
           " {\"path\": \"1_Dense\", \"type\": \"pylate.models.Dense.Dense\"}]");
  tiny_put(*state, "1_Dense/config.json", "{}");
  tiny_tensors_put(*state, "1_Dense/model.safetensors", &LINEAR, 1);
  sp_model_close(open_model(*state, ""));
  tiny_put(*state, "config_sentence_transformers.json", "{\"query_prefix\": \"[Q] \"}");
  open_refused(*state, "", "query_prefix is PyLate's");
}

static const char ROUTER[] =
    "{\"types\": {\"document_0\": \"x.MLMTransformer\", \"pool\": \"x.SpladePooling\"},"
    " \"structure\": {\"document\": [\"document_0\", \"pool\"],"
    " \"query\": [\"document_0\", \"pool\"]}%s}";

static void put_router(const char *dir, const char *file, const char *more) {
  char *folder = sp_path_join(dir, "document_0"), text[512];
  tiny_bert_put(folder);
  tiny_put(dir, "pool/config.json", "{\"activation_function\": \"log1p_relu\"}");
  tiny_put(dir, "modules.json", "[{\"path\": \"\", \"type\": \"x.Asym\"}]");
  snprintf(text, sizeof text, ROUTER, more);
  if (file) tiny_put(dir, file, text);
  free(folder);
}

static void a_query_table_has_the_limit_of_its_own_tokenizer(void **state) {
  static const tiny_tensor TABLE = {"weight", 0, 19, true};
  put_router(*state, NULL, "");
  tiny_put(
      *state, "router_config.json",
      "{\"types\": {\"document_0\": \"x.Transformer\", \"pool\": \"x.SpladePooling\","
      " \"q\": \"x.SparseStaticEmbedding\"}, \"structure\": {\"query\": [\"q\"],"
      " \"document\": [\"document_0\", \"pool\"]}}");
  tiny_tensors_put(*state, "q/model.safetensors", &TABLE, 1);
  tiny_put(*state, "document_0/sentence_bert_config.json", "{\"max_seq_length\": 5}");
  sp_model *m = open_model(*state, "");
  assert_int_equal(m->query_table_length, 0); /* no tokenizer: the document's limit */
  sp_model_close(m);
  tiny_put(*state, "q/tokenizer.json", "{}");
  tiny_put(*state, "q/tokenizer_config.json", "{\"model_max_length\": 9}");
  m = open_model(*state, "");
  assert_int_equal(m->query_table_length, 9);
  assert_int_equal(m->max_length, 5);
  sp_model_close(m);
}

static void a_routers_wiring_may_lie_in_its_older_config(void **state) {
  put_router(*state, "config.json", "");
  sp_model *m = open_model(*state, "");
  assert_int_equal(m->log1p_times, 2);
  assert_non_null(strstr(m->tokenizer_path, "document_0/vocab.txt"));
  sp_model_close(m);
}

static void a_router_without_wiring_is_refused_by_what_is_missing(void **state) {
  put_router(*state, NULL, "");
  open_refused(*state, "", "types and structure, is neither in");
  tiny_put(*state, "config.json", "{\"model_type\": \"bert\"}");
  open_refused(*state, "", "types and structure, is neither in");
  put_router(*state, "router_config.json",
             ", \"parameters\": {\"route_mappings\": {\"('query', None)\": \"x\"}}");
  open_refused(*state, "", "route_mappings are not supported");
}

/* sentence-transformers' encode_query and encode_document never come to the others. */
static void prompts_are_those_named_query_and_document(void **state) {
  tiny_bert_put(*state);
  tiny_put(*state, "config_sentence_transformers.json",
           "{\"prompts\": {\"passage\": \"p: \", \"x\": \"x: \", \"query\": null},"
           " \"default_prompt_name\": \"x\"}");
  sp_model *m = open_model(*state, "");
  assert_string_equal(m->query_prompt, "");
  assert_string_equal(m->document_prompt, "");
  sp_model_close(m);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make, unmake)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIR(an_adapter_without_files_of_its_own_is_its_bases),
      IN_DIR(an_adapter_says_itself_what_it_has_a_file_for),
      IN_DIR(an_adapter_with_modules_has_nothing_but_the_network_from_its_base),
      IN_DIR(an_adapter_may_lie_in_its_modules_folder),
      IN_DIR(a_base_named_by_its_hub_id_is_told_where_to_lie),
      IN_DIR(an_adapter_that_the_sum_is_wrong_for_is_refused),
      IN_DIR(an_adapter_on_what_the_network_does_not_use_is_refused),
      IN_DIR(patterns_and_rank_stabilising_decide_the_scale),
      IN_DIR(an_adapter_beside_whole_weights_is_an_adapter),
      IN_DIR(a_parameter_that_is_there_twice_must_be_the_same),
      IN_DIR(a_shard_in_another_folder_is_refused),
      IN_DIR(a_token_model_in_pylates_words_is_refused),
      IN_DIR(a_query_table_has_the_limit_of_its_own_tokenizer),
      IN_DIR(a_routers_wiring_may_lie_in_its_older_config),
      IN_DIR(a_router_without_wiring_is_refused_by_what_is_missing),
      IN_DIR(prompts_are_those_named_query_and_document),
  };
  return cmocka_run_group_tests_name("model_layout", tests, NULL, NULL);
}
