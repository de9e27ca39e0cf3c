#include "encoder.h"

#include <stdlib.h>
#include <vpx/vp8cx.h>
#include <vpx/vpx_encoder.h>

/* The fastest that libvpx has for live pictures. */
enum { SPEED = 8 };

struct vp9_encoder {
	struct encoder base;
	vpx_codec_ctx_t vpx;
	vpx_codec_enc_cfg_t config;
	vpx_image_t image;
	struct active_map map;
	int open;
	int64_t frames;
};

static int encode(struct encoder *base, struct picture *p, const struct wish *w, struct encoded *out)
{
	struct vp9_encoder *e = (struct vp9_encoder *)base;
	unsigned q = encoder_quantizer(w->qp);
	if (e->config.rc_min_quantizer != q) {
		e->config.rc_min_quantizer = e->config.rc_max_quantizer = q;
		if (vpx_codec_enc_config_set(&e->vpx, &e->config))
			return -1;
	}
	active_map_plan(&e->map, p, w);
	vpx_active_map_t map = {.active_map = w->key ? NULL : e->map.active, .rows = e->map.high, .cols = e->map.wide};
	if (vpx_codec_control(&e->vpx, VP8E_SET_ACTIVEMAP, &map))
		return -1;
	for (int i = 0; i < 3; i++) {
		e->image.planes[i] = p->plane[i];
		e->image.stride[i] = p->stride[i];
	}
	if (vpx_codec_encode(&e->vpx, &e->image, e->frames++, 1, w->key ? VPX_EFLAG_FORCE_KF : 0, VPX_DL_REALTIME))
		return -1;
	vpx_codec_iter_t iter = NULL;
	for (const vpx_codec_cx_pkt_t *pkt; (pkt = vpx_codec_get_cx_data(&e->vpx, &iter));) {
		if (pkt->kind != VPX_CODEC_CX_FRAME_PKT)
			continue;
		*out = (struct encoded){.data = pkt->data.frame.buf, .size = pkt->data.frame.sz, .key = !!(pkt->data.frame.flags & VPX_FRAME_IS_KEY)};
		return 0;
	}
	return -1;
}

static void close_vp9(struct encoder *base)
{
	struct vp9_encoder *e = (struct vp9_encoder *)base;
	if (e->open)
		vpx_codec_destroy(&e->vpx);
	active_map_free(&e->map);
	free(e);
}

/* The settings that are no part of the configuration. */
static int control(vpx_codec_ctx_t *vpx, const struct frames *f)
{
	int columns = f->threads > 2 ? 2 : f->threads > 1; /* a power of two */
	return vpx_codec_control(vpx, VP8E_SET_CPUUSED, SPEED) ||
	       vpx_codec_control(vpx, VP9E_SET_TUNE_CONTENT, VP9E_CONTENT_SCREEN) ||
	       vpx_codec_control(vpx, VP9E_SET_TILE_COLUMNS, columns) ||
	       vpx_codec_control(vpx, VP9E_SET_ROW_MT, f->threads > 1) ||
	       vpx_codec_control(vpx, VP9E_SET_AQ_MODE, 0) ||
	       vpx_codec_control(vpx, VP9E_SET_NOISE_SENSITIVITY, 0) ||
	       vpx_codec_control(vpx, VP9E_SET_FRAME_PARALLEL_DECODING, 0) ||
	       vpx_codec_control(vpx, VP9E_SET_DISABLE_OVERSHOOT_MAXQ_CBR, 1) ||
	       vpx_codec_control(vpx, VP8E_SET_ENABLEAUTOALTREF, 0) ||
	       vpx_codec_control(vpx, VP8E_SET_STATIC_THRESHOLD, 0) ||
	       vpx_codec_control(vpx, VP9E_SET_COLOR_SPACE, f->full ? VPX_CS_BT_709 : VPX_CS_BT_601) ||
	       vpx_codec_control(vpx, VP9E_SET_COLOR_RANGE, f->full ? VPX_CR_FULL_RANGE : VPX_CR_STUDIO_RANGE);
}

struct encoder *encoder_vp9(const struct frames *f)
{
	struct vp9_encoder *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->base = (struct encoder){encode, close_vp9};
	vpx_codec_enc_cfg_t *c = &e->config;
	if (active_map_init(&e->map, f->width, f->height) || vpx_codec_enc_config_default(vpx_codec_vp9_cx(), c, 0)) {
		close_vp9(&e->base);
		return NULL;
	}
	c->g_w = f->width;
	c->g_h = f->height;
	c->g_profile = f->yuv444;
	c->g_threads = f->threads;
	c->g_timebase = (vpx_rational_t){1, 60};
	c->g_lag_in_frames = 0;
	c->g_error_resilient = 0;
	/* Each frame's quantiser is given, by leaving the rate control only one; at a steady rate it looks at the least else. */
	c->rc_end_usage = VPX_CBR;
	c->rc_target_bitrate = 1000000;
	c->rc_min_quantizer = c->rc_max_quantizer = encoder_quantizer(30);
	c->rc_dropframe_thresh = 0;
	c->rc_resize_allowed = 0;
	c->kf_mode = VPX_KF_DISABLED;
	vpx_img_wrap(&e->image, f->yuv444 ? VPX_IMG_FMT_I444 : VPX_IMG_FMT_I420, f->width, f->height, 1, (unsigned char *)c /* replaced */);
	if (vpx_codec_enc_init(&e->vpx, vpx_codec_vp9_cx(), c, 0)) {
		close_vp9(&e->base);
		return NULL;
	}
	e->open = 1;
	if (control(&e->vpx, f)) {
		close_vp9(&e->base);
		return NULL;
	}
	return &e->base;
}
