#include "decode.h"

#include "colour.h"

#include <aom/aom_decoder.h>
#include <aom/aomdx.h>
#include <libyuv.h>
#include <stdlib.h>
#include <vpx/vp8dx.h>
#include <vpx/vpx_decoder.h>

const char *decoder_decode(struct decoder *d, const uint8_t *data, size_t size, uint8_t *bgrx, int width, int height, struct shown *out)
{
	*out = (struct shown){0};
	const char *wrong = d->decode(d, data, size, out);
	if (wrong)
		return wrong;
	if (out->width != width || out->height != height)
		return "the picture has another size";
	const struct YuvConstants *c = out->full && out->matrix == COLOUR_709    ? &kYuvF709Constants
				       : !out->full && out->matrix == COLOUR_601 ? &kYuvI601Constants
										 : NULL;
	if (!c)
		return "the stream tells of a matrix and range that are not ours";
	(out->yuv444 ? I444ToARGBMatrix : I420ToARGBMatrix)(out->plane[0], out->stride[0], out->plane[1], out->stride[1], out->plane[2], out->stride[2], bgrx,
							    width * 4, c, width, height);
	return NULL;
}

void decoder_close(struct decoder *d)
{
	d->close(d);
}

struct vp9_decoder {
	struct decoder base;
	vpx_codec_ctx_t vpx;
};

static const char *decode_vp9(struct decoder *base, const uint8_t *data, size_t size, struct shown *out)
{
	struct vp9_decoder *d = (struct vp9_decoder *)base;
	vpx_codec_iter_t iter = NULL;
	vpx_image_t *i;
	if (vpx_codec_decode(&d->vpx, data, size, NULL, 0) || !(i = vpx_codec_get_frame(&d->vpx, &iter)))
		return "libvpx does not decode it";
	if (i->fmt != VPX_IMG_FMT_I444 && i->fmt != VPX_IMG_FMT_I420)
		return "the picture has another chroma";
	for (int p = 0; p < 3; p++) {
		out->plane[p] = i->planes[p];
		out->stride[p] = i->stride[p];
	}
	out->width = i->d_w;
	out->height = i->d_h;
	out->yuv444 = i->fmt == VPX_IMG_FMT_I444;
	out->full = i->range == VPX_CR_FULL_RANGE;
	out->matrix = i->cs == VPX_CS_BT_709 ? COLOUR_709 : i->cs == VPX_CS_BT_601 ? COLOUR_601 : 0;
	return NULL;
}

static void close_vp9(struct decoder *base)
{
	vpx_codec_destroy(&((struct vp9_decoder *)base)->vpx);
	free(base);
}

struct decoder *decoder_vp9(void)
{
	struct vp9_decoder *d = calloc(1, sizeof *d);
	if (!d || vpx_codec_dec_init(&d->vpx, vpx_codec_vp9_dx(), NULL, 0)) {
		free(d);
		return NULL;
	}
	d->base = (struct decoder){decode_vp9, close_vp9};
	return &d->base;
}

struct av1_decoder {
	struct decoder base;
	aom_codec_ctx_t aom;
};

static const char *decode_av1(struct decoder *base, const uint8_t *data, size_t size, struct shown *out)
{
	struct av1_decoder *d = (struct av1_decoder *)base;
	aom_codec_iter_t iter = NULL;
	aom_image_t *i;
	if (aom_codec_decode(&d->aom, data, size, NULL) || !(i = aom_codec_get_frame(&d->aom, &iter)))
		return "libaom does not decode it";
	if (i->fmt != AOM_IMG_FMT_I444 && i->fmt != AOM_IMG_FMT_I420)
		return "the picture has another chroma";
	for (int p = 0; p < 3; p++) {
		out->plane[p] = i->planes[p];
		out->stride[p] = i->stride[p];
	}
	out->width = i->d_w;
	out->height = i->d_h;
	out->yuv444 = i->fmt == AOM_IMG_FMT_I444;
	out->full = i->range == AOM_CR_FULL_RANGE;
	out->matrix = i->mc;
	out->primaries = i->cp;
	out->transfer = i->tc;
	return NULL;
}

static void close_av1(struct decoder *base)
{
	aom_codec_destroy(&((struct av1_decoder *)base)->aom);
	free(base);
}

struct decoder *decoder_av1(void)
{
	struct av1_decoder *d = calloc(1, sizeof *d);
	if (!d || aom_codec_dec_init(&d->aom, aom_codec_av1_dx(), NULL, 0)) {
		free(d);
		return NULL;
	}
	d->base = (struct decoder){decode_av1, close_av1};
	return &d->base;
}
