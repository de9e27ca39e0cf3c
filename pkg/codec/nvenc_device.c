#include "nvenc_driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Newer headers have it under another name, older ones not at all. */
static const GUID codec_av1 = {0x0a352289, 0x0aa7, 0x4759, {0x86, 0x2d, 0x5d, 0x15, 0xcd, 0x16, 0xd2, 0x54}};

int nvenc_fail(struct nvenc_error *err, int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(err->text, sizeof err->text, format, args);
	va_end(args);
	return status;
}

int nvenc_cuda_failed(struct nvenc_device *d, CUresult r, const char *doing, struct nvenc_error *err)
{
	const char *name = NULL, *text = NULL;
	d->cuda.error_name(r, &name);
	d->cuda.error_string(r, &text);
	return nvenc_fail(err, NVENC_FAILED, "%s: %s: %s", doing, name ? name : "CUDA error", text ? text : "of no known meaning");
}

static const char *status_name(NVENCSTATUS s)
{
	static const char *const names[] = {
		"success", "no encode device", "unsupported device", "invalid encoder device", "invalid device", "device does not exist", "invalid pointer",
		"invalid event", "invalid parameter", "invalid call", "out of memory", "encoder not initialized", "unsupported parameter", "lock busy",
		"not enough buffer", "invalid version", "map failed", "need more input", "encoder busy", "event not registered", "generic error",
		"incompatible client key", "unimplemented", "resource register failed", "resource not registered", "resource not mapped",
	};
	return (size_t)s < sizeof names / sizeof *names ? names[s] : "unknown error";
}

int nvenc_api_failed(struct nvenc_device *d, void *session, NVENCSTATUS s, const char *doing, struct nvenc_error *err)
{
	const char *more = session && d->api.nvEncGetLastErrorString ? d->api.nvEncGetLastErrorString(session) : NULL;
	return nvenc_fail(err, NVENC_FAILED, "%s: %s (%d)%s%s", doing, status_name(s), (int)s, more && *more ? ": " : "", more ? more : "");
}

static int load(struct nvenc_device *d, const char *cuda, const char *encode, struct nvenc_error *err)
{
	if (!(d->cuda_library = dlopen(cuda, RTLD_NOW | RTLD_LOCAL)))
		return nvenc_fail(err, NVENC_ABSENT, "load the CUDA driver: %s", dlerror());
#define RESOLVE(name, type, symbol)                                   \
	if (!(d->cuda.name = (type *)dlsym(d->cuda_library, symbol))) \
		return nvenc_fail(err, NVENC_ABSENT, "load the CUDA driver: %s has no %s", cuda, symbol);
	CUDA_FUNCTIONS(RESOLVE)
#undef RESOLVE
	if (!(d->encode_library = dlopen(encode, RTLD_NOW | RTLD_LOCAL)))
		return nvenc_fail(err, NVENC_ABSENT, "load NVENC: %s", dlerror());
	NVENCSTATUS(*max_version)(uint32_t *) = (NVENCSTATUS(*)(uint32_t *))dlsym(d->encode_library, "NvEncodeAPIGetMaxSupportedVersion");
	NVENCSTATUS(*create)(NV_ENCODE_API_FUNCTION_LIST *) = (NVENCSTATUS(*)(NV_ENCODE_API_FUNCTION_LIST *))dlsym(d->encode_library, "NvEncodeAPICreateInstance");
	if (!max_version || !create)
		return nvenc_fail(err, NVENC_ABSENT, "load NVENC: %s has no NvEncodeAPI", encode);
	uint32_t version = 0;
	NVENCSTATUS s = max_version(&version);
	if (s != NV_ENC_SUCCESS)
		return nvenc_api_failed(d, NULL, s, "ask NVENC for its version", err);
	if (version < (NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION))
		return nvenc_fail(err, NVENC_ABSENT, "the driver has NVENC %u.%u, this needs %d.%d: install a newer driver", version >> 4, version & 15,
				  NVENCAPI_MAJOR_VERSION, NVENCAPI_MINOR_VERSION);
	d->api.version = NV_ENCODE_API_FUNCTION_LIST_VER;
	if ((s = create(&d->api)) != NV_ENC_SUCCESS)
		return nvenc_api_failed(d, NULL, s, "create an instance of NVENC", err);
	return NVENC_OK;
}

/* Compares with the digits of "GPU-…" or "MIG-…". */
static int has_uuid(const CUuuid *uuid, const char *want)
{
	char text[48], *to = text;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		to += sprintf(to, "%02x", (unsigned char)uuid->bytes[i]);
	}
	return strcmp(text, want) == 0;
}

/* Finds the device. Only version 2 of the call, of CUDA 11.4, knows MIG devices; where it lacks, the environment has seen to it that there is
 * just the one. */
static int find(struct nvenc_device *d, const char *uuid, CUdevice *found, struct nvenc_error *err)
{
	int count = 0, mig = strncmp(uuid, "MIG-", 4) == 0;
	CUresult r = d->cuda.device_count(&count);
	if (r != CUDA_SUCCESS)
		return nvenc_cuda_failed(d, r, "count CUDA's devices", err);
	tcuDeviceGetUuid *uuid_of = (tcuDeviceGetUuid *)dlsym(d->cuda_library, "cuDeviceGetUuid_v2");
	int named = !mig || (uuid_of && strncmp(uuid, "MIG-GPU-", 8) != 0);
	for (int i = 0; i < count; i++) {
		CUuuid has;
		if ((r = d->cuda.device_get(found, i)) != CUDA_SUCCESS || (r = (uuid_of ? uuid_of : d->cuda.device_uuid)(&has, *found)) != CUDA_SUCCESS)
			return nvenc_cuda_failed(d, r, "ask a CUDA device for its UUID", err);
		if (named ? has_uuid(&has, uuid + 4) : count == 1)
			return NVENC_OK;
	}
	return nvenc_fail(err, NVENC_NO_DEVICE, "the CUDA driver has no device %s among its %d", uuid, count);
}

static int open_device(struct nvenc_device *d, const char *cuda, const char *encode, const char *uuid, struct nvenc_error *err)
{
	/* CUDA shows one MIG device to a process, and only if it is named so; a card that is not named is not woken either. */
	if (setenv("CUDA_VISIBLE_DEVICES", uuid, 1) != 0)
		return nvenc_fail(err, NVENC_FAILED, "name the device to CUDA: out of memory");
	int status = load(d, cuda, encode, err);
	if (status != NVENC_OK)
		return status;
	CUresult r = d->cuda.init(0);
	if (r == 100) /* CUDA_ERROR_NO_DEVICE */
		return nvenc_fail(err, NVENC_NO_DEVICE, "start CUDA: the driver has no device %s", uuid);
	if (r != CUDA_SUCCESS)
		return nvenc_cuda_failed(d, r, "start CUDA", err);
	CUdevice device;
	if ((status = find(d, uuid, &device, err)) != NVENC_OK)
		return status;
	if ((r = d->cuda.device_name(d->name, sizeof d->name, device)) != CUDA_SUCCESS)
		return nvenc_cuda_failed(d, r, "ask the device for its name", err);
	/* Waiting for the card must not burn a core. The context becomes the thread's own. */
	if ((r = d->cuda.ctx_create(&d->context, CU_CTX_SCHED_BLOCKING_SYNC, device)) != CUDA_SUCCESS)
		return nvenc_cuda_failed(d, r, "make a CUDA context", err);
	return NVENC_OK;
}

int nvenc_open_device(const char *cuda, const char *encode, const char *uuid, struct nvenc_device **out, struct nvenc_error *err)
{
	struct nvenc_device *d = calloc(1, sizeof *d);
	if (!d)
		return nvenc_fail(err, NVENC_FAILED, "out of memory");
	int status = open_device(d, cuda, encode, uuid, err);
	if (status != NVENC_OK)
		nvenc_close_device(d);
	else
		*out = d;
	return status;
}

const char *nvenc_device_name(const struct nvenc_device *d) { return d->name; }

/* The libraries stay in memory: NVIDIA's do not take well to being unloaded. */
void nvenc_close_device(struct nvenc_device *d)
{
	if (d->context)
		d->cuda.ctx_destroy(d->context);
	free(d);
}

int nvenc_open_session(struct nvenc_device *d, void **session, struct nvenc_error *err)
{
	NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS open = {
		.version = NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER,
		.deviceType = NV_ENC_DEVICE_TYPE_CUDA,
		.device = d->context,
		.apiVersion = NVENCAPI_VERSION,
	};
	*session = NULL;
	NVENCSTATUS s = d->api.nvEncOpenEncodeSessionEx(&open, session);
	if (s == NV_ENC_SUCCESS)
		return NVENC_OK;
	if (*session) /* a session that could not be opened has to be destroyed all the same */
		d->api.nvEncDestroyEncoder(*session);
	*session = NULL;
	switch (s) {
	case NV_ENC_ERR_NO_ENCODE_DEVICE:
	case NV_ENC_ERR_UNSUPPORTED_DEVICE:
		return nvenc_fail(err, NVENC_NO_ENGINE, "%s has no encoder engine", d->name);
	case NV_ENC_ERR_OUT_OF_MEMORY: /* how drivers say that the limit of sessions is reached, older and newer ones */
	case NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY:
		return nvenc_fail(err, NVENC_NO_SESSION, "the encoder of %s takes no further session (%s)", d->name, status_name(s));
	default:
		return nvenc_api_failed(d, NULL, s, "open a session of NVENC", err);
	}
}

static int capability(struct nvenc_device *d, void *session, NV_ENC_CAPS what, int *value, struct nvenc_error *err)
{
	NV_ENC_CAPS_PARAM ask = {.version = NV_ENC_CAPS_PARAM_VER, .capsToQuery = what};
	NVENCSTATUS s = d->api.nvEncGetEncodeCaps(session, NV_ENC_CODEC_H264_GUID, &ask, value);
	return s == NV_ENC_SUCCESS ? NVENC_OK : nvenc_api_failed(d, session, s, "ask NVENC what it can do", err);
}

int nvenc_session_caps(struct nvenc_device *d, void *session, struct nvenc_caps *caps, struct nvenc_error *err)
{
	GUID codecs[16];
	uint32_t count = 0;
	memset(caps, 0, sizeof *caps);
	NVENCSTATUS s = d->api.nvEncGetEncodeGUIDs(session, codecs, sizeof codecs / sizeof *codecs, &count);
	if (s != NV_ENC_SUCCESS)
		return nvenc_api_failed(d, session, s, "ask NVENC for its codecs", err);
	for (uint32_t i = 0; i < count; i++) {
		caps->h264 |= !memcmp(&codecs[i], &NV_ENC_CODEC_H264_GUID, sizeof *codecs);
		caps->hevc |= !memcmp(&codecs[i], &NV_ENC_CODEC_HEVC_GUID, sizeof *codecs);
		caps->av1 |= !memcmp(&codecs[i], &codec_av1, sizeof *codecs);
	}
	if (!caps->h264)
		return nvenc_fail(err, NVENC_NO_ENGINE, "the encoder of %s makes no H.264", d->name);
	const struct {
		NV_ENC_CAPS what;
		int *value;
	} asked[] = {
		{NV_ENC_CAPS_SUPPORT_YUV444_ENCODE, &caps->yuv444},
		{NV_ENC_CAPS_WIDTH_MIN, &caps->min_width},
		{NV_ENC_CAPS_HEIGHT_MIN, &caps->min_height},
		{NV_ENC_CAPS_WIDTH_MAX, &caps->max_width},
		{NV_ENC_CAPS_HEIGHT_MAX, &caps->max_height},
	};
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		int status = capability(d, session, asked[i].what, asked[i].value, err);
		if (status != NVENC_OK)
			return status;
	}
	return NVENC_OK;
}

int nvenc_caps(struct nvenc_device *d, struct nvenc_caps *caps, struct nvenc_error *err)
{
	void *session;
	int status = nvenc_open_session(d, &session, err);
	if (status != NVENC_OK)
		return status;
	status = nvenc_session_caps(d, session, caps, err);
	d->api.nvEncDestroyEncoder(session);
	return status;
}
