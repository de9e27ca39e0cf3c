/* A double of libcuda.so.1: devices that hold memory, and a driver that minds whose context is current. */
#define _GNU_SOURCE
#include "double.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OUT_OF_MEMORY = 2, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, LOST = 999 };
enum { MAX_DEVICES = 8, PITCH = 512 };

static struct device {
	char uuid[64], card[64], name[96];
} devices[MAX_DEVICES];
static int device_count = -1; /* before cuInit */
static __thread struct context *current;

/* As the driver: what the environment names when it starts, and all cards but no MIG device when it names none. */
static int visible(const struct device *d)
{
	const char *only = getenv("CUDA_VISIBLE_DEVICES");
	return only && *only ? !strcmp(only, d->uuid) : !strcmp(d->uuid, d->card);
}

static void read_devices(void)
{
	int fd = folder_file("devices", O_RDONLY);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	device_count = 0;
	if (!f)
		return;
	struct device d;
	while (device_count < MAX_DEVICES && fscanf(f, "%63s %63s %95[^\n]", d.uuid, d.card, d.name) == 3)
		if (visible(&d))
			devices[device_count++] = d;
	fclose(f);
}

EXPORT CUresult cuInit(unsigned flags)
{
	if (flags)
		violation("cuInit with flags %u", flags);
	/* As the driver does: room for the address space of cards. A limit on it would show here. */
	void *space = mmap(NULL, (size_t)16 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (space == MAP_FAILED)
		return (CUresult)OUT_OF_MEMORY;
	munmap(space, (size_t)16 << 30);
	if (fault("hang_init", 0))
		hang_while("hang_init", 1);
	if (fault("init", 0))
		return (CUresult)fault("init", 0);
	read_devices();
	note("init devices=%d", device_count);
	return device_count ? CUDA_SUCCESS : (CUresult)NO_DEVICE;
}

EXPORT CUresult cuDeviceGetCount(int *count)
{
	if (device_count < 0)
		return (CUresult)NOT_INITIALIZED;
	*count = device_count;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	if (ordinal < 0 || ordinal >= device_count)
		return (CUresult)INVALID_DEVICE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
	if (device < 0 || device >= device_count)
		return (CUresult)INVALID_DEVICE;
	snprintf(name, length, "%s", devices[device].name);
	return CUDA_SUCCESS;
}

static CUresult parse(CUuuid *uuid, const char *text)
{
	text = strchr(text, '-') + 1; /* behind "GPU" or "MIG" */
	for (int i = 0; i < 16; i++, text += 2) {
		unsigned byte;
		if (*text == '-')
			text++;
		if (sscanf(text, "%2x", &byte) != 1)
			abort();
		uuid->bytes[i] = (char)byte;
	}
	return CUDA_SUCCESS;
}

/* Of a MIG device it tells the card's, as the driver's does. */
EXPORT CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
	return device < 0 || device >= device_count ? (CUresult)INVALID_DEVICE : parse(uuid, devices[device].card);
}

EXPORT CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
	return device < 0 || device >= device_count ? (CUresult)INVALID_DEVICE : parse(uuid, devices[device].uuid);
}

EXPORT CUresult cuCtxCreate_v2(CUcontext *out, unsigned flags, CUdevice device)
{
	if (device < 0 || device >= device_count)
		return (CUresult)INVALID_DEVICE;
	struct context *c = calloc(1, sizeof *c);
	if (!c)
		return (CUresult)OUT_OF_MEMORY;
	c->magic = CONTEXT_MAGIC;
	c->thread = this_thread();
	snprintf(c->name, sizeof c->name, "%s", devices[device].name);
	current = c;
	*out = (CUcontext)c;
	note("context made on %s flags=%u", devices[device].uuid, flags);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext context)
{
	struct context *c = (struct context *)context;
	if (!c || c->magic != CONTEXT_MAGIC) {
		violation("cuCtxDestroy of what is no context");
		return (CUresult)INVALID_CONTEXT;
	}
	if (c->sessions)
		violation("cuCtxDestroy while %d sessions use it", c->sessions);
	for (int i = 0; i < MAX_ALLOCATIONS; i++)
		if (c->allocations[i].base)
			violation("cuCtxDestroy while memory is allocated");
	if (current == c)
		current = NULL;
	c->magic = 0;
	free(c);
	note("context destroyed");
	return CUDA_SUCCESS;
}

static struct context *needs_context(const char *call)
{
	if (!current)
		violation("%s on a thread without a context", call);
	return current;
}

EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *memory, size_t *pitch, size_t width, size_t rows, unsigned element)
{
	struct context *c = needs_context("cuMemAllocPitch");
	if (!c)
		return (CUresult)INVALID_CONTEXT;
	if (element != 4 && element != 8 && element != 16) {
		violation("cuMemAllocPitch for elements of %u bytes", element);
		return (CUresult)INVALID_VALUE;
	}
	if (fault("no_memory", 0))
		return (CUresult)OUT_OF_MEMORY;
	for (int i = 0; i < MAX_ALLOCATIONS; i++) {
		struct allocation *a = &c->allocations[i];
		if (a->base)
			continue;
		a->pitch = (width + PITCH - 1) / PITCH * PITCH;
		a->rows = rows;
		a->registered = 0;
		if (!(a->base = malloc(a->pitch * rows)))
			return (CUresult)OUT_OF_MEMORY;
		memset(a->base, 0xa5, a->pitch * rows); /* what is not copied shows */
		*memory = (CUdeviceptr)(uintptr_t)a->base;
		*pitch = a->pitch;
		note("memory allocated");
		return CUDA_SUCCESS;
	}
	return (CUresult)OUT_OF_MEMORY;
}

/* The allocation that a pointer lies in. */
static struct allocation *allocation_of(struct context *c, const unsigned char *p)
{
	for (int i = 0; i < MAX_ALLOCATIONS; i++) {
		struct allocation *a = &c->allocations[i];
		if (a->base && p >= a->base && p < a->base + a->pitch * a->rows)
			return a;
	}
	return NULL;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr memory)
{
	struct context *c = needs_context("cuMemFree");
	if (!c)
		return (CUresult)INVALID_CONTEXT;
	struct allocation *a = allocation_of(c, (unsigned char *)(uintptr_t)memory);
	if (!a || a->base != (unsigned char *)(uintptr_t)memory) {
		violation("cuMemFree of what was not allocated");
		return (CUresult)INVALID_VALUE;
	}
	if (a->registered)
		violation("cuMemFree of what NVENC still has");
	free(a->base);
	a->base = NULL;
	note("memory freed");
	return CUDA_SUCCESS;
}

EXPORT CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *m)
{
	struct context *c = needs_context("cuMemcpy2D");
	if (!c)
		return (CUresult)INVALID_CONTEXT;
	if (fault("lost", 0))
		return (CUresult)LOST;
	unsigned char *to = (unsigned char *)(uintptr_t)m->dstDevice + m->dstY * m->dstPitch + m->dstXInBytes;
	const unsigned char *from = (const unsigned char *)m->srcHost + m->srcY * m->srcPitch + m->srcXInBytes;
	struct allocation *a = allocation_of(c, to);
	if (m->srcMemoryType != CU_MEMORYTYPE_HOST || m->dstMemoryType != CU_MEMORYTYPE_DEVICE || !a || !m->WidthInBytes || !m->Height ||
	    m->srcXInBytes + m->WidthInBytes > m->srcPitch || m->dstXInBytes + m->WidthInBytes > m->dstPitch ||
	    to + (m->Height - 1) * m->dstPitch + m->WidthInBytes > a->base + a->pitch * a->rows) {
		violation("cuMemcpy2D of %zux%zu out of bounds", m->WidthInBytes, m->Height);
		return (CUresult)INVALID_VALUE;
	}
	for (size_t i = 0; i < m->Height; i++)
		memcpy(to + i * m->dstPitch, from + i * m->srcPitch, m->WidthInBytes);
	c->copied += m->WidthInBytes * m->Height;
	c->copies++;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorName(CUresult r, const char **text)
{
	*text = (int)r == LOST ? "CUDA_ERROR_UNKNOWN" : (int)r == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorString(CUresult r, const char **text)
{
	*text = (int)r == LOST ? "unknown error" : (int)r == OUT_OF_MEMORY ? "out of memory" : "an error of the double";
	return CUDA_SUCCESS;
}
