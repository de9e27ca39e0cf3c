// MIG: the mode, GPU instances, compute instances and the devices that they make.
// Files of a card: "mig" (0 or 1; missing: it cannot), "mig-pending", "gi-profiles", "gi-placements", "ci-profiles", "ci-placements";
// "giN" is an instance: its profile's number, start and size; "giN.ciM" a compute instance in it, and its device's UUID.
#define _GNU_SOURCE
#include "double.h"

#include <stdio.h>
#include <string.h>

// Columns of the profiles.
enum { GI_ENUM, GI_ID, GI_SLICES, GI_COUNT, GI_SM, GI_COPY, GI_DECODE, GI_ENCODE, GI_JPEG, GI_OFA, GI_MEMORY, GI_P2P };
enum { CI_GI, CI_ENUM, CI_ID, CI_SLICES, CI_COUNT, CI_SM, CI_COPY, CI_DECODE, CI_ENCODE, CI_JPEG, CI_OFA };

struct instance {
	int profile, start, size; // profile is NVML's constant, not its ID
	char uuid[96];
};

static int read_instance(int card, const char *name, struct instance *out)
{
	char text[256];
	memset(out, 0, sizeof *out);
	return read_text(card, name, text, sizeof text) && sscanf(text, "%d %d %d %95s", &out->profile, &out->start, &out->size, out->uuid) >= 3;
}

static int read_gi(int card, int gi, struct instance *out)
{
	char name[32];
	snprintf(name, sizeof name, "gi%d", gi);
	return read_instance(card, name, out);
}

static int read_ci(int card, int gi, int ci, struct instance *out)
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

static struct row *gi_profile(struct table *t, int card, int column, long long value)
{
	return find(t, card, "gi-profiles", column, value, column, value);
}

static struct row *ci_profile(struct table *t, int card, int gi_enum, int column, long long value)
{
	return find(t, card, "ci-profiles", CI_GI, gi_enum, column, value);
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

// enter_gi begins a call on a GPU instance that must be there.
static nvmlReturn_t enter_gi(const void *handle, const char *function, struct thing *at, struct instance *i)
{
	nvmlReturn_t r = enter(handle, function, at);
	return r ? r : at->gi >= 0 && read_gi(at->card, at->gi, i) ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
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

static nvmlReturn_t enter_ci(const void *handle, const char *function, struct thing *at, struct instance *gi, struct instance *ci)
{
	nvmlReturn_t r = enter_gi(handle, function, at, gi);
	return r ? r : at->ci >= 0 && read_ci(at->card, at->gi, at->ci, ci) ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
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
