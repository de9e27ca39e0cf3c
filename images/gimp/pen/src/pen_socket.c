#define _GNU_SOURCE
#include "pen_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int watch(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd); /* which also takes it out of the epoll set */
	*fd = -1;
}

int pen_socket_open(struct pen_socket *s, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*s = (struct pen_socket){ -1, -1, -1 };
	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->epoll < 0 || s->listener < 0)
		goto fail;
	if (unlink(path) < 0 && errno != ENOENT)
		goto fail;
	if (bind(s->listener, (struct sockaddr *)&address, sizeof address) < 0)
		goto fail;
	/* The streamer is another user; who may reach the directory is the gate. */
	if (chmod(path, 0666) < 0 || listen(s->listener, 4) < 0 || watch(s->epoll, s->listener) < 0)
		goto fail;
	return 0;
fail:;
	int saved = errno;
	pen_socket_close(s);
	errno = saved;
	return -1;
}

static enum pen_event take_client(struct pen_socket *s)
{
	int had_one = s->client >= 0;
	int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return PEN_EVENT_NONE;
	drop(&s->client);
	if (watch(s->epoll, fd) < 0)
		close(fd);
	else
		s->client = fd;
	return had_one ? PEN_EVENT_GONE : PEN_EVENT_NONE;
}

enum pen_event pen_socket_next(struct pen_socket *s, uint8_t *packet, size_t size, size_t *length)
{
	struct epoll_event e;

	if (epoll_wait(s->epoll, &e, 1, 0) != 1)
		return PEN_EVENT_NONE;
	if (e.data.fd == s->listener)
		return take_client(s);
	ssize_t n = recv(s->client, packet, size, MSG_DONTWAIT | MSG_TRUNC);
	if (n > 0) {
		*length = (size_t)n;
		return PEN_EVENT_PACKET;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return PEN_EVENT_NONE;
	drop(&s->client);
	return PEN_EVENT_GONE;
}

void pen_socket_hold(struct pen_socket *s, int held)
{
	const int fds[] = { s->listener, s->client };

	for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++) {
		if (fds[i] < 0)
			continue;
		/* Watched for nothing, an end would be told of all the same. */
		if (held)
			(void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, fds[i], NULL);
		else
			(void)watch(s->epoll, fds[i]);
	}
}

void pen_socket_answer(struct pen_socket *s, uint32_t number)
{
	uint8_t answer[4];

	for (unsigned i = 0; i < sizeof answer; i++)
		answer[i] = (uint8_t)(number >> 8 * i);
	/* Who does not read has no need of it. */
	(void)!send(s->client, answer, sizeof answer, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void pen_socket_close(struct pen_socket *s)
{
	drop(&s->client);
	drop(&s->listener);
	drop(&s->epoll);
}
