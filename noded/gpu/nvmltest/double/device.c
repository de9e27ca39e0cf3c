// What a card or a MIG device says of itself.
#define _GNU_SOURCE
#include "double.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static nvmlReturn_t machine_text(const char *function, const char *name, char *out, unsigned int size)
{
	char text[128];
	nvmlReturn_t r = begun(function);
	if (r)
		return r;
	return read_text(-1, name, text, sizeof text) ? copy(out, size, text) : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
	return machine_text(__func__, "driver", version, length);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
	return machine_text(__func__, "nvml", version, length);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
	nvmlReturn_t r = begun(__func__);
	*version = (int)read_number(-1, "cuda", 0);
	return r;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
	char file[64], text[64] = "";
	nvmlReturn_t r = begun(__func__);
	if (r)
		return r;
	snprintf(file, sizeof file, "/proc/%u/comm", pid);
	FILE *f = fopen(file, "re");
	if (!f)
		return NVML_ERROR_NOT_FOUND;
	if (!fgets(text, sizeof text, f))
		text[0] = 0;
	fclose(f);
	text[strcspn(text, "\n")] = 0;
	return copy(name, length, text);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
	nvmlReturn_t r = begun(__func__);
	*count = (unsigned)card_count();
	return r;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
	nvmlReturn_t r = begun(__func__);
	if (r)
		return r;
	if (index >= (unsigned)card_count())
		return NVML_ERROR_INVALID_ARGUMENT;
	*device = device_handle((int)index, -1, -1);
	return open_card((int)index, __func__);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
	char text[128];
	nvmlReturn_t r = begun(__func__);
	if (r)
		return r;
	for (int c = 0; c < card_count(); c++) {
		struct thing t;
		if (read_text(c, "uuid", text, sizeof text) && !strcmp(text, uuid)) {
			*device = device_handle(c, -1, -1);
			return open_card(c, __func__);
		}
		for (int i = 0; mig_device(c, i, &t); i++)
			if (mig_uuid(&t, text, sizeof text) && !strcmp(text, uuid)) {
				*device = device_handle(c, t.gi, t.ci);
				return open_card(c, __func__);
			}
	}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *device)
{
	char text[64];
	nvmlReturn_t r = begun(__func__);
	if (r)
		return r;
	for (int c = 0; c < card_count(); c++)
		if (read_text(c, "pci", text, sizeof text) && !strcasecmp(text, id)) {
			*device = device_handle(c, -1, -1);
			return open_card(c, __func__);
		}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
	struct thing t;
	char text[128];
	nvmlReturn_t r = enter(device.handle, __func__, &t);
	if (r)
		return r;
	int known = t.gi >= 0 ? mig_uuid(&t, text, sizeof text) : read_text(t.card, "uuid", text, sizeof text);
	return known ? copy(uuid, length, text) : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
	struct thing t;
	nvmlReturn_t r = enter(device.handle, __func__, &t);
	if (!r)
		*index = (unsigned)(t.gi >= 0 ? mig_device_index(&t) : t.card);
	return r;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
	struct thing t;
	char text[128] = "";
	nvmlReturn_t r = enter(device.handle, __func__, &t);
	if (r)
		return r;
	read_text(t.card, "model", text, sizeof text);
	return copy(name, length, text);
}

// number answers a call that gives one number of a card; a file that is missing is something that the card does not have.
static nvmlReturn_t number(nvmlDevice_t device, const char *function, const char *name, unsigned int *out)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, function, &card);
	if (r)
		return r;
	long long n = read_number(card, name, -1);
	*out = (unsigned)n;
	return n < 0 ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor)
{
	return number(device, __func__, "minor", minor);
}

nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, nvmlBrandType_t *brand)
{
	return number(device, __func__, "brand", (unsigned int *)brand);
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *arch)
{
	return number(device, __func__, "architecture", arch);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *degrees)
{
	(void)sensor;
	return number(device, __func__, "temperature", degrees);
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, nvmlTemperatureThresholds_t which, unsigned int *degrees)
{
	const char *name = which == NVML_TEMPERATURE_THRESHOLD_SHUTDOWN ? "shutdown-temperature" : "slowdown-temperature";
	return number(device, __func__, name, degrees);
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
	unsigned n = 0;
	nvmlReturn_t r = number(device, __func__, "compute", &n);
	*major = (int)n / 10;
	*minor = (int)n % 10;
	return r;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
	int card;
	char text[64] = "";
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	memset(pci, 0, sizeof *pci);
	read_text(card, "pci", text, sizeof text);
	sscanf(text, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
	snprintf(pci->busId, sizeof pci->busId, "%.31s", text);
	snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%04X:%02X:%02X.0", pci->domain & 0xffff, pci->bus & 0xff, pci->device & 0xff);
	pci->pciDeviceId = (unsigned)read_number(card, "pci-device", 0);
	return NVML_SUCCESS;
}

// living tells whether a process still is; 0 stands for the kernel, which is always.
static int living(long long pid)
{
	return pid == 0 || kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

static int on(const struct row *process, int gi, int ci)
{
	return living(process->n[0]) && (gi < 0 || process->n[2] == gi) && (ci < 0 || process->n[3] == ci);
}

int busy(int card, int gi, int ci)
{
	static _Thread_local struct table t;
	read_table(card, "processes", &t);
	for (int i = 0; i < t.count; i++)
		if (on(&t.rows[i], gi, ci))
			return 1;
	return 0;
}

static nvmlReturn_t memory(nvmlDevice_t device, const char *function, nvmlMemory_t *out)
{
	struct thing at;
	static _Thread_local struct table t;
	nvmlReturn_t r = enter(device.handle, function, &at);
	if (r)
		return r;
	out->total = at.gi >= 0 ? mig_memory(&at) : (unsigned long long)read_number(at.card, "memory", 0);
	out->used = at.gi >= 0 ? 0 : (unsigned long long)read_number(at.card, "reserved", 0);
	read_table(at.card, "processes", &t);
	for (int i = 0; i < t.count; i++)
		if (on(&t.rows[i], at.gi, at.ci))
			out->used += (unsigned long long)t.rows[i].n[1];
	out->free = out->total > out->used ? out->total - out->used : 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *out)
{
	return memory(device, __func__, out);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *out)
{
	nvmlMemory_t m = {0};
	struct thing t;
	nvmlReturn_t r = memory(device, __func__, &m);
	if (r || (r = enter(device.handle, __func__, &t)))
		return r;
	out->total = m.total;
	out->free = m.free;
	out->reserved = t.gi >= 0 ? 0 : (unsigned long long)read_number(t.card, "reserved", 0);
	out->used = m.used - out->reserved;
	return NVML_SUCCESS;
}

enum { KIND_GRAPHICS = 'G', KIND_COMPUTE = 'C' };

static nvmlReturn_t processes(nvmlDevice_t device, const char *function, char kind, unsigned int *count, nvmlProcessInfo_t *out)
{
	struct thing at;
	static _Thread_local struct table t;
	nvmlReturn_t r = enter(device.handle, function, &at);
	if (r)
		return r;
	unsigned room = *count;
	*count = 0;
	read_table(at.card, "processes", &t);
	for (int i = 0; i < t.count; i++) {
		struct row *p = &t.rows[i];
		if (!on(p, at.gi, at.ci) || p->text[0] != kind)
			continue;
		if (*count < room && out)
			out[*count] = (nvmlProcessInfo_t){(unsigned)p->n[0], (unsigned long long)p->n[1], (unsigned)p->n[2], (unsigned)p->n[3]};
		++*count;
	}
	return *count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
	return processes(device, __func__, KIND_COMPUTE, count, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
	return processes(device, __func__, KIND_GRAPHICS, count, infos);
}

// affinity turns a list such as "0-3,8" into a bit mask.
static nvmlReturn_t affinity(nvmlDevice_t device, const char *function, const char *name, unsigned int size, unsigned long *set)
{
	int card;
	char text[1024];
	nvmlReturn_t r = enter_card(device.handle, function, &card);
	if (r)
		return r;
	if (!read_text(card, name, text, sizeof text) || !text[0])
		return NVML_ERROR_NOT_SUPPORTED;
	memset(set, 0, size * sizeof *set);
	for (char *at = text, *end; *at; at = *end ? end + 1 : end) {
		unsigned long first = strtoul(at, &end, 10), last = first;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < size * 8 * sizeof *set; first++)
			set[first / (8 * sizeof *set)] |= 1UL << first % (8 * sizeof *set);
	}
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCpuAffinity(nvmlDevice_t device, unsigned int size, unsigned long *set)
{
	return affinity(device, __func__, "cpus", size, set);
}

nvmlReturn_t nvmlDeviceGetCpuAffinityWithinScope(nvmlDevice_t device, unsigned int size, unsigned long *set, nvmlAffinityScope_t scope)
{
	(void)scope;
	return affinity(device, __func__, "cpus", size, set);
}

nvmlReturn_t nvmlDeviceGetMemoryAffinity(nvmlDevice_t device, unsigned int size, unsigned long *set, nvmlAffinityScope_t scope)
{
	(void)scope;
	return affinity(device, __func__, "numa", size, set);
}
