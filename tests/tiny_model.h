/* tests/tiny_model.h - a BERT of one layer with random weights, written where a test wants
 * it, and files that the test puts beside it. Everything aborts on failure. */
#ifndef SP_TESTS_TINY_MODEL_H
#define SP_TESTS_TINY_MODEL_H

#include <stdbool.h>
#include <stddef.h>

enum { TINY_VOCAB = 19, TINY_HIDDEN = 8, TINY_INTERMEDIATE = 12, TINY_POSITIONS = 32 };

/* The vocabulary, one token a line: [PAD] .. [MASK] have 0 .. 4, then come the words. */
extern const char TINY_VOCAB_TXT[];

/* A folder of its own under /tmp, and its end with all that is in it. */
char *tiny_dir_new(void);
void tiny_dir_free(char *dir);

/* Writes dir/name, folders on the way included. */
void tiny_put(const char *dir, const char *name, const char *text);

/* config.json, model.safetensors, vocab.txt. */
void tiny_bert_put(const char *dir);

/* A tensor of a file that tiny_tensors_put() writes: random, or all ones. */
typedef struct tiny_tensor {
  const char *name;
  unsigned rows, cols; /* rows 0: a vector */
  bool ones;
} tiny_tensor;
void tiny_tensors_put(const char *dir, const char *file, const tiny_tensor *t, size_t n);

/* The model with more tensors in its file. */
void tiny_bert_put_with(const char *dir, const tiny_tensor *more, size_t n);

/* adapter_config.json (its `more` members beside the usual ones, "" for none) and
 * adapter_model.safetensors: rank 2 on the query matrix of the layer. */
void tiny_adapter_put(const char *dir, const char *base, const char *more);

#endif
