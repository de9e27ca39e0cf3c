/* A double of libnvidia-encode.so.1: it minds the API's contract, and makes real H.264 by x264 of what lies in the double's card. */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_sessions;

static NVENCSTATUS refuse(struct session *s, NVENCSTATUS status, const char *why)
{
	if (s)
		snprintf(s->error, sizeof s->error, "%s", why);
	violation("%s", why);
	return status;
}

static int zero(const void *p, size_t n)
{
	const unsigned char *b = p;
	while (n--)
		if (b[n])
			return 0;
	return 1;
}

/* Versions and reserved fields: what every structure has. Only those are looked at that all of the headers have under that name. */
#define CHECK(s, p, want)                                                              \
	do {                                                                           \
		if ((p)->version != (want))                                            \
			return refuse(s, NV_ENC_ERR_INVALID_VERSION, #want " missing"); \
	} while (0)
#define RESERVED(s, field)                                                                             \
	do {                                                                                           \
		if (!zero(&(field), sizeof(field)))                                                    \
			return refuse(s, NV_ENC_ERR_INVALID_PARAM, "reserved field is not 0: " #field); \
	} while (0)

/* The session, if the handle is one and its context current. */
static struct session *session_of(void *handle, const char *call)
{
	struct session *s = handle;
	if (!s || s->magic != SESSION_MAGIC) {
		violation("%s without a session", call);
		return NULL;
	}
	if (s->context->thread != this_thread())
		violation("%s on a thread where the context is not current", call);
	return s;
}
#define SESSION(s, handle, call)                               \
	struct session *s = session_of(handle, call);          \
	if (!s)                                                \
		return NV_ENC_ERR_INVALID_ENCODERDEVICE;       \
	if (fault("lost", 0) && strcmp(call, "NvEncDestroyEncoder")) \
		return NV_ENC_ERR_DEVICE_NOT_EXIST

static NVENCSTATUS open_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *p, void **out)
{
	struct context *c = p->device;
	CHECK(NULL, p, NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER);
	RESERVED(NULL, p->reserved);
	RESERVED(NULL, p->reserved1);
	RESERVED(NULL, p->reserved2);
	if (p->apiVersion != NVENCAPI_VERSION)
		return refuse(NULL, NV_ENC_ERR_INVALID_VERSION, "apiVersion is not the header's");
	if (p->deviceType != NV_ENC_DEVICE_TYPE_CUDA || !c || c->magic != CONTEXT_MAGIC)
		return refuse(NULL, NV_ENC_ERR_INVALID_DEVICE, "the device is no CUDA context");
	if (fault("no_engine", 0))
		return NV_ENC_ERR_UNSUPPORTED_DEVICE;
	struct session *s = calloc(1, sizeof *s);
	if (!s)
		return NV_ENC_ERR_OUT_OF_MEMORY;
	s->magic = SESSION_MAGIC;
	s->context = c;
	c->sessions++;
	open_sessions++;
	note("session opened");
	*out = s;
	/* A handle comes even so, and has to be destroyed. */
	if (open_sessions > fault("sessions", 1 << 20))
		return (NVENCSTATUS)fault("sessions_error", NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY);
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS get_guids(void *handle, GUID *guids, uint32_t size, uint32_t *count)
{
	SESSION(s, handle, "NvEncGetEncodeGUIDs");
	const GUID has[] = {NV_ENC_CODEC_HEVC_GUID, NV_ENC_CODEC_H264_GUID};
	uint32_t n = fault("no_h264", 0) ? 1 : 2;
	*count = size < n ? size : n;
	memcpy(guids, has, *count * sizeof *has);
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS get_caps(void *handle, GUID codec, NV_ENC_CAPS_PARAM *p, int *value)
{
	SESSION(s, handle, "NvEncGetEncodeCaps");
	CHECK(s, p, NV_ENC_CAPS_PARAM_VER);
	RESERVED(s, p->reserved);
	if (memcmp(&codec, &NV_ENC_CODEC_H264_GUID, sizeof codec))
		return refuse(s, NV_ENC_ERR_UNSUPPORTED_PARAM, "capabilities of another codec than H.264");
	switch (p->capsToQuery) {
	case NV_ENC_CAPS_WIDTH_MIN: *value = 145; break;
	case NV_ENC_CAPS_HEIGHT_MIN: *value = 49; break;
	case NV_ENC_CAPS_WIDTH_MAX: *value = 4096; break;
	case NV_ENC_CAPS_HEIGHT_MAX: *value = 4096; break;
	case NV_ENC_CAPS_SUPPORT_YUV444_ENCODE: *value = !fault("no_444", 0); break;
	default: *value = 0;
	}
	return NV_ENC_SUCCESS;
}

/* A preset that has on what a client of low latency must not leave on. */
static NVENCSTATUS get_preset(void *handle, GUID codec, GUID preset, NV_ENC_TUNING_INFO tuning, NV_ENC_PRESET_CONFIG *p)
{
	SESSION(s, handle, "NvEncGetEncodePresetConfigEx");
	CHECK(s, p, NV_ENC_PRESET_CONFIG_VER);
	CHECK(s, &p->presetCfg, NV_ENC_CONFIG_VER);
	const GUID known[] = {NV_ENC_PRESET_P1_GUID, NV_ENC_PRESET_P2_GUID, NV_ENC_PRESET_P3_GUID, NV_ENC_PRESET_P4_GUID};
	int found = 0;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		found |= !memcmp(&preset, &known[i], sizeof preset);
	if (!found || memcmp(&codec, &NV_ENC_CODEC_H264_GUID, sizeof codec) || tuning != NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY)
		return refuse(s, NV_ENC_ERR_UNSUPPORTED_PARAM, "no preset P1 to P4 of H.264 for ultra low latency");
	memset(&p->presetCfg, 0, sizeof p->presetCfg);
	p->presetCfg.version = NV_ENC_CONFIG_VER;
	p->presetCfg.profileGUID = NV_ENC_H264_PROFILE_HIGH_GUID;
	p->presetCfg.gopLength = 30;
	p->presetCfg.frameIntervalP = 3;
	p->presetCfg.frameFieldMode = NV_ENC_PARAMS_FRAME_FIELD_MODE_FRAME;
	p->presetCfg.rcParams = (NV_ENC_RC_PARAMS){
		.version = NV_ENC_RC_PARAMS_VER, .rateControlMode = NV_ENC_PARAMS_RC_CBR, .enableAQ = 1, .enableLookahead = 1, .lookaheadDepth = 8,
		.multiPass = NV_ENC_TWO_PASS_QUARTER_RESOLUTION};
	p->presetCfg.encodeCodecConfig.h264Config.idrPeriod = 30;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS check_config(struct session *s, const NV_ENC_CONFIG *c)
{
	const NV_ENC_RC_PARAMS *rc = &c->rcParams;
	const NV_ENC_CONFIG_H264 *h = &c->encodeCodecConfig.h264Config;
	int full = h->chromaFormatIDC == 3;
	CHECK(s, c, NV_ENC_CONFIG_VER);
	RESERVED(s, c->reserved);
	RESERVED(s, c->reserved2);
	RESERVED(s, h->reserved1);
	RESERVED(s, h->reserved2);
	if (full != !memcmp(&c->profileGUID, &NV_ENC_H264_PROFILE_HIGH_444_GUID, sizeof c->profileGUID))
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "the profile does not fit the chroma");
	if (full && fault("no_444", 0))
		return refuse(s, NV_ENC_ERR_UNSUPPORTED_PARAM, "4:4:4 on a card that has none");
	if (c->gopLength == NVENC_INFINITE_GOPLENGTH && c->frameIntervalP != 1)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "B-frames in an infinite GOP");
	if (rc->qpMapMode != NV_ENC_QP_MAP_DISABLED && (rc->enableAQ || rc->enableTemporalAQ))
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "adaptive quantisation with a map of quantisers");
	if (rc->rateControlMode == NV_ENC_PARAMS_RC_CONSTQP && (rc->constQP.qpIntra > 51 || rc->constQP.qpInterP > 51))
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a quantiser above 51");
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS check_init(struct session *s, const NV_ENC_INITIALIZE_PARAMS *p)
{
	CHECK(s, p, NV_ENC_INITIALIZE_PARAMS_VER);
	RESERVED(s, p->reserved);
	RESERVED(s, p->reserved2);
	if (p->privData || p->privDataSize || !p->encodeConfig)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "private data, or no configuration");
	if (memcmp(&p->encodeGUID, &NV_ENC_CODEC_H264_GUID, sizeof p->encodeGUID) || p->tuningInfo != NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "another codec or tuning than the preset's");
	if (p->encodeWidth < 145 || p->encodeHeight < 49 || p->encodeWidth > 4096 || p->encodeHeight > 4096)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a size that the card does not encode");
	if (!p->frameRateNum || !p->frameRateDen || p->enableEncodeAsync)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "no frame rate, or asynchronous mode, which only Windows has");
	return check_config(s, p->encodeConfig);
}

static NVENCSTATUS initialize(void *handle, NV_ENC_INITIALIZE_PARAMS *p)
{
	SESSION(s, handle, "NvEncInitializeEncoder");
	if (s->initialized)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncInitializeEncoder a second time");
	NVENCSTATUS status = check_init(s, p);
	if (status != NV_ENC_SUCCESS)
		return status;
	s->init = *p;
	s->config = *p->encodeConfig;
	s->init.encodeConfig = &s->config;
	if (!open_x264(s) || !(s->mb_info = calloc(macroblocks(s), 1)))
		return NV_ENC_ERR_OUT_OF_MEMORY;
	s->initialized = 1;
	const NV_ENC_RC_PARAMS *rc = &s->config.rcParams;
	note("initialized %ux%u gop=%s bframes=%d lookahead=%d passes=%d constqp=%d ptd=%d reorder=%d", p->encodeWidth, p->encodeHeight,
	     s->config.gopLength == NVENC_INFINITE_GOPLENGTH ? "infinite" : "finite", (int)s->config.frameIntervalP - 1, rc->enableLookahead,
	     rc->multiPass == NV_ENC_MULTI_PASS_DISABLED ? 1 : 2, rc->rateControlMode == NV_ENC_PARAMS_RC_CONSTQP, (int)p->enablePTD, !rc->zeroReorderDelay);
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS reconfigure(void *handle, NV_ENC_RECONFIGURE_PARAMS *p)
{
	SESSION(s, handle, "NvEncReconfigureEncoder");
	CHECK(s, p, NV_ENC_RECONFIGURE_PARAMS_VER);
	const NV_ENC_INITIALIZE_PARAMS *i = &p->reInitEncodeParams;
	if (!s->initialized)
		return refuse(s, NV_ENC_ERR_ENCODER_NOT_INITIALIZED, "NvEncReconfigureEncoder before NvEncInitializeEncoder");
	NVENCSTATUS status = check_init(s, i);
	if (status != NV_ENC_SUCCESS)
		return status;
	if (i->encodeWidth != s->init.encodeWidth || i->encodeHeight != s->init.encodeHeight || i->enablePTD != s->init.enablePTD ||
	    i->encodeConfig->gopLength != s->config.gopLength || i->encodeConfig->frameIntervalP != s->config.frameIntervalP)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "what a running session cannot change");
	if (p->resetEncoder || p->forceIDR)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a change of quantiser that makes a keyframe");
	s->config = *i->encodeConfig;
	s->reconfigured++;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS register_resource(void *handle, NV_ENC_REGISTER_RESOURCE *p)
{
	SESSION(s, handle, "NvEncRegisterResource");
	CHECK(s, p, NV_ENC_REGISTER_RESOURCE_VER);
	RESERVED(s, p->reserved1);
	RESERVED(s, p->reserved2);
	int full = s->config.encodeCodecConfig.h264Config.chromaFormatIDC == 3;
	size_t rows = full ? (size_t)p->height * 3 : (size_t)p->height * 3 / 2;
	if (!s->initialized || s->registered || p->resourceType != NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR || p->bufferUsage != NV_ENC_INPUT_IMAGE ||
	    p->bufferFormat != (full ? NV_ENC_BUFFER_FORMAT_YUV444 : NV_ENC_BUFFER_FORMAT_IYUV) || p->width != s->init.encodeWidth || p->height != s->init.encodeHeight)
		return refuse(s, NV_ENC_ERR_RESOURCE_REGISTER_FAILED, "a resource that is no picture of the session");
	for (int i = 0; i < MAX_ALLOCATIONS; i++) {
		struct allocation *a = &s->context->allocations[i];
		if (!a->base || a->base != p->resourceToRegister)
			continue;
		if (a->pitch != p->pitch || a->rows < rows)
			return refuse(s, NV_ENC_ERR_RESOURCE_REGISTER_FAILED, "a picture that is larger than its memory");
		a->registered++;
		s->allocation = a;
		s->resource = *p;
		s->registered = 1;
		p->registeredResource = &s->resource;
		return NV_ENC_SUCCESS;
	}
	return refuse(s, NV_ENC_ERR_RESOURCE_REGISTER_FAILED, "a resource that is not in the context");
}

static NVENCSTATUS unregister_resource(void *handle, NV_ENC_REGISTERED_PTR resource)
{
	SESSION(s, handle, "NvEncUnregisterResource");
	if (!s->registered || resource != &s->resource)
		return refuse(s, NV_ENC_ERR_RESOURCE_NOT_REGISTERED, "NvEncUnregisterResource of what is not registered");
	if (s->mapped)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncUnregisterResource of what is mapped");
	s->allocation->registered--;
	s->registered = 0;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS map_resource(void *handle, NV_ENC_MAP_INPUT_RESOURCE *p)
{
	SESSION(s, handle, "NvEncMapInputResource");
	CHECK(s, p, NV_ENC_MAP_INPUT_RESOURCE_VER);
	RESERVED(s, p->reserved1);
	RESERVED(s, p->reserved2);
	if (!s->registered || p->registeredResource != &s->resource)
		return refuse(s, NV_ENC_ERR_RESOURCE_NOT_REGISTERED, "NvEncMapInputResource of what is not registered");
	if (s->mapped)
		return refuse(s, NV_ENC_ERR_MAP_FAILED, "NvEncMapInputResource a second time");
	s->mapped = 1;
	p->mappedResource = &s->mapped;
	p->mappedBufferFmt = s->resource.bufferFormat;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS unmap_resource(void *handle, NV_ENC_INPUT_PTR mapped)
{
	SESSION(s, handle, "NvEncUnmapInputResource");
	if (!s->mapped || mapped != &s->mapped)
		return refuse(s, NV_ENC_ERR_RESOURCE_NOT_MAPPED, "NvEncUnmapInputResource of what is not mapped");
	if (s->pending)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncUnmapInputResource before the frame was taken");
	s->mapped = 0;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS create_buffer(void *handle, NV_ENC_CREATE_BITSTREAM_BUFFER *p)
{
	SESSION(s, handle, "NvEncCreateBitstreamBuffer");
	CHECK(s, p, NV_ENC_CREATE_BITSTREAM_BUFFER_VER);
	RESERVED(s, p->reserved1);
	RESERVED(s, p->reserved2);
	if (!s->initialized || s->has_buffer)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncCreateBitstreamBuffer at the wrong time");
	s->has_buffer = 1;
	p->bitstreamBuffer = &s->has_buffer;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS destroy_buffer(void *handle, NV_ENC_OUTPUT_PTR buffer)
{
	SESSION(s, handle, "NvEncDestroyBitstreamBuffer");
	if (!s->has_buffer || buffer != &s->has_buffer)
		return refuse(s, NV_ENC_ERR_INVALID_PTR, "NvEncDestroyBitstreamBuffer of what is none");
	if (s->locked)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncDestroyBitstreamBuffer of what is locked");
	s->has_buffer = 0;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS check_picture(struct session *s, const NV_ENC_PIC_PARAMS *p)
{
	CHECK(s, p, NV_ENC_PIC_PARAMS_VER);
	RESERVED(s, p->reserved2);
	if (!s->initialized || !s->mapped || p->inputBuffer != &s->mapped || p->bufferFmt != s->resource.bufferFormat)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a picture that is not mapped");
	if (!s->has_buffer || p->outputBitstream != &s->has_buffer || s->locked || s->pending)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a frame before the last one was taken and given back");
	if (p->inputWidth != s->init.encodeWidth || p->inputHeight != s->init.encodeHeight || p->inputPitch != s->resource.pitch || p->pictureStruct != NV_ENC_PIC_STRUCT_FRAME)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a picture of another shape");
	if (!s->init.enablePTD && p->encodePicFlags)
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a forced keyframe without picture type decision");
	if (s->config.rcParams.qpMapMode == NV_ENC_QP_MAP_DELTA && (!p->qpDeltaMap || (int)p->qpDeltaMapSize != macroblocks(s)))
		return refuse(s, NV_ENC_ERR_INVALID_PARAM, "a map of quantisers of another size");
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS encode_picture(void *handle, NV_ENC_PIC_PARAMS *p)
{
	SESSION(s, handle, "NvEncEncodePicture");
	NVENCSTATUS status = check_picture(s, p);
	if (status != NV_ENC_SUCCESS)
		return status;
	if (s->frames >= fault("lost_at", 1 << 30))
		return NV_ENC_ERR_DEVICE_NOT_EXIST;
	if (s->frames == fault("hang_at", -1))
		hang_while("hang_at", s->frames);
	int key = p->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR || !s->frames;
	if ((status = make_frame(s, p, key)) != NV_ENC_SUCCESS)
		return status;
	s->frames++;
	s->pending = 1;
	s->reconfigured = 0;
	s->context->copied = 0;
	s->context->copies = 0;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS lock_bitstream(void *handle, NV_ENC_LOCK_BITSTREAM *p)
{
	SESSION(s, handle, "NvEncLockBitstream");
	CHECK(s, p, NV_ENC_LOCK_BITSTREAM_VER);
	RESERVED(s, p->reserved1);
	RESERVED(s, p->reserved2);
	if (p->outputBitstream != &s->has_buffer || !s->pending || s->locked)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncLockBitstream without a frame");
	s->pending = 0;
	s->locked = 1;
	p->bitstreamBufferPtr = s->bitstream;
	p->bitstreamSizeInBytes = (uint32_t)s->bitstream_size;
	p->pictureType = s->type;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS unlock_bitstream(void *handle, NV_ENC_OUTPUT_PTR buffer)
{
	SESSION(s, handle, "NvEncUnlockBitstream");
	if (buffer != &s->has_buffer || !s->locked)
		return refuse(s, NV_ENC_ERR_INVALID_CALL, "NvEncUnlockBitstream of what is not locked");
	memset(s->bitstream, 0xee, s->bitstream_size); /* who reads on sees that it is gone */
	s->locked = 0;
	return NV_ENC_SUCCESS;
}

static NVENCSTATUS destroy(void *handle)
{
	SESSION(s, handle, "NvEncDestroyEncoder");
	if (!fault("lost", 0) && (s->registered || s->mapped || s->has_buffer || s->locked))
		violation("NvEncDestroyEncoder before what belongs to it was given back");
	if (s->registered)
		s->allocation->registered--;
	if (s->x264)
		x264_encoder_close(s->x264);
	s->context->sessions--;
	open_sessions--;
	s->magic = 0;
	free(s->mb_info);
	free(s->bitstream);
	free(s);
	note("session destroyed");
	return NV_ENC_SUCCESS;
}

static const char *last_error(void *handle)
{
	struct session *s = handle;
	return s && s->magic == SESSION_MAGIC ? s->error : "";
}

EXPORT NVENCSTATUS NvEncodeAPIGetMaxSupportedVersion(uint32_t *version)
{
	*version = (uint32_t)fault("version", NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION);
	return NV_ENC_SUCCESS;
}

EXPORT NVENCSTATUS NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *f)
{
	CHECK(NULL, f, NV_ENCODE_API_FUNCTION_LIST_VER);
	RESERVED(NULL, f->reserved);
	RESERVED(NULL, f->reserved2);
	f->nvEncOpenEncodeSessionEx = open_session;
	f->nvEncGetEncodeGUIDs = get_guids;
	f->nvEncGetEncodeCaps = get_caps;
	f->nvEncGetEncodePresetConfigEx = get_preset;
	f->nvEncInitializeEncoder = initialize;
	f->nvEncReconfigureEncoder = reconfigure;
	f->nvEncRegisterResource = register_resource;
	f->nvEncUnregisterResource = unregister_resource;
	f->nvEncMapInputResource = map_resource;
	f->nvEncUnmapInputResource = unmap_resource;
	f->nvEncCreateBitstreamBuffer = create_buffer;
	f->nvEncDestroyBitstreamBuffer = destroy_buffer;
	f->nvEncEncodePicture = encode_picture;
	f->nvEncLockBitstream = lock_bitstream;
	f->nvEncUnlockBitstream = unlock_bitstream;
	f->nvEncDestroyEncoder = destroy;
	f->nvEncGetLastErrorString = last_error;
	return NV_ENC_SUCCESS;
}
