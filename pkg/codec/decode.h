#pragma once
#include <stddef.h>
#include <stdint.h>

/* One decoded picture: the decoder's planes, good until its next frame, and what the stream tells of its colours, in H.273's numbers, 0 where it
 * says nothing. */
struct shown {
	const uint8_t *plane[3];
	int stride[3];
	int width, height;
	int yuv444, full, matrix, primaries, transfer;
};

/* A decoder of one stream, to prove encoders by. Decode returns what went wrong, NULL when nothing did; a frame that shows no picture is wrong, as ours
 * all do. */
struct decoder {
	const char *(*decode)(struct decoder *d, const uint8_t *data, size_t size, struct shown *out);
	void (*close)(struct decoder *d);
};

/* NULL without memory, or a library that opens one. */
struct decoder *decoder_vp9(void);
struct decoder *decoder_av1(void);

/* H.264's decoder is libavcodec's, loaded here: streamers of sessions never need it. NULL, and what is missing written to wrong. */
struct decoder *decoder_h264(char *wrong, size_t room);

/* Decodes into BGRX of that size, by the colours that the stream tells. */
const char *decoder_decode(struct decoder *d, const uint8_t *data, size_t size, uint8_t *bgrx, int width, int height, struct shown *out);
void decoder_close(struct decoder *d);
