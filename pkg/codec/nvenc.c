#include "colour.h"
#include "nvenc_driver.h"

#include <stdlib.h>
#include <string.h>

/* The quantiser of what has not changed: so coarse that nothing is left to say about it. */
enum { COARSEST = 51 };

struct nvenc_encoder {
	struct nvenc_device *device;
	void *session;
	NV_ENC_INITIALIZE_PARAMS init;
	NV_ENC_CONFIG config;
	NV_ENC_BUFFER_FORMAT format;
	NV_ENC_OUTPUT_PTR bitstream;
	int locked; /* the bitstream, whose last frame is still being read */
	/* The picture as the card has it: three planes below each other. It lasts, so that only what changed is copied. */
	CUdeviceptr memory;
	size_t pitch[3], offset[3];
	NV_ENC_REGISTERED_PTR registered;
	int filled, changed; /* the picture is there; it differs from the one before */
	int8_t *qp_map; /* of each macroblock, what is added to the frame's quantiser */
	uint32_t macroblocks;
	uint32_t frames;
};

static int failed(struct nvenc_encoder *e, NVENCSTATUS s, const char *doing, struct nvenc_error *err)
{
	return nvenc_api_failed(e->device, e->session, s, doing, err);
}

/* The settings, on top of the preset for the least latency: one frame in, one frame out. */
static int configure(struct nvenc_encoder *e, int width, int height, int yuv444, int full, int qp, struct nvenc_error *err)
{
	NV_ENC_PRESET_CONFIG preset = {.version = NV_ENC_PRESET_CONFIG_VER, .presetCfg = {.version = NV_ENC_CONFIG_VER}};
	NVENCSTATUS s = e->device->api.nvEncGetEncodePresetConfigEx(e->session, NV_ENC_CODEC_H264_GUID, NV_ENC_PRESET_P3_GUID,
								    NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY, &preset);
	if (s != NV_ENC_SUCCESS)
		return failed(e, s, "ask NVENC for its preset P3", err);
	e->config = preset.presetCfg;
	e->config.version = NV_ENC_CONFIG_VER;
	e->config.profileGUID = yuv444 ? NV_ENC_H264_PROFILE_HIGH_444_GUID : NV_ENC_H264_PROFILE_BASELINE_GUID;
	e->config.gopLength = NVENC_INFINITE_GOPLENGTH;
	e->config.frameIntervalP = 1;

	/* Each frame's quantiser is given: NVENC's own rate control takes frames to come at a steady pace, and ours come when something is drawn. */
	NV_ENC_RC_PARAMS *rc = &e->config.rcParams;
	rc->rateControlMode = NV_ENC_PARAMS_RC_CONSTQP;
	rc->constQP = (NV_ENC_QP){qp, qp, qp};
	rc->multiPass = NV_ENC_MULTI_PASS_DISABLED;
	rc->enableAQ = rc->enableTemporalAQ = 0; /* they exclude the map */
	rc->enableLookahead = 0;
	rc->zeroReorderDelay = 1;
	rc->qpMapMode = NV_ENC_QP_MAP_DELTA;

	NV_ENC_CONFIG_H264 *h264 = &e->config.encodeCodecConfig.h264Config;
	h264->idrPeriod = NVENC_INFINITE_GOPLENGTH;
	h264->repeatSPSPPS = 1; /* at every IDR */
	h264->outputAUD = 0;
	h264->chromaFormatIDC = yuv444 ? 3 : 1;
	h264->entropyCodingMode = yuv444 ? NV_ENC_H264_ENTROPY_CODING_MODE_CABAC : NV_ENC_H264_ENTROPY_CODING_MODE_CAVLC;
	h264->maxNumRefFrames = 1;
	h264->sliceMode = h264->sliceModeData = 0;
	/* As x264's. */
	NV_ENC_CONFIG_H264_VUI_PARAMETERS *vui = &h264->h264VUIParameters;
	memset(vui, 0, sizeof *vui);
	vui->videoSignalTypePresentFlag = vui->colourDescriptionPresentFlag = 1;
	vui->videoFormat = 5; /* unspecified */
	vui->videoFullRangeFlag = full;
	/* By numbers: Debian 13's headers have enumerations of their own for them, Debian 12's have none. */
	const int matrix = full ? COLOUR_709 : COLOUR_601, primaries = COLOUR_PRIMARIES, transfer = COLOUR_TRANSFER;
	vui->colourMatrix = matrix;
	vui->colourPrimaries = primaries;
	vui->transferCharacteristics = transfer;
	vui->bitstreamRestrictionFlag = 1; /* says that nothing is reordered, so that no decoder waits */

	e->init = (NV_ENC_INITIALIZE_PARAMS){
		.version = NV_ENC_INITIALIZE_PARAMS_VER,
		.encodeGUID = NV_ENC_CODEC_H264_GUID,
		.presetGUID = NV_ENC_PRESET_P3_GUID,
		.tuningInfo = NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY,
		.encodeWidth = width,
		.encodeHeight = height,
		.darWidth = width,
		.darHeight = height,
		.frameRateNum = 60,
		.frameRateDen = 1,
		.enablePTD = 1,
		.encodeConfig = &e->config,
	};
	if ((s = e->device->api.nvEncInitializeEncoder(e->session, &e->init)) != NV_ENC_SUCCESS)
		return failed(e, s, "start NVENC", err);
	return NVENC_OK;
}

/* Gives the encoder a place for the picture on the card and one for the frame. */
static int allocate(struct nvenc_encoder *e, int width, int height, int yuv444, struct nvenc_error *err)
{
	struct nvenc_device *d = e->device;
	size_t pitch, rows = yuv444 ? (size_t)height * 3 : (size_t)height + height / 2;
	CUresult r = d->cuda.mem_alloc(&e->memory, &pitch, width, rows, 16);
	if (r != CUDA_SUCCESS)
		return nvenc_cuda_failed(d, r, "allocate the picture on the card", err);
	size_t chroma_pitch = yuv444 ? pitch : pitch / 2, chroma_height = yuv444 ? height : height / 2;
	e->pitch[0] = pitch;
	e->pitch[1] = e->pitch[2] = chroma_pitch;
	e->offset[1] = pitch * height;
	e->offset[2] = e->offset[1] + chroma_pitch * chroma_height;
	NV_ENC_REGISTER_RESOURCE reg = {
		.version = NV_ENC_REGISTER_RESOURCE_VER,
		.resourceType = NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR,
		.resourceToRegister = (void *)(uintptr_t)e->memory,
		.width = width,
		.height = height,
		.pitch = pitch,
		.bufferFormat = e->format,
		.bufferUsage = NV_ENC_INPUT_IMAGE,
	};
	NVENCSTATUS s = d->api.nvEncRegisterResource(e->session, &reg);
	if (s != NV_ENC_SUCCESS)
		return failed(e, s, "give NVENC the picture", err);
	e->registered = reg.registeredResource;
	NV_ENC_CREATE_BITSTREAM_BUFFER buffer = {.version = NV_ENC_CREATE_BITSTREAM_BUFFER_VER};
	if ((s = d->api.nvEncCreateBitstreamBuffer(e->session, &buffer)) != NV_ENC_SUCCESS)
		return failed(e, s, "make NVENC a buffer", err);
	e->bitstream = buffer.bitstreamBuffer;
	return NVENC_OK;
}

static int takes(struct nvenc_encoder *e, int width, int height, int yuv444, struct nvenc_error *err)
{
	struct nvenc_caps caps;
	int status = nvenc_session_caps(e->device, e->session, &caps, err);
	if (status != NVENC_OK)
		return status;
	if (width < caps.min_width || height < caps.min_height || width > caps.max_width || height > caps.max_height)
		return nvenc_fail(err, NVENC_UNFIT, "%s encodes H.264 from %dx%d to %dx%d, not %dx%d", e->device->name, caps.min_width, caps.min_height,
				  caps.max_width, caps.max_height, width, height);
	if (yuv444 && !caps.yuv444)
		return nvenc_fail(err, NVENC_UNFIT, "%s encodes no H.264 4:4:4", e->device->name);
	return NVENC_OK;
}

int nvenc_open(struct nvenc_device *d, int width, int height, int yuv444, int full, int qp, struct nvenc_encoder **out, struct nvenc_error *err)
{
	struct nvenc_encoder *e = calloc(1, sizeof *e);
	if (!e)
		return nvenc_fail(err, NVENC_FAILED, "out of memory");
	e->device = d;
	e->format = yuv444 ? NV_ENC_BUFFER_FORMAT_YUV444 : NV_ENC_BUFFER_FORMAT_IYUV;
	e->macroblocks = (uint32_t)((width + MB - 1) / MB) * ((height + MB - 1) / MB);
	int status = nvenc_open_session(d, &e->session, err);
	if (status == NVENC_OK && !(e->qp_map = malloc(e->macroblocks)))
		status = nvenc_fail(err, NVENC_FAILED, "out of memory");
	if (status == NVENC_OK)
		status = takes(e, width, height, yuv444, err);
	if (status == NVENC_OK)
		status = configure(e, width, height, yuv444, full, qp, err);
	if (status == NVENC_OK)
		status = allocate(e, width, height, yuv444, err);
	if (status != NVENC_OK)
		nvenc_close(e);
	else
		*out = e;
	return status;
}

void nvenc_close(struct nvenc_encoder *e)
{
	struct nvenc_device *d = e->device;
	if (e->locked)
		d->api.nvEncUnlockBitstream(e->session, e->bitstream);
	if (e->registered)
		d->api.nvEncUnregisterResource(e->session, e->registered);
	if (e->bitstream)
		d->api.nvEncDestroyBitstreamBuffer(e->session, e->bitstream);
	if (e->session)
		d->api.nvEncDestroyEncoder(e->session);
	if (e->memory)
		d->cuda.mem_free(e->memory);
	free(e->qp_map);
	free(e);
}

/* Changes the quantiser of the frames to come in the running session; none becomes a keyframe by that. */
static int retune(struct nvenc_encoder *e, int key, int qp, struct nvenc_error *err)
{
	NV_ENC_QP *now = &e->config.rcParams.constQP;
	uint32_t *used = key ? &now->qpIntra : &now->qpInterP;
	if (*used == (uint32_t)qp)
		return NVENC_OK;
	NV_ENC_QP before = *now;
	*used = qp;
	now->qpInterB = now->qpInterP;
	NV_ENC_RECONFIGURE_PARAMS again = {.version = NV_ENC_RECONFIGURE_PARAMS_VER, .reInitEncodeParams = e->init};
	NVENCSTATUS s = e->device->api.nvEncReconfigureEncoder(e->session, &again);
	if (s != NV_ENC_SUCCESS) {
		*now = before;
		return failed(e, s, "retune NVENC", err);
	}
	return NVENC_OK;
}

/* Copies macroblocks [x0, x1) of the rows [y0, y1) to the card, plane by plane. */
static int copy(struct nvenc_encoder *e, const struct picture *p, int x0, int x1, int y0, int y1, struct nvenc_error *err)
{
	int right = x1 * MB < p->width ? x1 * MB : p->width, bottom = y1 * MB < p->height ? y1 * MB : p->height;
	for (int i = 0; i < 3; i++) {
		int part = i && !p->yuv444 ? 2 : 1;
		size_t x = (size_t)x0 * MB / part, y = (size_t)y0 * MB / part;
		CUDA_MEMCPY2D c = {
			.srcMemoryType = CU_MEMORYTYPE_HOST,
			.srcHost = p->plane[i],
			.srcPitch = p->stride[i],
			.srcXInBytes = x,
			.srcY = y,
			.dstMemoryType = CU_MEMORYTYPE_DEVICE,
			.dstDevice = e->memory + e->offset[i],
			.dstPitch = e->pitch[i],
			.dstXInBytes = x,
			.dstY = y,
			.WidthInBytes = right / part - x,
			.Height = bottom / part - y,
		};
		CUresult r = e->device->cuda.memcpy_2d(&c);
		if (r != CUDA_SUCCESS)
			return nvenc_cuda_failed(e->device, r, "copy the picture to the card", err);
	}
	return NVENC_OK;
}

/* The first and last changed macroblock of a row; none if x1 is 0. */
static void changed_in(const struct picture *p, int row, int *x0, int *x1)
{
	const uint8_t *same = p->mb_info + (size_t)row * p->mb_width;
	*x0 = *x1 = 0;
	for (int x = 0; x < p->mb_width; x++)
		if (!same[x]) {
			if (!*x1)
				*x0 = x;
			*x1 = x + 1;
		}
}

/* Brings the card's picture up to date. Rows of change below each other go as one rectangle: a copy costs more by itself than by some pixels more. */
static int upload(struct nvenc_encoder *e, const struct picture *p, struct nvenc_error *err)
{
	e->changed = !e->filled;
	if (!e->filled)
		return copy(e, p, 0, p->mb_width, 0, p->mb_height, err);
	for (int y = 0; y < p->mb_height; y++) {
		int x0, x1, top = y;
		changed_in(p, y, &x0, &x1);
		if (!x1)
			continue;
		e->changed = 1;
		for (int a, b; y + 1 < p->mb_height; y++) {
			changed_in(p, y + 1, &a, &b);
			if (!b)
				break;
			x0 = a < x0 ? a : x0;
			x1 = b > x1 ? b : x1;
		}
		int status = copy(e, p, x0, x1, top, y + 1, err);
		if (status != NVENC_OK)
			return status;
	}
	return NVENC_OK;
}

/* Spends the frame's bytes on what changed. A keyframe and a refinement are about all of the picture. */
static void weigh(struct nvenc_encoder *e, const struct picture *p, int key, int qp)
{
	memset(e->qp_map, 0, e->macroblocks);
	if (key || !e->changed)
		return;
	for (uint32_t i = 0; i < e->macroblocks; i++)
		if (p->mb_info[i])
			e->qp_map[i] = COARSEST - qp;
}

static int encode(struct nvenc_encoder *e, int key, NV_ENC_MAP_INPUT_RESOURCE *map, struct nvenc_frame *out, struct nvenc_error *err)
{
	NV_ENC_PIC_PARAMS pic = {
		.version = NV_ENC_PIC_PARAMS_VER,
		.inputWidth = e->init.encodeWidth,
		.inputHeight = e->init.encodeHeight,
		.inputPitch = e->pitch[0],
		.inputBuffer = map->mappedResource,
		.bufferFmt = map->mappedBufferFmt,
		.outputBitstream = e->bitstream,
		.pictureStruct = NV_ENC_PIC_STRUCT_FRAME,
		.encodePicFlags = key ? NV_ENC_PIC_FLAG_FORCEIDR : 0,
		.frameIdx = e->frames,
		.inputTimeStamp = e->frames,
		.qpDeltaMap = e->qp_map,
		.qpDeltaMapSize = e->macroblocks,
	};
	e->frames++;
	NVENCSTATUS s = e->device->api.nvEncEncodePicture(e->session, &pic);
	if (s != NV_ENC_SUCCESS)
		return failed(e, s, "encode a frame by NVENC", err);
	NV_ENC_LOCK_BITSTREAM lock = {.version = NV_ENC_LOCK_BITSTREAM_VER, .outputBitstream = e->bitstream};
	if ((s = e->device->api.nvEncLockBitstream(e->session, &lock)) != NV_ENC_SUCCESS)
		return failed(e, s, "take a frame from NVENC", err);
	e->locked = 1;
	*out = (struct nvenc_frame){lock.bitstreamBufferPtr, lock.bitstreamSizeInBytes, lock.pictureType == NV_ENC_PIC_TYPE_IDR};
	return NVENC_OK;
}

int nvenc_encode(struct nvenc_encoder *e, struct picture *p, int key, int qp, struct nvenc_frame *out, struct nvenc_error *err)
{
	struct nvenc_device *d = e->device;
	NVENCSTATUS s;
	key |= !e->filled; /* there is nothing before the first */
	if (e->locked) {
		e->locked = 0;
		if ((s = d->api.nvEncUnlockBitstream(e->session, e->bitstream)) != NV_ENC_SUCCESS)
			return failed(e, s, "give NVENC its buffer back", err);
	}
	int status = retune(e, key, qp, err);
	if (status == NVENC_OK)
		status = upload(e, p, err);
	if (status != NVENC_OK)
		return status;
	e->filled = 1;
	weigh(e, p, key, qp);
	/* Mapping has NVENC wait for the copies. */
	NV_ENC_MAP_INPUT_RESOURCE map = {.version = NV_ENC_MAP_INPUT_RESOURCE_VER, .registeredResource = e->registered};
	if ((s = d->api.nvEncMapInputResource(e->session, &map)) != NV_ENC_SUCCESS)
		return failed(e, s, "show NVENC the picture", err);
	status = encode(e, key, &map, out, err);
	s = d->api.nvEncUnmapInputResource(e->session, map.mappedResource);
	if (status == NVENC_OK && s != NV_ENC_SUCCESS)
		return failed(e, s, "take the picture back from NVENC", err);
	if (status == NVENC_OK)
		picture_encoded(p);
	return status;
}
