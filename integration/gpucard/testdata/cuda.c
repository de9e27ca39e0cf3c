// A test double of CUDA's driver with one device, whose "card" is this processor: it knows the one program that the test runs. Built with
// -DWRONG it makes one mistake, with -DDEVICES=2 it shows two devices.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef DEVICES
#define DEVICES 1
#endif

int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGetCount(int *n) { *n = DEVICES; return 0; }
int cuDeviceGet(int *device, int i) { *device = i; return 0; }
int cuDeviceGetName(char *name, int size, int device) { (void)device; strncpy(name, "a double", (size_t)size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = 40ULL << 30; return 0; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { (void)flags; (void)device; *context = context; return 0; }
int cuCtxDestroy_v2(void *context) { (void)context; return 0; }
int cuMemAlloc_v2(uint64_t *at, size_t size) { *at = (uint64_t)(uintptr_t)malloc(size); return *at ? 0 : 2; }
int cuMemFree_v2(uint64_t at) { free((void *)(uintptr_t)at); return 0; }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { memcpy((void *)(uintptr_t)to, from, size); return 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { memcpy(to, (void *)(uintptr_t)from, size); return 0; }
int cuModuleLoadData(void **module, const void *text) { *module = (void *)(uintptr_t)text; return strstr(text, ".entry churn(") ? 0 : 218; }
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = module; return strcmp(name, "churn") ? 500 : 0; }
int cuCtxSynchronize(void) { return 0; }

int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream, void **arguments, void **extra)
{
	(void)f; (void)shared; (void)stream; (void)extra;
	uint32_t *data = (uint32_t *)(uintptr_t)*(uint64_t *)arguments[0];
	uint32_t count = *(uint32_t *)arguments[1], rounds = *(uint32_t *)arguments[2];
	if ((uint64_t)gx * gy * gz * bx * by * bz != count)
		return 1;
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t k = 0; k < rounds; k++)
			data[i] = data[i] * 1664525u + 1013904223u;
#ifdef WRONG
	data[count - 1] ^= 1;
#endif
	return 0;
}

int cuGetErrorString(int status, const char **text) { *text = status ? "the double refuses" : ""; return 0; }
