#include "decode.h"

#include <dlfcn.h>
#include <libavcodec/avcodec.h>
#include <stdio.h>
#include <stdlib.h>

/* libavcodec brings some fifty libraries along, so it is loaded by who proves an encoder and linked by nobody. Of the version that the headers are of. */
#define LIBRARY "libavcodec.so." AV_STRINGIFY(LIBAVCODEC_VERSION_MAJOR)

/* What is used of it and of libavutil, which it loads. */
#define FUNCTIONS(F)               \
	F(avcodec_find_decoder)    \
	F(avcodec_alloc_context3)  \
	F(avcodec_free_context)    \
	F(avcodec_open2)           \
	F(avcodec_send_packet)     \
	F(avcodec_receive_frame)   \
	F(av_packet_alloc)         \
	F(av_packet_free)          \
	F(av_frame_alloc)          \
	F(av_frame_free)           \
	F(av_log_set_level)

struct h264_decoder {
	struct decoder base;
	void *library;
	AVCodecContext *context;
	AVPacket *packet;
	AVFrame *frame;
#define FIELD(f) __typeof__(&f) f;
	FUNCTIONS(FIELD)
#undef FIELD
};

static const char *decode(struct decoder *base, const uint8_t *data, size_t size, struct shown *out)
{
	struct h264_decoder *d = (struct h264_decoder *)base;
	d->packet->data = (uint8_t *)data; /* which is copied */
	d->packet->size = size;
	int failed = d->avcodec_send_packet(d->context, d->packet) < 0 || d->avcodec_receive_frame(d->context, d->frame) < 0;
	d->packet->data = NULL;
	d->packet->size = 0;
	if (failed)
		return "libavcodec does not decode it";
	const AVFrame *f = d->frame;
	if (f->decode_error_flags || f->flags & AV_FRAME_FLAG_CORRUPT)
		return "libavcodec finds errors in it";
	int full444 = f->format == AV_PIX_FMT_YUV444P || f->format == AV_PIX_FMT_YUVJ444P;
	if (!full444 && f->format != AV_PIX_FMT_YUV420P && f->format != AV_PIX_FMT_YUVJ420P)
		return "the picture has another chroma";
	for (int p = 0; p < 3; p++) {
		out->plane[p] = f->data[p];
		out->stride[p] = f->linesize[p];
	}
	out->width = f->width;
	out->height = f->height;
	out->yuv444 = full444;
	out->full = f->color_range == AVCOL_RANGE_JPEG;
	out->matrix = f->colorspace;
	out->primaries = f->color_primaries;
	out->transfer = f->color_trc;
	return NULL;
}

static void close_h264(struct decoder *base)
{
	struct h264_decoder *d = (struct h264_decoder *)base;
	if (d->context)
		d->avcodec_free_context(&d->context);
	if (d->packet)
		d->av_packet_free(&d->packet);
	if (d->frame)
		d->av_frame_free(&d->frame);
	if (d->library)
		dlclose(d->library);
	free(d);
}

/* Returns what went wrong. */
static const char *start(struct h264_decoder *d)
{
	/* What it brings along does not stand being unloaded. */
	if (!(d->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)))
		return dlerror();
#define RESOLVE(f)                                              \
	if (!(d->f = (__typeof__(&f))dlsym(d->library, #f))) \
		return LIBRARY " has no " #f;
	FUNCTIONS(RESOLVE)
#undef RESOLVE
	d->av_log_set_level(AV_LOG_QUIET);
	const AVCodec *codec = d->avcodec_find_decoder(AV_CODEC_ID_H264);
	if (!codec)
		return LIBRARY " decodes no H.264";
	if (!(d->context = d->avcodec_alloc_context3(codec)) || !(d->packet = d->av_packet_alloc()) || !(d->frame = d->av_frame_alloc()))
		return "out of memory";
	d->context->thread_count = 1;
	d->context->flags |= AV_CODEC_FLAG_LOW_DELAY; /* each packet shows its picture */
	d->context->err_recognition = AV_EF_EXPLODE;
	return d->avcodec_open2(d->context, codec, NULL) < 0 ? LIBRARY " opens no decoder" : NULL;
}

struct decoder *decoder_h264(char *wrong, size_t room)
{
	struct h264_decoder *d = calloc(1, sizeof *d);
	const char *what = d ? start(d) : "out of memory";
	if (!what) {
		d->base = (struct decoder){decode, close_h264};
		return &d->base;
	}
	snprintf(wrong, room, "%s", what);
	if (d)
		close_h264(&d->base);
	return NULL;
}
