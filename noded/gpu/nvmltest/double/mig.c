// MIG: the mode and GPU instances.
#define _GNU_SOURCE
#include "mig.h"

#include <stdio.h>
#include <string.h>

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	long long mode = read_number(card, "mig", -1);
	*current = (unsigned)mode;
	*pending = (unsigned)read_number(card, "mig-pending", mode);
	return mode < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

static int instances(int card)
{
	struct instance i;
	int n = 0;
	for (int gi = 0; gi < MAX_GI; gi++)
		n += read_gi(card, gi, &i);
	return n;
}

nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t device, unsigned int mode, nvmlReturn_t *status)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if (read_number(card, "mig", -1) < 0)
		return NVML_ERROR_NOT_SUPPORTED;
	if (mode > 1)
		return NVML_ERROR_INVALID_ARGUMENT;
	int fd = lock();
	note("SetMigMode %d %u", card, mode);
	const char *text = mode ? "1\n" : "0\n";
	write_text(card, "mig-pending", text);
	*status = NVML_SUCCESS;
	if ((long long)mode != read_number(card, "mig", 0)) {
		if (busy(card, -1, -1) || instances(card))
			*status = NVML_ERROR_IN_USE; // until it is reset
		else
			write_text(card, "mig", text);
	}
	unlock(fd);
	return NVML_SUCCESS;
}

static void fill_gi(const struct row *p, nvmlGpuInstanceProfileInfo_t *info)
{
	*info = (nvmlGpuInstanceProfileInfo_t){
		.id = (unsigned)p->n[GI_ID], .isP2pSupported = (unsigned)p->n[GI_P2P], .sliceCount = (unsigned)p->n[GI_SLICES],
		.instanceCount = (unsigned)p->n[GI_COUNT], .multiprocessorCount = (unsigned)p->n[GI_SM],
		.copyEngineCount = (unsigned)p->n[GI_COPY], .decoderCount = (unsigned)p->n[GI_DECODE],
		.encoderCount = (unsigned)p->n[GI_ENCODE], .jpegCount = (unsigned)p->n[GI_JPEG], .ofaCount = (unsigned)p->n[GI_OFA],
		.memorySizeMB = (unsigned long long)p->n[GI_MEMORY],
	};
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned int profile, nvmlGpuInstanceProfileInfo_t *info)
{
	static _Thread_local struct table t;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if (profile >= NVML_GPU_INSTANCE_PROFILE_COUNT)
		return NVML_ERROR_INVALID_ARGUMENT;
	struct row *p = gi_profile(&t, card, GI_ENUM, profile);
	if (!p)
		return NVML_ERROR_NOT_SUPPORTED;
	fill_gi(p, info);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t device, unsigned int profile, nvmlGpuInstanceProfileInfo_v2_t *info)
{
	static _Thread_local struct table t;
	nvmlGpuInstanceProfileInfo_t v1;
	int card;
	nvmlReturn_t r = nvmlDeviceGetGpuInstanceProfileInfo(device, profile, &v1);
	if (r || (r = enter_card(device.handle, __func__, &card)))
		return r;
	if (info->version != nvmlGpuInstanceProfileInfo_v2)
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	struct row *p = gi_profile(&t, card, GI_ENUM, profile);
	if (!p)
		return NVML_ERROR_NOT_SUPPORTED;
	*info = (nvmlGpuInstanceProfileInfo_v2_t){
		info->version, v1.id, v1.isP2pSupported, v1.sliceCount, v1.instanceCount, v1.multiprocessorCount, v1.copyEngineCount,
		v1.decoderCount, v1.encoderCount, v1.jpegCount, v1.ofaCount, v1.memorySizeMB, "",
	};
	snprintf(info->name, sizeof info->name, "%s", p->text);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t device, unsigned int id, nvmlGpuInstancePlacement_t *out, unsigned int *count)
{
	static _Thread_local struct table t, places;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	struct row *p = gi_profile(&t, card, GI_ID, id);
	if (!p)
		return NVML_ERROR_NOT_SUPPORTED;
	unsigned room = *count, n = 0;
	read_table(card, "gi-placements", &places);
	for (int i = 0; i < places.count; i++) {
		const long long *v = places.rows[i].n;
		if (v[0] != p->n[GI_ENUM])
			continue;
		if (out && n < room)
			out[n] = (nvmlGpuInstancePlacement_t){(unsigned)v[1], (unsigned)v[2]};
		n++;
	}
	*count = n;
	return out && n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

// fits tells whether a GPU instance can be made there: the place is one of the profile's, and free, and neither the card's
// compute slices nor the instances of the profile are used up.
static int fits(int card, const struct row *p, int start, int size)
{
	static _Thread_local struct table profiles, places;
	struct instance i;
	int slices = (int)p->n[GI_SLICES], same = 0, possible = 0;
	read_table(card, "gi-placements", &places);
	for (int k = 0; k < places.count; k++)
		possible |= places.rows[k].n[0] == p->n[GI_ENUM] && places.rows[k].n[1] == start && places.rows[k].n[2] == size;
	for (int gi = 0; possible && gi < MAX_GI; gi++) {
		if (!read_gi(card, gi, &i))
			continue;
		struct row *other = gi_profile(&profiles, card, GI_ENUM, i.profile);
		slices += other ? (int)other->n[GI_SLICES] : 0;
		same += i.profile == p->n[GI_ENUM];
		possible = start >= i.start + i.size || i.start >= start + size;
	}
	return possible && slices <= read_number(card, "slices", 7) && same < p->n[GI_COUNT];
}

// new_gi is the ID that the hardware gives: places are nodes of a tree, the whole card is 0, its halves 1 and 2, and so on.
static int new_gi(int start, int size)
{
	switch (size) {
	case 8: return 0;
	case 4: return 1 + start / 4;
	case 2: return 3 + start / 2;
	default: return 7 + start;
	}
}

static nvmlReturn_t create_gi(int card, const struct row *p, int start, int size, nvmlGpuInstance_t *out)
{
	char name[32], text[96];
	int gi = new_gi(start, size);
	snprintf(name, sizeof name, "gi%d", gi);
	snprintf(text, sizeof text, "%lld %d %d\n", p->n[GI_ENUM], start, size);
	note("CreateGpuInstance %d %lld %d %d", card, p->n[GI_ENUM], start, size);
	*out = gi_handle(card, gi);
	return write_text(card, name, text) ? NVML_ERROR_UNKNOWN : NVML_SUCCESS;
}

// create makes an instance at one place, or with size 0 at the first that fits.
static nvmlReturn_t create(nvmlDevice_t device, const char *function, unsigned int id, unsigned int start, unsigned int size, nvmlGpuInstance_t *out)
{
	static _Thread_local struct table t, places;
	int card;
	nvmlReturn_t r = enter_card(device.handle, function, &card);
	if (r)
		return r;
	if (!mig_enabled(card))
		return NVML_ERROR_NOT_SUPPORTED;
	struct row *p = gi_profile(&t, card, GI_ID, id);
	if (!p)
		return NVML_ERROR_INVALID_ARGUMENT;
	int fd = lock();
	r = NVML_ERROR_INSUFFICIENT_RESOURCES;
	read_table(card, "gi-placements", &places);
	for (int i = 0; r == NVML_ERROR_INSUFFICIENT_RESOURCES && i < places.count; i++) {
		const long long *v = places.rows[i].n;
		int meant = v[0] == p->n[GI_ENUM] && (size == 0 || (v[1] == start && v[2] == size));
		if (meant && fits(card, p, (int)v[1], (int)v[2]))
			r = create_gi(card, p, (int)v[1], (int)v[2], out);
	}
	unlock(fd);
	return r;
}

nvmlReturn_t nvmlDeviceCreateGpuInstance(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *out)
{
	return create(device, __func__, id, 0, 0, out);
}

nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t device, unsigned int id, const nvmlGpuInstancePlacement_t *at, nvmlGpuInstance_t *out)
{
	return at->size == 0 ? NVML_ERROR_INVALID_ARGUMENT : create(device, __func__, id, at->start, at->size, out);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t device, unsigned int id, unsigned int *count)
{
	static _Thread_local struct table t, places;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	struct row *p = gi_profile(&t, card, GI_ID, id);
	if (!p)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	read_table(card, "gi-placements", &places);
	for (int i = 0; i < places.count; i++)
		if (places.rows[i].n[0] == p->n[GI_ENUM])
			*count += (unsigned)fits(card, p, (int)places.rows[i].n[1], (int)places.rows[i].n[2]);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *out, unsigned int *count)
{
	static _Thread_local struct table t;
	struct instance i;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	struct row *p = gi_profile(&t, card, GI_ID, id);
	if (!p)
		return NVML_ERROR_INVALID_ARGUMENT;
	*count = 0;
	for (int gi = 0; gi < MAX_GI; gi++)
		if (read_gi(card, gi, &i) && i.profile == p->n[GI_ENUM])
			out[(*count)++] = gi_handle(card, gi);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *out)
{
	struct instance i;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if (id >= MAX_GI || !read_gi(card, (int)id, &i))
		return NVML_ERROR_NOT_FOUND;
	*out = gi_handle(card, (int)id);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info)
{
	static _Thread_local struct table t;
	struct thing at;
	struct instance i;
	nvmlReturn_t r = enter_gi(instance.handle, __func__, &at, &i);
	if (r)
		return r;
	struct row *p = gi_profile(&t, at.card, GI_ENUM, i.profile);
	*info = (nvmlGpuInstanceInfo_t){
		device_handle(at.card, -1, -1), (unsigned)at.gi, p ? (unsigned)p->n[GI_ID] : 0, {(unsigned)i.start, (unsigned)i.size},
	};
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t instance)
{
	struct thing at;
	struct instance i, inner;
	char name[32];
	nvmlReturn_t r = enter_gi(instance.handle, __func__, &at, &i);
	if (r)
		return r;
	int fd = lock(), used = busy(at.card, at.gi, -1);
	for (int ci = 0; ci < MAX_CI; ci++)
		used |= read_ci(at.card, at.gi, ci, &inner);
	if (!used) {
		snprintf(name, sizeof name, "gi%d", at.gi);
		note("GpuInstanceDestroy %d %d", at.card, at.gi);
		remove_file(at.card, name);
	}
	unlock(fd);
	return used ? NVML_ERROR_IN_USE : NVML_SUCCESS;
}
