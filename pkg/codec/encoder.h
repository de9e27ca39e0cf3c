#pragma once
#include "picture.h"

/* One encoded frame. The memory is the encoder's, until its next frame or its end. */
struct encoded {
	uint8_t *data;
	size_t size;
	int key;
};

/* What is wished for one frame. */
struct wish {
	int key;    /* it needs none before it */
	int refine; /* the picture did not change: what was coded more coarsely than qp is to become finer */
	int far;    /* bits are scarcer than time: motion is worth looking for farther away */
	int qp;     /* as H.264 counts */
};

/* What an encoder is for. */
struct frames {
	int width, height;
	int yuv444, full; /* as the picture has them */
	int threads;
};

/* A software encoder. Functions return 0, or less on an error. */
struct encoder {
	int (*encode)(struct encoder *e, struct picture *p, const struct wish *w, struct encoded *out);
	void (*close)(struct encoder *e);
};

struct encoder *encoder_x264(const struct frames *f);
struct encoder *encoder_vp9(const struct frames *f);
struct encoder *encoder_av1(const struct frames *f);

/* cgo calls no pointers. */
int encoder_encode(struct encoder *e, struct picture *p, const struct wish *w, struct encoded *out);
void encoder_close(struct encoder *e);

/* VP9's and AV1's quantiser, of 0 to 63, that steps as H.264's does. */
int encoder_quantizer(int qp);

/* What a codec that has no eye for it must be told of each macroblock: whether it is worth coding at all. */
struct active_map {
	int wide, high;
	uint8_t *active;   /* 1 for those that are, as libvpx and libaom take it */
	uint8_t *coded_qp; /* with which each was coded last */
};

int active_map_init(struct active_map *m, int width, int height);
void active_map_free(struct active_map *m);

/* Brings the map up to date for a frame, which is taken to be coded then. */
void active_map_plan(struct active_map *m, const struct picture *p, const struct wish *w);
