// Engines, load, errors and events.
#define _GNU_SOURCE
#include "double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

nvmlReturn_t nvmlDeviceGetEncoderCapacity(nvmlDevice_t device, nvmlEncoderType_t type, unsigned int *capacity)
{
	static const char *const names[] = {"h264", "hevc", "av1"};
	int card;
	char text[64] = "";
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if ((unsigned)type > 2)
		return NVML_ERROR_INVALID_ARGUMENT;
	read_text(card, "encode", text, sizeof text);
	if (!strstr(text, names[type]))
		return NVML_ERROR_NOT_SUPPORTED;
	*capacity = 100;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderStats(nvmlDevice_t device, unsigned int *sessions, unsigned int *fps, unsigned int *latency)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	*sessions = (unsigned)read_number(card, "encoder-sessions", 0);
	*fps = *latency = 0;
	return NVML_SUCCESS;
}

static nvmlReturn_t percent(nvmlDevice_t device, const char *function, const char *name, unsigned int *out, unsigned int *period)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, function, &card);
	if (r)
		return r;
	*out = (unsigned)read_number(card, name, 0);
	*period = 100000;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *out, unsigned int *period)
{
	return percent(device, __func__, "encoder-use", out, period);
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *out, unsigned int *period)
{
	return percent(device, __func__, "decoder-use", out, period);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *out)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if (mig_enabled(card))
		return NVML_ERROR_NOT_SUPPORTED; // as NVML has it
	out->gpu = (unsigned)read_number(card, "use", 0);
	out->memory = (unsigned)read_number(card, "memory-use", 0);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *out, unsigned int *count, unsigned long long since)
{
	static _Thread_local struct table t;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	(void)since;
	if (r)
		return r;
	if (mig_enabled(card))
		return NVML_ERROR_NOT_SUPPORTED;
	read_table(card, "process-use", &t); // lines: pid, then per cent of compute, memory, encoder, decoder
	unsigned room = *count;
	*count = (unsigned)t.count;
	if (t.count == 0)
		return NVML_ERROR_NOT_FOUND;
	if (!out || room < *count)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	for (int i = 0; i < t.count; i++) {
		const long long *n = t.rows[i].n;
		out[i] = (nvmlProcessUtilizationSample_t){(unsigned)n[0], 1, (unsigned)n[1], (unsigned)n[2], (unsigned)n[3], (unsigned)n[4]};
	}
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (!r)
		*reasons = (unsigned long long)read_number(card, "clock-reasons", 0);
	return r;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons)
{
	return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current, nvmlEnableState_t *pending)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (!r)
		*current = *pending = NVML_FEATURE_ENABLED;
	return r;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter, unsigned long long *count)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (!r)
		*count = (unsigned long long)(type == NVML_MEMORY_ERROR_TYPE_UNCORRECTED && counter == NVML_VOLATILE_ECC
						  ? read_number(card, "ecc-uncorrected", 0)
						  : read_number(card, "ecc-corrected", 0));
	return r;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending, unsigned int *failed)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	*corrected = 0;
	*uncorrected = (unsigned)read_number(card, "rows-remapped", 0);
	*pending = (unsigned)read_number(card, "rows-pending", 0);
	*failed = (unsigned)read_number(card, "rows-failed", 0);
	return NVML_SUCCESS;
}

static const unsigned long long all_events = nvmlEventTypeSingleBitEccError | nvmlEventTypeDoubleBitEccError | nvmlEventTypeXidCriticalError;

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types)
{
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	*types = all_events;
	return r;
}

// An event set remembers how far it has read each card's file "events": lines "TYPE DATA GI CI".
struct events {
	unsigned long long types[MAX_CARDS];
	int read[MAX_CARDS];
};

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
	nvmlReturn_t r = begun(__func__);
	if (r)
		return r;
	set->handle = calloc(1, sizeof(struct events));
	return set->handle ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
	free(set.handle);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set)
{
	static _Thread_local struct table t;
	struct events *e = (struct events *)(void *)set.handle;
	int card;
	nvmlReturn_t r = enter_card(device.handle, __func__, &card);
	if (r)
		return r;
	if (types & ~all_events)
		return NVML_ERROR_NOT_SUPPORTED;
	read_table(card, "events", &t);
	e->types[card] = types;
	e->read[card] = t.count;
	note("RegisterEvents %d", card);
	return NVML_SUCCESS;
}

static int next_event(struct events *e, nvmlEventData_t *data)
{
	static _Thread_local struct table t;
	for (int card = 0; card < card_count(); card++) {
		if (!e->types[card])
			continue;
		read_table(card, "events", &t);
		while (e->read[card] < t.count) {
			const long long *n = t.rows[e->read[card]++].n;
			if (!((unsigned long long)n[0] & e->types[card]))
				continue;
			*data = (nvmlEventData_t){device_handle(card, -1, -1), (unsigned long long)n[0], (unsigned long long)n[1], (unsigned)n[2], (unsigned)n[3]};
			return 1;
		}
	}
	return 0;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int milliseconds)
{
	struct timespec now, end;
	nvmlReturn_t r = begun(__func__);
	if (r)
		return r;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += milliseconds / 1000;
	end.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	for (;;) {
		if (next_event((struct events *)(void *)set.handle, data))
			return NVML_SUCCESS;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > end.tv_sec + 1 || (now.tv_sec - end.tv_sec) * 1000000000L + now.tv_nsec - end.tv_nsec >= 0)
			return NVML_ERROR_TIMEOUT;
		nanosleep(&(struct timespec){0, 5 * 1000 * 1000}, NULL);
	}
}
