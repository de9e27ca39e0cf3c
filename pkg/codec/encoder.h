#pragma once
#include "picture.h"
#include <x264.h>

struct encoder {
	x264_t *x264;
	int64_t frames;
};

struct encoder *encoder_open(int width, int height, int threads);

/* Encodes the picture. Returns the bytes made, or less than 0 on an error. */
int encoder_encode(struct encoder *e, struct picture *p, int key, int qp, x264_nal_t **nals, int *nal_count, int *was_key);
void encoder_close(struct encoder *e);
