// MIG: compute instances.
#define _GNU_SOURCE
#include "mig.h"

#include <stdio.h>
#include <string.h>

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t instance, unsigned int profile, unsigned int engine, nvmlComputeInstanceProfileInfo_t *info)
{
	static _Thread_local struct table t;
	struct thing at;
	struct instance i;
	nvmlReturn_t r = enter_gi(instance.handle, __func__, &at, &i);
	if (r)
		return r;
	if (profile >= NVML_COMPUTE_INSTANCE_PROFILE_COUNT)
		return NVML_ERROR_INVALID_ARGUMENT;
	struct row *p = ci_profile(&t, at.card, i.profile, CI_ENUM, profile);
	if (!p || engine != NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
		return NVML_ERROR_NOT_SUPPORTED;
	*info = (nvmlComputeInstanceProfileInfo_t){
		(unsigned)p->n[CI_ID], (unsigned)p->n[CI_SLICES], (unsigned)p->n[CI_COUNT], (unsigned)p->n[CI_SM], (unsigned)p->n[CI_COPY],
		(unsigned)p->n[CI_DECODE], (unsigned)p->n[CI_ENCODE], (unsigned)p->n[CI_JPEG], (unsigned)p->n[CI_OFA],
	};
	return NVML_SUCCESS;
}

static int ci_fits(const struct thing *at, int start, int size)
{
	struct instance i;
	for (int ci = 0; ci < MAX_CI; ci++)
		if (read_ci(at->card, at->gi, ci, &i) && start < i.start + i.size && i.start < start + size)
			return 0;
	return 1;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstancePossiblePlacements(nvmlGpuInstance_t instance, unsigned int id, nvmlComputeInstancePlacement_t *out, unsigned int *count)
{
	static _Thread_local struct table t, places;
	struct thing at;
	struct instance i;
	nvmlReturn_t r = enter_gi(instance.handle, __func__, &at, &i);
	if (r)
		return r;
	struct row *p = ci_profile(&t, at.card, i.profile, CI_ID, id);
	if (!p)
		return NVML_ERROR_NOT_SUPPORTED;
	unsigned room = *count, n = 0;
	read_table(at.card, "ci-placements", &places);
	for (int k = 0; k < places.count; k++) {
		const long long *v = places.rows[k].n;
		if (v[0] != i.profile || v[1] != p->n[CI_ENUM])
			continue;
		if (out && n < room)
			out[n] = (nvmlComputeInstancePlacement_t){(unsigned)v[2], (unsigned)v[3]};
		n++;
	}
	*count = n;
	return out && n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

// new_uuid is made of the card and the instances' numbers, as the driver does it: a device that is made again has the same.
static void new_uuid(const struct thing *at, char *out, size_t size)
{
	char card[128] = "";
	unsigned long long h = 14695981039346656037ULL;
	read_text(at->card, "uuid", card, sizeof card);
	for (const char *c = card; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211ULL;
	h = ((h ^ (unsigned)at->gi) * 1099511628211ULL ^ (unsigned)(at->ci + 64)) * 1099511628211ULL;
	snprintf(out, size, "MIG-%08llx-%04llx-5%03llx-8%03x-%012llx", h >> 32, h >> 16 & 0xffff, h & 0xfff, at->gi * MAX_CI + at->ci, h & 0xffffffffffffULL);
}

static nvmlReturn_t create_ci(struct thing at, const struct row *p, int start, int size, nvmlComputeInstance_t *out)
{
	char name[64], text[192], uuid[96];
	struct instance i;
	for (at.ci = 0; at.ci < MAX_CI && read_ci(at.card, at.gi, at.ci, &i); at.ci++)
		;
	if (at.ci == MAX_CI)
		return NVML_ERROR_INSUFFICIENT_RESOURCES;
	new_uuid(&at, uuid, sizeof uuid);
	snprintf(name, sizeof name, "gi%d.ci%d", at.gi, at.ci);
	snprintf(text, sizeof text, "%lld %d %d %s\n", p->n[CI_ENUM], start, size, uuid);
	note("CreateComputeInstance %d %d %lld %d %d", at.card, at.gi, p->n[CI_ENUM], start, size);
	*out = ci_handle(at.card, at.gi, at.ci);
	return write_text(at.card, name, text) ? NVML_ERROR_UNKNOWN : NVML_SUCCESS;
}

static nvmlReturn_t create_compute(nvmlGpuInstance_t instance, const char *function, unsigned int id, unsigned int start, unsigned int size, nvmlComputeInstance_t *out)
{
	static _Thread_local struct table t, places;
	struct thing at;
	struct instance i;
	nvmlReturn_t r = enter_gi(instance.handle, function, &at, &i);
	if (r)
		return r;
	struct row *p = ci_profile(&t, at.card, i.profile, CI_ID, id);
	if (!p)
		return NVML_ERROR_INVALID_ARGUMENT;
	int fd = lock();
	r = NVML_ERROR_INSUFFICIENT_RESOURCES;
	read_table(at.card, "ci-placements", &places);
	for (int k = 0; r == NVML_ERROR_INSUFFICIENT_RESOURCES && k < places.count; k++) {
		const long long *v = places.rows[k].n;
		int meant = v[0] == i.profile && v[1] == p->n[CI_ENUM] && (size == 0 || (v[2] == start && v[3] == size));
		if (meant && ci_fits(&at, (int)v[2], (int)v[3]))
			r = create_ci(at, p, (int)v[2], (int)v[3], out);
	}
	unlock(fd);
	return r;
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t instance, unsigned int id, nvmlComputeInstance_t *out)
{
	return create_compute(instance, __func__, id, 0, 0, out);
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstanceWithPlacement(nvmlGpuInstance_t instance, unsigned int id, const nvmlComputeInstancePlacement_t *at, nvmlComputeInstance_t *out)
{
	return at->size == 0 ? NVML_ERROR_INVALID_ARGUMENT : create_compute(instance, __func__, id, at->start, at->size, out);
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t instance, unsigned int id, nvmlComputeInstance_t *out, unsigned int *count)
{
	static _Thread_local struct table t;
	struct thing at;
	struct instance i, inner;
	nvmlReturn_t r = enter_gi(instance.handle, __func__, &at, &i);
	if (r)
		return r;
	struct row *p = ci_profile(&t, at.card, i.profile, CI_ID, id);
	if (!p)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	for (int ci = 0; ci < MAX_CI; ci++)
		if (read_ci(at.card, at.gi, ci, &inner) && inner.profile == p->n[CI_ENUM])
			out[(*count)++] = ci_handle(at.card, at.gi, ci);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t instance, unsigned int id, nvmlComputeInstance_t *out)
{
	struct thing at;
	struct instance i, inner;
	nvmlReturn_t r = enter_gi(instance.handle, __func__, &at, &i);
	if (r)
		return r;
	if (id >= MAX_CI || !read_ci(at.card, at.gi, (int)id, &inner))
		return NVML_ERROR_NOT_FOUND;
	*out = ci_handle(at.card, at.gi, (int)id);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t instance, nvmlComputeInstanceInfo_t *info)
{
	static _Thread_local struct table t;
	struct thing at;
	struct instance gi, ci;
	nvmlReturn_t r = enter_ci(instance.handle, __func__, &at, &gi, &ci);
	if (r)
		return r;
	struct row *p = ci_profile(&t, at.card, gi.profile, CI_ENUM, ci.profile);
	*info = (nvmlComputeInstanceInfo_t){
		device_handle(at.card, -1, -1), gi_handle(at.card, at.gi), (unsigned)at.ci, p ? (unsigned)p->n[CI_ID] : 0, {(unsigned)ci.start, (unsigned)ci.size},
	};
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t instance)
{
	struct thing at;
	struct instance gi, ci;
	char name[64];
	nvmlReturn_t r = enter_ci(instance.handle, __func__, &at, &gi, &ci);
	if (r)
		return r;
	int fd = lock(), used = busy(at.card, at.gi, at.ci);
	if (!used) {
		snprintf(name, sizeof name, "gi%d.ci%d", at.gi, at.ci);
		note("ComputeInstanceDestroy %d %d %d", at.card, at.gi, at.ci);
		remove_file(at.card, name);
	}
	unlock(fd);
	return used ? NVML_ERROR_IN_USE : NVML_SUCCESS;
}
