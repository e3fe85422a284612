/* tools/cmd_serve.c - `spindle serve INDEX...`: answers over HTTP until it is told to stop. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "server/serve.h"
#include "tools/cmd.h"

/* Passes a signal on to the first thread, which waits for it. */
static void forward(int signal) {
  tgkill(getpid(), getpid(), signal);
}

/* SIGTERM and SIGINT are taken by sigwait() in this thread, the program's first, and held
 * until then. Threads begin with this mask and never see them, but those that a library
 * (OpenBLAS) began before main() do: without a handler they would end the program. */
static void hold_signals(sigset_t *held) {
  sigemptyset(held);
  sigaddset(held, SIGTERM);
  sigaddset(held, SIGINT);
  pthread_sigmask(SIG_BLOCK, held, NULL);
  signal(SIGTERM, forward);
  signal(SIGINT, forward);
}

int cmd_serve(int argc, char **argv) {
  sp_serve_options o = sp_serve_defaults();
  uint32_t n_threads = o.http.n_threads;
  uint64_t max_body = o.http.max_body_bytes;
  const cmd_option options[] = {
      {"listen", 'l', CMD_STRING, &o.http.listen, "HOST:PORT",
       "where to listen; port 0 takes a free one", 0, 0},
      {"model", 0, CMD_STRING, &o.model, "DIR",
       "the encoder's directory, where it is not the one the index remembers", 0, 0},
      {"device", 0, CMD_STRING, &o.encoder.device, "NAME",
       "what encodes questions: auto, cpu or cuda", 0, 0},
      {"threads", 0, CMD_U32, &n_threads, "N", "requests answered at a time", 1, 1024},
      {"max-body", 0, CMD_BYTES, &max_body, "BYTES", "the largest request", 1, 1 << 30},
      {NULL, 0, CMD_FLAG, NULL, NULL, NULL, 0, 0}};
  const cmd_spec spec = {
      "serve", "INDEX... [options]",
      "Answers questions over HTTP: JSON in, JSON out. Each index is served under the\n"
      "last part of its path. SIGTERM or SIGINT stop it: what was accepted is finished\n"
      "first.\n"
      "\n"
      "  POST /v1/indexes/NAME/search   {\"query\": \"text\", \"k\": 10}\n"
      "  GET  /v1/indexes               what is served\n"
      "  GET  /v1/indexes/NAME          one of them\n"
      "  GET  /health, GET /info",
      options,
      "  spindle serve indexes/demo\n"
      "  curl http://127.0.0.1:7700/v1/indexes/demo/search --json '{\"query\": \"frozen "
      "pipe\", \"k\": 3}'\n"};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words == 0) return cmd_misuse("serve", "names no index");
  o.indexes = (const char *const *)argv + 1;
  o.n_indexes = (size_t)n_words;
  o.http.n_threads = n_threads;
  o.http.max_body_bytes = (size_t)max_body;
  o.version = SP_VERSION;

  sigset_t held;
  hold_signals(&held);
  sp_server *server;
  if (sp_server_start(&o, &server)) return cmd_fail("serve");
  printf("Listening on http://%s\n", sp_server_address(server));
  fflush(stdout); /* whoever started this waits for the line */

  int got;
  sigwait(&held, &got);
  signal(SIGTERM, SIG_DFL); /* a second one need not wait */
  signal(SIGINT, SIG_DFL);
  fprintf(stderr, "spindle serve: %s: finishing what was accepted\n", strsignal(got));
  sp_server_stop(server);
  return cmd_finish("serve");
}
