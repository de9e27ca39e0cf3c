/* What nvenc_device.c and nvenc.c share. */
#pragma once
#include "nvenc.h"

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>

/* The functions of libcuda.so.1 that are used: field, type, symbol. */
#define CUDA_FUNCTIONS(F)                                        \
	F(init, tcuInit, "cuInit")                               \
	F(device_count, tcuDeviceGetCount, "cuDeviceGetCount")   \
	F(device_get, tcuDeviceGet, "cuDeviceGet")               \
	F(device_name, tcuDeviceGetName, "cuDeviceGetName")      \
	F(device_uuid, tcuDeviceGetUuid, "cuDeviceGetUuid")      \
	F(ctx_create, tcuCtxCreate_v2, "cuCtxCreate_v2")         \
	F(ctx_destroy, tcuCtxDestroy_v2, "cuCtxDestroy_v2")      \
	F(mem_alloc, tcuMemAllocPitch_v2, "cuMemAllocPitch_v2")  \
	F(mem_free, tcuMemFree_v2, "cuMemFree_v2")               \
	F(memcpy_2d, tcuMemcpy2D_v2, "cuMemcpy2D_v2")            \
	F(error_name, tcuGetErrorName, "cuGetErrorName")         \
	F(error_string, tcuGetErrorString, "cuGetErrorString")

struct nvenc_device {
	void *cuda_library, *encode_library;
	struct {
#define FIELD(name, type, symbol) type *name;
		CUDA_FUNCTIONS(FIELD)
#undef FIELD
	} cuda;
	NV_ENCODE_API_FUNCTION_LIST api;
	CUcontext context;
	char name[96];
};

/* Says what failed and returns status. */
int nvenc_fail(struct nvenc_error *err, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
int nvenc_cuda_failed(struct nvenc_device *d, CUresult r, const char *doing, struct nvenc_error *err);
int nvenc_api_failed(struct nvenc_device *d, void *session, NVENCSTATUS s, const char *doing, struct nvenc_error *err);

/* Opens a session of the device's encoder. */
int nvenc_open_session(struct nvenc_device *d, void **session, struct nvenc_error *err);
int nvenc_session_caps(struct nvenc_device *d, void *session, struct nvenc_caps *caps, struct nvenc_error *err);
