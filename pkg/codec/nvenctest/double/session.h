/* What the two halves of the double of libnvidia-encode.so.1 share: the API's contract (encode.c), and the making of H.264 (h264.c). */
#pragma once
#include "double.h"

#include <x264.h>

enum { SESSION_MAGIC = 0x5e5510, MB = 16, COARSEST = 51 };

struct session {
	int magic, initialized;
	struct context *context;
	NV_ENC_INITIALIZE_PARAMS init;
	NV_ENC_CONFIG config;
	x264_t *x264;
	char error[128];
	/* The one resource and the one buffer that a client of one frame at a time needs. */
	NV_ENC_REGISTER_RESOURCE resource;
	struct allocation *allocation;
	int registered, mapped, has_buffer, pending, locked;
	unsigned char *bitstream;
	size_t bitstream_size;
	NV_ENC_PIC_TYPE type;
	uint8_t *mb_info;
	int frames, reconfigured;
};

int macroblocks(const struct session *s);

/* Opens x264 with the session's settings. */
int open_x264(struct session *s);
/* Makes a frame of what lies in the session's picture. What the map makes coarsest is skipped, as a card does that has nothing to say about it. */
NVENCSTATUS make_frame(struct session *s, const NV_ENC_PIC_PARAMS *p, int key);
