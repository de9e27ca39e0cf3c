#pragma once
#include "picture.h"
#include <stddef.h>
#include <stdint.h>

/* What became of a call. */
enum nvenc_status {
	NVENC_OK,
	NVENC_ABSENT,     /* no driver, or one that is too old */
	NVENC_NO_DEVICE,  /* the driver has no device of that UUID */
	NVENC_NO_ENGINE,  /* the device has no encoder, or not this kind */
	NVENC_NO_SESSION, /* the device's encoder serves no one more */
	NVENC_UNFIT,      /* the encoder does not take pictures of this size or kind */
	NVENC_FAILED,     /* anything else: the device may be lost */
};

/* Text for people, filled when a call does not return NVENC_OK. */
struct nvenc_error {
	char text[320];
};

struct nvenc_device; /* the driver, loaded, and a CUDA context on one of its devices */
struct nvenc_encoder;

/* What a device's encoder says of itself. */
struct nvenc_caps {
	int h264, hevc, av1;
	int yuv444; /* of H.264 */
	int min_width, min_height, max_width, max_height;
};

/* One encoded frame: Annex B, in memory of the driver that is good until the next call with the encoder. */
struct nvenc_frame {
	const uint8_t *data;
	size_t size;
	int key;
};

/* All calls with one device must come from one thread. None of them returns while the driver does not. */

/* Loads the driver's libraries by the given names and makes a context on the device with that UUID. */
int nvenc_open_device(const char *cuda, const char *encode, const char *uuid, struct nvenc_device **out, struct nvenc_error *err);
const char *nvenc_device_name(const struct nvenc_device *d);
int nvenc_caps(struct nvenc_device *d, struct nvenc_caps *caps, struct nvenc_error *err);
void nvenc_close_device(struct nvenc_device *d);

int nvenc_open(struct nvenc_device *d, int width, int height, int yuv444, int full, int qp, struct nvenc_encoder **out, struct nvenc_error *err);
int nvenc_encode(struct nvenc_encoder *e, struct picture *p, int key, int qp, struct nvenc_frame *out, struct nvenc_error *err);
void nvenc_close(struct nvenc_encoder *e);
