/* tests/test_model_text.c - what a model's files do to a text before the network sees it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "encoder/encoder.h"
#include "encoder/model.h"
#include "encoder/tokenizer.h"
#include "tests/harness.h"
#include "tests/tiny_model.h"

static int make(void **state) {
  *state = tiny_dir_new();
  tiny_bert_put(*state);
  return 0;
}

static int unmake(void **state) {
  tiny_dir_free(*state);
  return 0;
}

static sp_encoder *open_encoder(const char *dir) {
  const sp_encoder_options o = {.device = "cpu", .n_threads = 1};
  sp_encoder *e;
  if (sp_encoder_open(dir, &o, &e)) fail_msg("%s", sp_err_message());
  return e;
}

/* Whether the model sees no difference between two texts. */
static bool same(const char *dir, const char *a, const char *b) {
  sp_encoder *e = open_encoder(dir);
  const sp_text texts[2] = {{a, strlen(a)}, {b, strlen(b)}};
  sp_vec v[2] = {{0}, {0}};
  assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, texts, 2, v), SP_OK);
  assert_true(v[0].n > 0);
  bool equal = v[0].n == v[1].n &&
               !memcmp(v[0].terms, v[1].terms, v[0].n * sizeof *v[0].terms) &&
               !memcmp(v[0].weights, v[1].weights, v[0].n * sizeof *v[0].weights);
  sp_vec_free(&v[0]);
  sp_vec_free(&v[1]);
  sp_encoder_free(e);
  return equal;
}

/* A tokenizer.json of some of the vocabulary, with a normalizer and a member more. */
static void put_tokenizer_json(const char *dir, const char *normalizer,
                               const char *more) {
  char text[2048];
  snprintf(text, sizeof text,
           "{\"normalizer\": %s, %s \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},"
           " \"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"[CLS]\", 2],"
           " \"sep\": [\"[SEP]\", 3]}, \"model\": {\"type\": \"WordPiece\", \"vocab\":"
           " {\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"[MASK]\": 4,"
           " \"the\": 5, \"heron\": 6, \"The\": 7, \"Heron\": 8, \"caf\": 10,"
           " \"##e\": 11, \"##\xc3\xa9\": 12, \"\xe6\x9d\xb1\": 13,"
           " \"##\xe4\xba\xac\": 14, \"\xe4\xba\xac\": 15}}}",
           normalizer, more);
  tiny_put(dir, "tokenizer.json", text);
}

static const char CAFE[] = "caf\xc3\xa9", TOKYO[] = "\xe6\x9d\xb1\xe4\xba\xac",
                  TOKYO_APART[] = "\xe6\x9d\xb1 \xe4\xba\xac";

static void vocab_txt_alone_is_lower_cased_and_stripped(void **state) {
  assert_true(same(*state, "The Heron", "the heron"));
  assert_true(same(*state, CAFE, "cafe"));
  assert_true(same(*state, TOKYO, TOKYO_APART));
}

static void vocab_txt_is_read_as_tokenizer_config_says(void **state) {
  tiny_put(*state, "tokenizer_config.json", "{\"do_lower_case\": false}");
  assert_false(same(*state, "The Heron", "the heron"));
  assert_false(same(*state, CAFE, "cafe"));
  tiny_put(*state, "tokenizer_config.json", "{\"strip_accents\": false}");
  assert_true(same(*state, "The Heron", "the heron"));
  assert_false(same(*state, CAFE, "cafe"));
  tiny_put(*state, "tokenizer_config.json",
           "{\"do_lower_case\": false, \"strip_accents\": true,"
           " \"tokenize_chinese_chars\": false}");
  assert_true(same(*state, CAFE, "cafe"));
  assert_false(same(*state, TOKYO, TOKYO_APART));
}

/* As transformers has them: looked for before lower-casing only where they are special. */
static void added_tokens_beside_vocab_txt_are_added(void **state) {
  assert_false(same(*state, "thesearchwaits", "the search waits"));
  tiny_put(*state, "added_tokens.json", "{\"waits\": 16, \"search\": 17, \"[MASK]\": 4}");
  assert_true(same(*state, "thesearchwaits", "the search waits"));
  tiny_put(*state, "tokenizer_config.json", /* comes before the other file */
           "{\"added_tokens_decoder\": {\"16\": {\"content\": \"waits\"}}}");
  assert_false(same(*state, "thesearchwaits", "the search waits"));
  assert_true(same(*state, "theheronwaits", "theheron waits"));
}

static const char CASED[] = "{\"type\": \"BertNormalizer\", \"lowercase\": false}";

/* As BertTokenizer of transformers does; measured with 5.23. */
static void tokenizer_config_comes_before_the_bert_normalizer(void **state) {
  put_tokenizer_json(*state, CASED, "");
  assert_true(same(*state, "The Heron", "the heron")); /* the class's own defaults */
  tiny_put(*state, "tokenizer_config.json",
           "{\"do_lower_case\": false, \"strip_accents\": true}");
  assert_false(same(*state, "The Heron", "the heron"));
  assert_true(same(*state, CAFE, "cafe"));
  put_tokenizer_json(*state, "{\"type\": \"BertNormalizer\"}", "");
  assert_false(same(*state, "The Heron", "the heron"));
}

/* Whichever class; an added token's id must be free or its own. */
static void added_tokens_of_tokenizer_config_join_those_of_tokenizer_json(void **state) {
  put_tokenizer_json(*state, "null",
                     "\"added_tokens\": [{\"id\": 4, \"content\": \"[MASK]\","
                     " \"special\": true}],");
  assert_false(same(*state, "thewaits", "the waits"));
  assert_false(same(*state, "the[MASK]", "the [mask]"));
  tiny_put(*state, "tokenizer_config.json",
           "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"added_tokens_decoder\":"
           " {\"16\": {\"content\": \"waits\"}, \"4\": {\"content\": \"[MASK]\","
           " \"single_word\": true, \"special\": true}}}");
  assert_true(same(*state, "thewaits", "the waits"));
  assert_false(same(*state, "the[MASK]", "the [MASK]")); /* single_word */
  tiny_put(*state, "tokenizer_config.json",
           "{\"added_tokens_decoder\": {\"6\": {\"content\": \"waits\"}}}");
  sp_tokenizer *t;
  assert_int_equal(sp_tokenizer_open(*state, &t), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "have the same id 6"));
}

static void other_special_tokens_in_tokenizer_config_are_refused(void **state) {
  put_tokenizer_json(*state, CASED, "");
  tiny_put(*state, "tokenizer_config.json",
           "{\"cls_token\": {\"content\": \"[CLS]\"}, \"unk_token\": \"[MASK]\"}");
  const sp_encoder_options o = {.device = "cpu", .n_threads = 1};
  sp_encoder *e;
  assert_int_equal(sp_encoder_open(*state, &o, &e), SP_EFORMAT);
  assert_non_null(
      strstr(sp_err_message(), "unk_token is [MASK], tokenizer.json has [UNK]"));
  tiny_put(*state, "tokenizer_config.json", "{\"truncation_side\": \"left\"}");
  assert_int_equal(sp_encoder_open(*state, &o, &e), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "truncation_side left"));
}

static void robertas_prefix_space_is_tokenizer_configs(void **state) {
  static const char JSON[] =
      "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": %s}, "
      "\"model\":"
      " {\"type\": \"BPE\", \"merges\": [], \"vocab\": {\"a\": 0, \"\xc4\xa0\": 1}}}";
  for (int prefix = 0; prefix < 2; prefix++) {
    char text[300];
    snprintf(text, sizeof text, JSON, prefix ? "false" : "true");
    tiny_put(*state, "tokenizer.json", text);
    tiny_put(*state, "tokenizer_config.json",
             prefix ? "{\"tokenizer_class\": \"RobertaTokenizer\","
                      " \"add_prefix_space\": true}"
                    : "{\"tokenizer_class\": \"RobertaTokenizerFast\"}");
    sp_tokenizer *t;
    sp_tokens tokens = {0};
    assert_int_equal(sp_tokenizer_open(*state, &t), SP_OK);
    assert_int_equal(sp_tokenizer_encode(t, "a", 1, &(sp_tokenize_options){0}, &tokens),
                     SP_OK);
    assert_int_equal(tokens.n, 1 + prefix);
    sp_tokens_free(&tokens);
    sp_tokenizer_free(t);
  }
}

static void other_tokenizer_classes_keep_the_normalizer(void **state) {
  put_tokenizer_json(*state, CASED, "");
  tiny_put(*state, "tokenizer_config.json",
           "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"do_lower_case\": true}");
  assert_false(same(*state, "The Heron", "the heron"));
}

static void changed_rules_are_saved_with_the_tokenizer(void **state) {
  put_tokenizer_json(*state, CASED, "");
  tiny_put(*state, "tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\"}");
  sp_tokenizer *t, *again;
  sp_buf saved = {0};
  assert_int_equal(sp_tokenizer_open(*state, &t), SP_OK);
  assert_int_equal(sp_tokenizer_save(t, &saved), SP_OK);
  assert_int_equal(sp_tokenizer_parse(saved.data, saved.n, "saved", &again), SP_OK);
  assert_true(sp_tokenizer_hash(t) == sp_tokenizer_hash(again));
  assert_non_null(strstr(saved.data, "\"lowercase\":true"));
  sp_tokenizer_free(t);
  sp_tokenizer_free(again);
  sp_buf_free(&saved);
}

/* Fingerprints of indexes depend on it. */
static void rules_that_agree_leave_the_hash_alone(void **state) {
  put_tokenizer_json(*state, "{\"type\": \"BertNormalizer\", \"strip_accents\": null}",
                     "");
  sp_tokenizer *alone, *ruled;
  assert_int_equal(sp_tokenizer_open(*state, &alone), SP_OK);
  const sp_tokenizer_wish wish = {.bert = true, .lowercase = true};
  assert_int_equal(sp_tokenizer_open_for(*state, &wish, &ruled), SP_OK);
  assert_true(sp_tokenizer_hash(alone) == sp_tokenizer_hash(ruled));
  sp_tokenizer_free(alone);
  sp_tokenizer_free(ruled);
}

/* sentence-transformers' do_lower_case: before the normalizer, but not in added tokens. */
static void do_lower_case_lowers_whatever_the_tokenizer_does(void **state) {
  put_tokenizer_json(*state, CASED,
                     "\"added_tokens\": [{\"id\": 4, \"content\": \"[MASK]\","
                     " \"special\": true}],");
  tiny_put(*state, "tokenizer_config.json", "{\"do_lower_case\": false}");
  assert_false(same(*state, "The Heron", "the heron"));
  tiny_put(*state, "sentence_bert_config.json", "{\"do_lower_case\": true}");
  assert_true(same(*state, "The Heron [MASK]", "the heron [MASK]"));
  assert_false(same(*state, "the [MASK]", "the [mask]"));
  assert_false(same(*state, CAFE, "cafe"));
  put_tokenizer_json(*state, "{\"type\": \"Sequence\", \"normalizers\": []}", "");
  assert_true(same(*state, "The Heron", "the heron"));
}

static uint32_t max_length(const char *dir) {
  sp_model *m;
  if (sp_model_open(dir, &m)) fail_msg("%s", sp_err_message());
  uint32_t n = m->max_length;
  sp_model_close(m);
  return n;
}

static void older_names_of_the_module_config_are_read_in_order(void **state) {
  static const char *const NAMES[] = {"xlnet",      "xlm-roberta", "albert", "camembert",
                                      "distilbert", "roberta",     "bert"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    char name[64], text[64];
    snprintf(name, sizeof name, "sentence_%s_config.json", NAMES[i]);
    snprintf(text, sizeof text, "{\"max_seq_length\": %zu}", 10 + i);
    tiny_put(*state, name, text);
    assert_int_equal(max_length(*state), 10 + i);
  }
  tiny_put(*state, "sentence_bert_config.json", "{}"); /* says nothing: the next one */
  assert_int_equal(max_length(*state), 15);
}

static void a_side_may_have_a_shorter_limit_of_its_own(void **state) {
  tiny_put(*state, "sentence_bert_config.json", "{\"document_length\": 4}");
  assert_true(same(*state, "the heron waits", "the heron search"));
  tiny_put(*state, "sentence_bert_config.json", "{\"query_length\": 4}");
  assert_false(same(*state, "the heron waits", "the heron search"));
  sp_encoder *e = open_encoder(*state);
  const sp_text texts[2] = {{"the heron waits", 15}, {"the heron", 9}};
  sp_vec v[2] = {{0}, {0}};
  assert_int_equal(sp_encoder_encode(e, SP_QUERY, texts, 2, v), SP_OK);
  assert_int_equal(v[0].n, v[1].n);
  assert_memory_equal(v[0].weights, v[1].weights, v[0].n * sizeof *v[0].weights);
  sp_vec_free(&v[0]);
  sp_vec_free(&v[1]);
  sp_encoder_free(e);
}

static void settings_that_change_the_ids_or_the_network_are_refused(void **state) {
  sp_model *m;
  tiny_put(*state, "sentence_bert_config.json",
           "{\"tokenizer_args\": {\"use_fast\": true}, \"processing_kwargs\": {}}");
  assert_int_equal(max_length(*state), TINY_POSITIONS);
  tiny_put(*state, "sentence_bert_config.json",
           "{\"processing_kwargs\": {\"text\": {\"max_length\": 6}}}");
  assert_int_equal(sp_model_open(*state, &m), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "text in processing_kwargs"));
  tiny_put(*state, "sentence_bert_config.json",
           "{\"config_args\": {\"num_hidden_layers\": 1}}");
  assert_int_equal(sp_model_open(*state, &m), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "num_hidden_layers in config_args"));
  tiny_put(*state, "sentence_bert_config.json",
           "{\"transformer_task\": \"feature-extraction\"}");
  assert_int_equal(sp_model_open(*state, &m), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "feature-extraction has no logits"));
}

/* Beyond the table of positions there is other memory. */
static void an_echo_with_more_tokens_than_positions_is_refused(void **state) {
  const sp_encoder_options o = {.device = "cpu", .n_threads = 1};
  sp_encoder *e;
  tiny_put(*state, "spindle.json", /* [CLS] [SEP] the ... : ... and the texts */
           "{\"input\": \"echo\", \"template\": \"the{text}:{text}\","
           " \"max_text_tokens\": 15}");
  assert_int_equal(sp_encoder_open(*state, &o, &e), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "comes to 34, the model has 32 positions"));
  tiny_put(*state, "spindle.json",
           "{\"input\": \"echo\", \"template\": \"the{text}:{text}\","
           " \"max_text_tokens\": 14}");
  assert_false(
      same(*state, "heron", "the waits the waits the waits the waits the waits"));
}

static void max_len_is_the_older_model_max_length(void **state) {
  tiny_put(*state, "tokenizer_config.json", "{\"max_len\": 9}");
  assert_int_equal(max_length(*state), 9);
  tiny_put(*state, "tokenizer_config.json", "{\"max_len\": 9, \"model_max_length\": 11}");
  assert_int_equal(max_length(*state), 11);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make, unmake)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIR(vocab_txt_alone_is_lower_cased_and_stripped),
      IN_DIR(vocab_txt_is_read_as_tokenizer_config_says),
      IN_DIR(added_tokens_beside_vocab_txt_are_added),
      IN_DIR(tokenizer_config_comes_before_the_bert_normalizer),
      IN_DIR(added_tokens_of_tokenizer_config_join_those_of_tokenizer_json),
      IN_DIR(other_special_tokens_in_tokenizer_config_are_refused),
      IN_DIR(robertas_prefix_space_is_tokenizer_configs),
      IN_DIR(other_tokenizer_classes_keep_the_normalizer),
      IN_DIR(changed_rules_are_saved_with_the_tokenizer),
      IN_DIR(rules_that_agree_leave_the_hash_alone),
      IN_DIR(do_lower_case_lowers_whatever_the_tokenizer_does),
      IN_DIR(older_names_of_the_module_config_are_read_in_order),
      IN_DIR(a_side_may_have_a_shorter_limit_of_its_own),
      IN_DIR(settings_that_change_the_ids_or_the_network_are_refused),
      IN_DIR(an_echo_with_more_tokens_than_positions_is_refused),
      IN_DIR(max_len_is_the_older_model_max_length),
  };
  return cmocka_run_group_tests_name("model_text", tests, NULL, NULL);
}
