#include "decode.h"

#include <aom/aom_decoder.h>
#include <aom/aomdx.h>
#include <libyuv.h>
#include <vpx/vp8dx.h>
#include <vpx/vpx_decoder.h>

/* What a decoder has made: three planes, whose colours have half the width and height or all of it. */
static const char *show(uint8_t *const plane[3], const int stride[3], int yuv444, int yuv420, int w, int h, uint8_t *bgrx, int width, int height)
{
	if (w != width || h != height)
		return "the picture has another size";
	if (!yuv444 && !yuv420)
		return "the picture has another chroma";
	(yuv444 ? I444ToARGBMatrix : I420ToARGBMatrix)(plane[0], stride[0], plane[1], stride[1], plane[2], stride[2], bgrx, width * 4,
						      &kYuvF709Constants, width, height);
	return NULL;
}

const char *decode_vp9(const uint8_t *data, size_t size, uint8_t *bgrx, int width, int height)
{
	vpx_codec_ctx_t ctx;
	if (vpx_codec_dec_init(&ctx, vpx_codec_vp9_dx(), NULL, 0))
		return "libvpx opens no decoder";
	const char *wrong = "libvpx does not decode it";
	vpx_codec_iter_t iter = NULL;
	vpx_image_t *i;
	if (!vpx_codec_decode(&ctx, data, size, NULL, 0) && (i = vpx_codec_get_frame(&ctx, &iter)))
		wrong = show(i->planes, i->stride, i->fmt == VPX_IMG_FMT_I444, i->fmt == VPX_IMG_FMT_I420, i->d_w, i->d_h, bgrx, width, height);
	vpx_codec_destroy(&ctx);
	return wrong;
}

const char *decode_av1(const uint8_t *data, size_t size, uint8_t *bgrx, int width, int height)
{
	aom_codec_ctx_t ctx;
	if (aom_codec_dec_init(&ctx, aom_codec_av1_dx(), NULL, 0))
		return "libaom opens no decoder";
	const char *wrong = "libaom does not decode it";
	aom_codec_iter_t iter = NULL;
	aom_image_t *i;
	if (!aom_codec_decode(&ctx, data, size, NULL) && (i = aom_codec_get_frame(&ctx, &iter)))
		wrong = show(i->planes, i->stride, i->fmt == AOM_IMG_FMT_I444, i->fmt == AOM_IMG_FMT_I420, i->d_w, i->d_h, bgrx, width, height);
	aom_codec_destroy(&ctx);
	return wrong;
}
