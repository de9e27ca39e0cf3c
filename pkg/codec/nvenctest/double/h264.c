/* The half of the double that makes real H.264, by x264. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

int macroblocks(const struct session *s)
{
	return (int)(((s->init.encodeWidth + MB - 1) / MB) * ((s->init.encodeHeight + MB - 1) / MB));
}

int open_x264(struct session *s)
{
	const NV_ENC_CONFIG_H264 *h = &s->config.encodeCodecConfig.h264Config;
	const NV_ENC_CONFIG_H264_VUI_PARAMETERS *vui = &h->h264VUIParameters;
	x264_param_t p;
	x264_param_default_preset(&p, "ultrafast", "zerolatency");
	p.i_width = s->init.encodeWidth;
	p.i_height = s->init.encodeHeight;
	p.i_csp = h->chromaFormatIDC == 3 ? X264_CSP_I444 : X264_CSP_I420;
	p.i_threads = 1;
	p.i_fps_num = s->init.frameRateNum;
	p.i_fps_den = s->init.frameRateDen;
	p.b_vfr_input = 0;
	p.i_keyint_max = s->config.gopLength == NVENC_INFINITE_GOPLENGTH ? X264_KEYINT_MAX_INFINITE : (int)s->config.gopLength;
	p.i_scenecut_threshold = 0;
	p.i_log_level = X264_LOG_NONE;
	p.b_annexb = 1;
	p.b_repeat_headers = h->repeatSPSPPS;
	p.b_aud = h->outputAUD;
	p.analyse.b_mb_info = 1;
	p.rc.i_rc_method = X264_RC_CQP;
	p.rc.i_qp_constant = 30;
	p.rc.f_ip_factor = p.rc.f_pb_factor = 10;
	if (vui->videoSignalTypePresentFlag)
		p.vui.b_fullrange = vui->videoFullRangeFlag;
	if (vui->colourDescriptionPresentFlag) {
		p.vui.i_colorprim = vui->colourPrimaries;
		p.vui.i_transfer = vui->transferCharacteristics;
		p.vui.i_colmatrix = vui->colourMatrix;
	}
	x264_param_apply_profile(&p, h->chromaFormatIDC == 3 ? "high444" : "baseline");
	return (s->x264 = x264_encoder_open(&p)) != NULL;
}

NVENCSTATUS make_frame(struct session *s, const NV_ENC_PIC_PARAMS *p, int key)
{
	const NV_ENC_QP *qps = &s->config.rcParams.constQP;
	int qp = (int)(key ? qps->qpIntra : qps->qpInterP), full = s->resource.bufferFormat == NV_ENC_BUFFER_FORMAT_YUV444;
	int skipped = 0, nals;
	size_t pitch = s->resource.pitch, rows = s->resource.height;
	x264_picture_t in, out;
	x264_nal_t *nal;
	x264_picture_init(&in);
	in.img.i_csp = full ? X264_CSP_I444 : X264_CSP_I420;
	in.img.i_plane = 3;
	in.img.plane[0] = s->allocation->base;
	in.img.plane[1] = in.img.plane[0] + pitch * rows;
	in.img.plane[2] = in.img.plane[1] + (full ? pitch * rows : pitch / 2 * (rows / 2));
	in.img.i_stride[0] = (int)pitch;
	in.img.i_stride[1] = in.img.i_stride[2] = (int)(full ? pitch : pitch / 2);
	in.i_pts = s->frames;
	in.i_type = key ? X264_TYPE_IDR : X264_TYPE_P;
	in.i_qpplus1 = qp + 1;
	for (int i = 0; i < macroblocks(s); i++) {
		int coarse = p->qpDeltaMap[i] > 0 && qp + p->qpDeltaMap[i] >= COARSEST;
		s->mb_info[i] = coarse ? X264_MBINFO_CONSTANT : 0;
		skipped += coarse;
	}
	in.prop.mb_info = s->mb_info;
	int n = x264_encoder_encode(s->x264, &nal, &nals, &in, &out);
	if (n <= 0)
		return NV_ENC_ERR_GENERIC;
	/* The driver's buffer is the driver's: x264's memory is of use until it encodes again. */
	unsigned char *copy = realloc(s->bitstream, n);
	if (!copy)
		return NV_ENC_ERR_OUT_OF_MEMORY;
	s->bitstream = copy;
	memcpy(copy, nal[0].p_payload, n);
	s->bitstream_size = n;
	s->type = out.b_keyframe ? NV_ENC_PIC_TYPE_IDR : NV_ENC_PIC_TYPE_P;
	note("frame=%d key=%d qp=%d bytes=%d copied=%zu copies=%d skipped=%d reconfigured=%d", s->frames, out.b_keyframe, qp, n, s->context->copied,
	     s->context->copies, skipped, s->reconfigured);
	return NV_ENC_SUCCESS;
}
