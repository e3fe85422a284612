/* tests/http_client.h - a small HTTP/1.1 client over raw sockets, to be rude with. */
#ifndef SP_TESTS_HTTP_CLIENT_H
#define SP_TESTS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct http_reply {
  int status;     /* 0: the connection ended without a reply */
  bool torn;      /* with status 0: a part of a reply had come */
  bool closes;    /* "Connection: close" */
  char allow[32]; /* the Allow header */
  char *body;     /* NUL-terminated; the caller frees it */
  size_t body_n;
} http_reply;

/* `address` is "127.0.0.1:PORT". Returns a socket, or -1 when it is refused. Reading gives
 * up after 20 s, so that a test fails instead of hanging. */
int http_connect(const char *address);

/* Sends n bytes; false when the other side has closed. */
bool http_send(int fd, const void *data, size_t n);
bool http_send_str(int fd, const char *text);

/* Reads one reply; the connection stays open for the next. */
http_reply http_read(int fd);

/* Sends a request with a body (NULL: none) on `fd` and reads its reply. */
http_reply http_ask(int fd, const char *method, const char *path, const char *body);

/* The same on a connection of its own. */
http_reply http_once(const char *address, const char *method, const char *path,
                     const char *body);

#endif
