/* encoder/tokenizer.h - text in, token ids out, exactly as the model's own tokenizer does
 * it.
 *
 * Families: WordPiece, byte-level BPE, SentencePiece-style BPE with byte fallback,
 * Unigram; all from `tokenizer.json` (Hugging Face `tokenizers` layout), WordPiece also
 * from `vocab.txt`. The file's own truncation, padding and decoder blocks never count.
 *
 * Parts of a tokenizer.json that are known; any other is refused by its name:
 *   normalizer      BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip,
 *                   Prepend, Replace (a string, or one character and {N,} or +),
 *                   Precompiled, Sequence
 *   pre_tokenizer   BertPreTokenizer, WhitespaceSplit, Metaspace (older and newer layout),
 *                   ByteLevel (the last one; needs BPE), Sequence
 *   model           WordPiece, BPE (merges as "a b" or ["a", "b"]), Unigram
 *   post_processor  TemplateProcessing (for one text), BertProcessing, RobertaProcessing,
 *                   ByteLevel, Sequence
 *   added_tokens    with lstrip, rstrip, single_word, normalized, special
 *
 * Time is linear in the text, n log n for a long word under BPE. */
#ifndef SP_TOKENIZER_H
#define SP_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Immutable once open: any number of threads may share one. */
typedef struct sp_tokenizer sp_tokenizer;

/* `path`: tokenizer.json, vocab.txt (any other name than *.json: one token a line), or a
 * directory that holds one of them. On SP_OK the caller owns *out.
 *
 * A tokenizer_config.json beside it counts as in transformers: for BERT's and DistilBERT's
 * classes (tokenizer_class), and for every vocab.txt, its do_lower_case (default true),
 * strip_accents (default: as do_lower_case) and tokenize_chinese_chars (default true) are
 * those of the BertNormalizer, whatever tokenizer.json says. The tokens of its
 * added_tokens_decoder are added, or get its flags; beside a vocab.txt without it, those of
 * added_tokens.json. RoBERTa's classes take add_prefix_space (default false) from there.
 * Errors: ENOTFOUND, EIO, EFORMAT (names the file and what is wrong with it), ENOMEM. */
sp_err sp_tokenizer_open(const char *path, sp_tokenizer **out);

/* What the rest of a model says about its tokenizer. */
typedef struct sp_tokenizer_wish {
  bool bert;      /* config.json is a BERT's or DistilBERT's: so is the tokenizer, unless
                     tokenizer_config.json has another tokenizer_class */
  bool lowercase; /* lower-case all but added tokens before anything else */
} sp_tokenizer_wish;

/* The same for a model. */
sp_err sp_tokenizer_open_for(const char *path, const sp_tokenizer_wish *wish,
                             sp_tokenizer **out);

/* The same from the bytes of a tokenizer.json; `where` names them in messages. */
sp_err sp_tokenizer_parse(const char *json, size_t n, const char *where,
                          sp_tokenizer **out);
void sp_tokenizer_free(sp_tokenizer *t); /* NULL is fine */

/* One text's tokens. {0} is empty; reused from call to call, also with other tokenizers,
 * without reallocating once it has grown. Not shared between threads: it holds the scratch
 * of the call too, with 2 MiB of words met before, so keep one for each thread. */
typedef struct sp_tokens {
  uint32_t *ids; /* [n] */
  uint32_t *begin,
      *end; /* [n] bytes of the original text, end exclusive; filled on request */
  uint32_t n, cap;
  struct sp_token_scratch *scratch; /* private */
} sp_tokens;
void sp_tokens_free(sp_tokens *t);

typedef struct sp_tokenize_options {
  bool special_tokens; /* put [CLS] ... [SEP] (whatever the post-processor says) around */
  bool offsets;        /* fill begin and end */
  uint32_t max_length; /* cut on the right to this many ids, special ones counted (they
                          stay, if there is room for them); 0: never */
} sp_tokenize_options;

/* Tokenizes text[0..n); invalid UTF-8 counts as U+FFFD. Literal special tokens in the
 * text become their ids. With offsets, special tokens that were put around have [0, 0),
 * and a character that became several tokens gives each of them its whole span. EINVAL:
 * a text of 4 GiB and more, or one that normalization makes 64 times as long. Errors:
 * ENOMEM, EINVAL; *out is then empty. */
sp_err sp_tokenizer_encode(const sp_tokenizer *t, const char *text, size_t n,
                           const sp_tokenize_options *options, sp_tokens *out);

uint32_t sp_tokenizer_n_ids(const sp_tokenizer *t); /* the largest id + 1 */

/* The token's spelling in the vocabulary ("##ing"), or NULL for an id that is not used.
 * Borrowed from `t`; *n its bytes. */
const char *sp_tokenizer_token(const sp_tokenizer *t, uint32_t id, size_t *n);

/* The id of a spelling, or UINT32_MAX. */
uint32_t sp_tokenizer_find(const sp_tokenizer *t, const char *token, size_t n);

/* True for special added tokens ([CLS], <s>, ...). */
bool sp_tokenizer_is_special(const sp_tokenizer *t, uint32_t id);

/* 64-bit hash of everything that decides the ids: part of the encoder's contract. The
 * file's layout does not count, nor do its truncation and padding. */
uint64_t sp_tokenizer_hash(const sp_tokenizer *t);

/* Appends a tokenizer.json that parses to the same tokenizer: an index keeps it.
 * Errors: ENOMEM. */
sp_err sp_tokenizer_save(const sp_tokenizer *t, sp_buf *out);

#endif
