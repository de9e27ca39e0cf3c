// MIG devices, which compute instances make, and the tables of MIG.
#define _GNU_SOURCE
#include "mig.h"

#include <stdio.h>
#include <string.h>

static int read_instance(int card, const char *name, struct instance *out)
{
	char text[256];
	memset(out, 0, sizeof *out);
	return read_text(card, name, text, sizeof text) && sscanf(text, "%d %d %d %95s", &out->profile, &out->start, &out->size, out->uuid) >= 3;
}

int read_gi(int card, int gi, struct instance *out)
{
	char name[32];
	snprintf(name, sizeof name, "gi%d", gi);
	return read_instance(card, name, out);
}

int read_ci(int card, int gi, int ci, struct instance *out)
{
	char name[64];
	snprintf(name, sizeof name, "gi%d.ci%d", gi, ci);
	return read_instance(card, name, out);
}

// find gives the row whose columns have these values.
static struct row *find(struct table *t, int card, const char *file, int column, long long value, int column2, long long value2)
{
	read_table(card, file, t);
	for (int i = 0; i < t->count; i++)
		if (t->rows[i].n[column] == value && t->rows[i].n[column2] == value2)
			return &t->rows[i];
	return NULL;
}

struct row *gi_profile(struct table *t, int card, int column, long long value)
{
	return find(t, card, "gi-profiles", column, value, column, value);
}

struct row *ci_profile(struct table *t, int card, int gi_enum, int column, long long value)
{
	return find(t, card, "ci-profiles", CI_GI, gi_enum, column, value);
}

nvmlReturn_t enter_gi(const void *handle, const char *function, struct thing *at, struct instance *i)
{
	nvmlReturn_t r = enter(handle, function, at);
	return r ? r : at->gi >= 0 && read_gi(at->card, at->gi, i) ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t enter_ci(const void *handle, const char *function, struct thing *at, struct instance *gi, struct instance *ci)
{
	nvmlReturn_t r = enter_gi(handle, function, at, gi);
	return r ? r : at->ci >= 0 && read_ci(at->card, at->gi, at->ci, ci) ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

int mig_enabled(int card)
{
	return read_number(card, "mig", 0) == 1;
}

int mig_device(int card, int index, struct thing *out)
{
	struct instance i;
	if (!mig_enabled(card))
		return 0;
	for (int gi = 0; gi < MAX_GI; gi++)
		for (int ci = 0; ci < MAX_CI; ci++)
			if (read_ci(card, gi, ci, &i) && index-- == 0) {
				*out = (struct thing){card, gi, ci};
				return 1;
			}
	return 0;
}

int mig_device_index(const struct thing *t)
{
	struct thing other;
	for (int i = 0; mig_device(t->card, i, &other); i++)
		if (other.gi == t->gi && other.ci == t->ci)
			return i;
	return -1;
}

int mig_uuid(const struct thing *t, char *out, size_t size)
{
	struct instance i;
	if (!mig_enabled(t->card) || !read_ci(t->card, t->gi, t->ci, &i))
		return 0;
	snprintf(out, size, "%s", i.uuid);
	return 1;
}

unsigned long long mig_memory(const struct thing *t)
{
	static _Thread_local struct table profiles;
	struct instance i;
	if (!read_gi(t->card, t->gi, &i))
		return 0;
	struct row *p = gi_profile(&profiles, t->card, GI_ENUM, i.profile);
	return p ? (unsigned long long)p->n[GI_MEMORY] << 20 : 0;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is)
{
	struct thing at;
	nvmlReturn_t r = enter(device.handle, __func__, &at);
	if (!r)
		*is = at.gi >= 0;
	return r;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id)
{
	struct thing at;
	nvmlReturn_t r = enter(device.handle, __func__, &at);
	*id = (unsigned)at.gi;
	return r ? r : at.gi < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int *id)
{
	struct thing at;
	nvmlReturn_t r = enter(device.handle, __func__, &at);
	*id = (unsigned)at.ci;
	return r ? r : at.gi < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (!r)
		*count = read_number(card, "mig", -1) < 0 ? 0 : (unsigned)read_number(card, "slices", 7);
	return r;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *out)
{
	struct thing at;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if (!mig_device(card, (int)index, &at))
		return NVML_ERROR_NOT_FOUND;
	*out = device_handle(at.card, at.gi, at.ci);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t device, nvmlDevice_t *out)
{
	struct thing at;
	nvmlReturn_t r = enter(device.handle, __func__, &at);
	if (r)
		return r;
	*out = device_handle(at.card, -1, -1);
	return at.gi < 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *out)
{
	static _Thread_local struct table t, u;
	struct thing at;
	struct instance gi, ci;
	nvmlReturn_t r = enter_ci(device.handle, __func__, &at, &gi, &ci);
	if (r)
		return r == NVML_ERROR_NOT_FOUND ? NVML_ERROR_INVALID_ARGUMENT : r;
	struct row *p = gi_profile(&t, at.card, GI_ENUM, gi.profile), *q = ci_profile(&u, at.card, gi.profile, CI_ENUM, ci.profile);
	if (!p || !q)
		return NVML_ERROR_UNKNOWN;
	*out = (nvmlDeviceAttributes_t){
		(unsigned)q->n[CI_SM], (unsigned)p->n[GI_COPY], (unsigned)p->n[GI_DECODE], (unsigned)p->n[GI_ENCODE], (unsigned)p->n[GI_JPEG],
		(unsigned)p->n[GI_OFA], (unsigned)p->n[GI_SLICES], (unsigned)q->n[CI_SLICES], (unsigned long long)p->n[GI_MEMORY],
	};
	return NVML_SUCCESS;
}
