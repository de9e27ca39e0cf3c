#include "colour.h"
#include "encoder.h"

#include <aom/aom_encoder.h>
#include <aom/aomcx.h>
#include <stdlib.h>

/* The fastest that libaom has for live pictures. */
enum { SPEED = 10 };

struct av1_encoder {
	struct encoder base;
	aom_codec_ctx_t aom;
	aom_codec_enc_cfg_t config;
	aom_image_t image;
	struct active_map map;
	int open;
	int64_t frames;
};

static int encode(struct encoder *base, struct picture *p, const struct wish *w, struct encoded *out)
{
	struct av1_encoder *e = (struct av1_encoder *)base;
	unsigned q = encoder_quantizer(w->qp);
	if (e->config.rc_min_quantizer != q) {
		e->config.rc_min_quantizer = e->config.rc_max_quantizer = q;
		if (aom_codec_enc_config_set(&e->aom, &e->config))
			return -1;
	}
	active_map_plan(&e->map, p, w);
	aom_active_map_t map = {.active_map = w->key ? NULL : e->map.active, .rows = e->map.high, .cols = e->map.wide};
	if (aom_codec_control(&e->aom, AOME_SET_ACTIVEMAP, &map))
		return -1;
	for (int i = 0; i < 3; i++) {
		e->image.planes[i] = p->plane[i];
		e->image.stride[i] = p->stride[i];
	}
	if (aom_codec_encode(&e->aom, &e->image, e->frames++, 1, w->key ? AOM_EFLAG_FORCE_KF : 0))
		return -1;
	aom_codec_iter_t iter = NULL;
	for (const aom_codec_cx_pkt_t *pkt; (pkt = aom_codec_get_cx_data(&e->aom, &iter));) {
		if (pkt->kind != AOM_CODEC_CX_FRAME_PKT)
			continue;
		*out = (struct encoded){.data = pkt->data.frame.buf, .size = pkt->data.frame.sz, .key = !!(pkt->data.frame.flags & AOM_FRAME_IS_KEY)};
		return 0;
	}
	return -1;
}

static void close_av1(struct encoder *base)
{
	struct av1_encoder *e = (struct av1_encoder *)base;
	if (e->open)
		aom_codec_destroy(&e->aom);
	active_map_free(&e->map);
	free(e);
}

/* The settings that are no part of the configuration: what helps a screen, and nothing that takes long. */
static int control(aom_codec_ctx_t *aom, const struct frames *f)
{
	int columns = f->threads > 2 ? 2 : f->threads > 1; /* a power of two */
	return aom_codec_control(aom, AOME_SET_CPUUSED, SPEED) ||
	       aom_codec_control(aom, AV1E_SET_TUNE_CONTENT, AOM_CONTENT_SCREEN) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_PALETTE, 1) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_INTRABC, 0) ||
	       aom_codec_control(aom, AV1E_SET_TILE_COLUMNS, columns) ||
	       aom_codec_control(aom, AV1E_SET_ROW_MT, f->threads > 1) ||
	       aom_codec_control(aom, AV1E_SET_AQ_MODE, 0) ||
	       aom_codec_control(aom, AV1E_SET_DELTAQ_MODE, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_CDEF, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_RESTORATION, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_TPL_MODEL, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_ORDER_HINT, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_OBMC, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_WARPED_MOTION, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_GLOBAL_MOTION, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_REF_FRAME_MVS, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_CFL_INTRA, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_SMOOTH_INTRA, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_ANGLE_DELTA, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_FILTER_INTRA, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_PAETH_INTRA, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_INTRA_EDGE_FILTER, 0) ||
	       aom_codec_control(aom, AV1E_SET_INTRA_DEFAULT_TX_ONLY, 1) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_TX64, 0) ||
	       aom_codec_control(aom, AV1E_SET_ENABLE_RECT_PARTITIONS, 0) ||
	       aom_codec_control(aom, AV1E_SET_MAX_REFERENCE_FRAMES, 3) ||
	       aom_codec_control(aom, AV1E_SET_COEFF_COST_UPD_FREQ, 3) ||
	       aom_codec_control(aom, AV1E_SET_MODE_COST_UPD_FREQ, 3) ||
	       aom_codec_control(aom, AV1E_SET_MV_COST_UPD_FREQ, 3) ||
	       aom_codec_control(aom, AV1E_SET_NOISE_SENSITIVITY, 0) ||
	       aom_codec_control(aom, AV1E_SET_COLOR_PRIMARIES, COLOUR_PRIMARIES) ||
	       aom_codec_control(aom, AV1E_SET_TRANSFER_CHARACTERISTICS, COLOUR_TRANSFER) ||
	       aom_codec_control(aom, AV1E_SET_MATRIX_COEFFICIENTS, f->full ? COLOUR_709 : COLOUR_601) ||
	       aom_codec_control(aom, AV1E_SET_COLOR_RANGE, f->full ? AOM_CR_FULL_RANGE : AOM_CR_STUDIO_RANGE);
}

struct encoder *encoder_av1(const struct frames *f)
{
	struct av1_encoder *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->base = (struct encoder){encode, close_av1};
	aom_codec_enc_cfg_t *c = &e->config;
	if (active_map_init(&e->map, f->width, f->height) || aom_codec_enc_config_default(aom_codec_av1_cx(), c, AOM_USAGE_REALTIME)) {
		close_av1(&e->base);
		return NULL;
	}
	c->g_w = f->width;
	c->g_h = f->height;
	c->g_profile = f->yuv444;
	c->g_threads = f->threads;
	c->g_timebase = (aom_rational_t){1, 60};
	c->g_lag_in_frames = 0;
	c->g_error_resilient = 0;
	/* Each frame's quantiser is given, by leaving the rate control only one. */
	c->rc_end_usage = AOM_CBR;
	c->rc_target_bitrate = 1000000;
	c->rc_min_quantizer = c->rc_max_quantizer = encoder_quantizer(30);
	c->rc_dropframe_thresh = 0;
	c->rc_resize_mode = 0;
	c->kf_mode = AOM_KF_DISABLED;
	aom_img_wrap(&e->image, f->yuv444 ? AOM_IMG_FMT_I444 : AOM_IMG_FMT_I420, f->width, f->height, 1, (unsigned char *)c /* replaced */);
	if (aom_codec_enc_init(&e->aom, aom_codec_av1_cx(), c, 0)) {
		close_av1(&e->base);
		return NULL;
	}
	e->open = 1;
	if (control(&e->aom, f)) {
		close_av1(&e->base);
		return NULL;
	}
	return &e->base;
}
