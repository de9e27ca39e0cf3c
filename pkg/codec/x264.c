#include "colour.h"
#include "encoder.h"

#include <stdlib.h>
#include <x264.h>

/* How motion is looked for: near, where there are many frames, or far, where there are few, and what scrolls has gone on for long. */
static const struct search {
	int method, range;
} near_search = {X264_ME_DIA, 16}, far_search = {X264_ME_UMH, 64};

struct h264_encoder {
	struct encoder base;
	x264_t *x264;
	x264_param_t param;
	int csp, far;
	int64_t frames;
};

static int search(struct h264_encoder *e, int far)
{
	const struct search *s = far ? &far_search : &near_search;
	e->param.analyse.i_me_method = s->method;
	e->param.analyse.i_me_range = s->range;
	e->far = far;
	return x264_encoder_reconfig(e->x264, &e->param);
}

static int encode(struct encoder *base, struct picture *p, const struct wish *w, struct encoded *out)
{
	struct h264_encoder *e = (struct h264_encoder *)base;
	x264_picture_t in, made;
	if (e->far != w->far && search(e, w->far))
		return -1;
	x264_picture_init(&in);
	in.img.i_csp = e->csp;
	in.img.i_plane = 3;
	for (int i = 0; i < 3; i++) {
		in.img.plane[i] = p->plane[i];
		in.img.i_stride[i] = p->stride[i];
	}
	in.i_pts = e->frames++;
	in.i_type = w->key ? X264_TYPE_IDR : X264_TYPE_AUTO;
	in.i_qpplus1 = w->qp + 1;
	in.prop.mb_info = p->mb_info;
	x264_nal_t *nals;
	int count, n = x264_encoder_encode(e->x264, &nals, &count, &in, &made);
	if (n <= 0)
		return -1;
	/* The payloads lie one after the other. */
	*out = (struct encoded){.data = nals[0].p_payload, .size = n, .key = made.b_keyframe};
	return 0;
}

static void close_x264(struct encoder *base)
{
	struct h264_encoder *e = (struct h264_encoder *)base;
	if (e->x264)
		x264_encoder_close(e->x264);
	free(e);
}

struct encoder *encoder_x264(const struct frames *f)
{
	struct h264_encoder *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->base = (struct encoder){encode, close_x264};
	e->csp = f->yuv444 ? X264_CSP_I444 : X264_CSP_I420;
	x264_param_t *p = &e->param;
	if (x264_param_default_preset(p, "ultrafast", "zerolatency") < 0) {
		close_x264(&e->base);
		return NULL;
	}
	p->i_width = f->width;
	p->i_height = f->height;
	p->i_csp = e->csp;
	p->i_threads = f->threads;
	p->b_sliced_threads = f->threads > 1;
	p->i_fps_num = 60;
	p->i_fps_den = 1;
	p->b_vfr_input = 0;
	p->i_keyint_max = X264_KEYINT_MAX_INFINITE;
	p->i_scenecut_threshold = 0;
	p->i_log_level = X264_LOG_NONE;
	p->b_annexb = 0;
	p->b_repeat_headers = 1;
	p->b_aud = 0;
	p->analyse.b_mb_info = 1;
	p->analyse.i_me_method = near_search.method;
	p->analyse.i_me_range = near_search.range;
	/* Each frame's quantiser is given: x264's own rate control would look at every frame twice. */
	p->rc.i_rc_method = X264_RC_CQP;
	/* It then keeps quantisers between those that it would give to I- and to B-frames. These say 10 and 50: as far as it lets them lie apart. */
	p->rc.i_qp_constant = 30;
	p->rc.f_ip_factor = p->rc.f_pb_factor = 10;
	p->vui.b_fullrange = f->full;
	p->vui.i_colmatrix = f->full ? COLOUR_709 : COLOUR_601;
	p->vui.i_colorprim = COLOUR_PRIMARIES;
	p->vui.i_transfer = COLOUR_TRANSFER;
	if (x264_param_apply_profile(p, f->yuv444 ? "high444" : "baseline") < 0 || !(e->x264 = x264_encoder_open(p))) {
		close_x264(&e->base);
		return NULL;
	}
	return &e->base;
}
