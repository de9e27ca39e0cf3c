/*
 * The socket that the streamer connects to: SOCK_SEQPACKET, one client at a time, a new one replaces the old. One epoll descriptor
 * stands for all of it, so that the X server has one thing to watch. No X in here either.
 */
#ifndef EASEL_PEN_SOCKET_H
#define EASEL_PEN_SOCKET_H

#include <stddef.h>
#include <stdint.h>

struct pen_socket {
	int epoll, listener, client; /* -1 when there is none */
};

enum pen_event {
	PEN_EVENT_NONE,   /* nothing left to do now */
	PEN_EVENT_PACKET, /* *length bytes lie in packet; more than its size means that the rest was cut off */
	PEN_EVENT_GONE,   /* the client left, or another took its place: what it held down must be let go */
};

/* Listens at path, in place of what lies there. Returns 0, or -1 with errno set and nothing left open. */
int pen_socket_open(struct pen_socket *s, const char *path);

/* Does the next thing that is waiting, without blocking. */
enum pen_event pen_socket_next(struct pen_socket *s, uint8_t *packet, size_t size, size_t *length);

/* Nothing is to be read, or something again. */
void pen_socket_hold(struct pen_socket *s, int held);

/* Tells the client that all until its sync of this number is in the server's queue. */
void pen_socket_answer(struct pen_socket *s, uint32_t number);

void pen_socket_close(struct pen_socket *s);

#endif
