/* tests/http_client.c - connecting, sending, reading one reply at a time. */
#include "tests/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int http_connect(const char *address) {
  const char *colon = strrchr(address, ':');
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)atoi(colon + 1))};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct timeval patience = {.tv_sec = 20};
  int yes = 1; /* head and body leave in two sends: neither waits for the other */
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

bool http_send(int fd, const void *data, size_t n) {
  for (size_t done = 0; done < n;) {
    ssize_t sent = send(fd, (const char *)data + done, n - done, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    done += (size_t)sent;
  }
  return true;
}

bool http_send_str(int fd, const char *text) {
  return http_send(fd, text, strlen(text));
}

/* Reads byte by byte up to the empty line, so that nothing of the body is taken. */
static bool read_head(int fd, char *head, size_t cap) {
  size_t n = 0;
  *head = '\0';
  while (n + 1 < cap && recv(fd, head + n, 1, 0) == 1) {
    head[++n] = '\0';
    if (n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0) return true;
  }
  return false;
}

static const char *find_header(const char *head, const char *name) {
  const char *at = strcasestr(head, name);
  return at ? at + strlen(name) : NULL;
}

http_reply http_read(int fd) {
  http_reply r = {0};
  char head[8192];
  do {
    if (!read_head(fd, head, sizeof head)) {
      r.torn = *head != '\0';
      r.status = 0;
      return r;
    }
    r.status = atoi(head + strlen("HTTP/1.1 "));
  } while (r.status == 100);
  const char *length = find_header(head, "\r\nContent-Length: ");
  const char *closes = find_header(head, "\r\nConnection: ");
  const char *allow = find_header(head, "\r\nAllow: ");
  r.closes = closes && strncasecmp(closes, "close", 5) == 0;
  if (allow) snprintf(r.allow, sizeof r.allow, "%.*s", (int)strcspn(allow, "\r"), allow);
  size_t n = length ? strtoul(length, NULL, 10) : 0;
  r.body = calloc(1, n + 1);
  while (r.body && r.body_n < n) {
    ssize_t got = recv(fd, r.body + r.body_n, n - r.body_n, 0);
    if (got <= 0) break;
    r.body_n += (size_t)got;
  }
  if (r.body_n < n) {
    r.torn = true;
    r.status = 0;
  }
  return r;
}

http_reply http_ask(int fd, const char *method, const char *path, const char *body) {
  char head[1024];
  int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: test\r\n", method, path);
  if (body)
    n += snprintf(head + n, sizeof head - (size_t)n,
                  "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                  strlen(body));
  n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
  if (!http_send(fd, head, (size_t)n)) return (http_reply){0};
  if (body && !http_send_str(fd, body)) return (http_reply){0};
  return http_read(fd);
}

http_reply http_once(const char *address, const char *method, const char *path,
                     const char *body) {
  int fd = http_connect(address);
  if (fd < 0) return (http_reply){0};
  http_reply r = http_ask(fd, method, path, body);
  close(fd);
  return r;
}
