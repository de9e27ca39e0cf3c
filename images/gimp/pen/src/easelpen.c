/*
 * easelpen: the Xorg input driver through which every pointer of a session comes. One module makes three X devices, told apart by
 * Option "Type": pen, eraser and pointer. The one with Option "Path" owns the socket; each record names the device that it is for.
 */
#include <xorg-server.h>
#include <xf86.h>
#include <xf86Module.h>
#include <xf86Xinput.h>
#include <exevents.h>
#include <xserver-properties.h>
#include <X11/Xatom.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "pen_axes.h"
#include "pen_socket.h"
#include "pen_wire.h"

/* Packets handled before the server gets to do something else; what is left keeps the descriptor readable. */
enum { PACKETS_A_TURN = 16 };

/* A press that nobody has let through for so long (ms) holds the rest no more. */
enum { LONGEST_HOLD = 5000 };

struct easel_device {
	enum pen_device type;
	char *path;               /* NULL: another device owns the socket */
	struct pen_socket socket;
	ValuatorMask *mask;
	unsigned held;            /* bit n: button n is down */
	bool near;                /* the tool is in proximity */
	double x, y;              /* where it was last, in pixels */
	unsigned long malformed;  /* packets and records that were dropped */
};

/* The devices that are on. The X server loads a module once and has no other place for what they share. */
static InputInfoPtr present[PEN_DEVICES];

/*
 * The packet that is being posted, and the press that the rest of it waits for. Where a window manager looks at each press first, the server
 * is frozen until it lets that through, and then plays what has come meanwhile: with motions merged, and all of it at the place where the
 * pointer is by then. So nothing is to come meanwhile.
 */
static struct {
	struct pen_record records[PEN_MAX_RECORDS];
	int next, count;
	InputInfoPtr presser; /* NULL: nothing waits */
	int button;
	CARD32 since;
} packet;

/* The pointer has done nothing but scroll since its scroll axes were told, and no other device anything. */
static bool scrolling;

static const char *const type_names[PEN_DEVICES] = {
	[PEN_DEVICE_POINTER] = "pointer", [PEN_DEVICE_PEN] = "pen", [PEN_DEVICE_ERASER] = "eraser",
};

static bool is_stylus(const struct easel_device *d)
{
	return d->type != PEN_DEVICE_POINTER;
}

/* Sets the position and, for a stylus, the rest of the hand in the device's mask. */
static void fill_mask(struct easel_device *d, const struct pen_record *r)
{
	d->x = r->x / 256.0;
	d->y = r->y / 256.0;
	valuator_mask_zero(d->mask);
	valuator_mask_set_double(d->mask, AXIS_X, d->x);
	valuator_mask_set_double(d->mask, AXIS_Y, d->y);
	if (!is_stylus(d))
		return;
	valuator_mask_set(d->mask, AXIS_PRESSURE, r->pressure);
	valuator_mask_set(d->mask, AXIS_TILT_X, r->tilt_x);
	valuator_mask_set(d->mask, AXIS_TILT_Y, r->tilt_y);
	valuator_mask_set(d->mask, AXIS_TWIST, r->twist);
}

static void set_near(InputInfoPtr info, bool near)
{
	struct easel_device *d = info->private;

	if (!is_stylus(d) || d->near == near)
		return;
	d->near = near;
	xf86PostProximityEventM(info->dev, near, d->mask);
}

static void set_button(InputInfoPtr info, int button, bool down)
{
	struct easel_device *d = info->private;
	unsigned bit = 1u << button;

	if (((d->held & bit) != 0) == down)
		return; /* X would count it twice */
	d->held ^= bit;
	xf86PostButtonEventM(info->dev, Absolute, button, down, d->mask);
	if (!down)
		return;
	packet.presser = info;
	packet.button = button;
	packet.since = GetTimeInMillis();
}

/*
 * A client that takes smooth scrolling subtracts from what an axis was at what it is at, and begins anew when the pointer enters one of its
 * windows: GTK 3 lost the first turn then. A turn by nothing tells it where the axes are.
 */
static void tell_scroll(InputInfoPtr info)
{
	struct easel_device *d = info->private;

	if (scrolling)
		return;
	scrolling = true;
	valuator_mask_zero(d->mask);
	valuator_mask_set(d->mask, AXIS_SCROLL_Y, 0);
	valuator_mask_set(d->mask, AXIS_SCROLL_X, 0);
	xf86PostMotionEventM(info->dev, Relative, d->mask);
}

static void scroll(InputInfoPtr info, const struct pen_record *r)
{
	struct easel_device *d = info->private;

	tell_scroll(info);
	valuator_mask_zero(d->mask);
	if (r->y != 0)
		valuator_mask_set_double(d->mask, AXIS_SCROLL_Y, r->y / 256.0);
	if (r->x != 0)
		valuator_mask_set_double(d->mask, AXIS_SCROLL_X, r->x / 256.0);
	if (valuator_mask_num_valuators(d->mask) > 0)
		xf86PostMotionEventM(info->dev, Relative, d->mask);
}

static void post(const struct pen_record *r)
{
	InputInfoPtr info = present[r->device];

	if (info == NULL || !info->dev->public.on)
		return;
	struct easel_device *d = info->private;
	if (r->kind == PEN_SCROLL) {
		scroll(info, r);
		return;
	}
	if (r->kind != PEN_MOTION || d->x != r->x / 256.0 || d->y != r->y / 256.0)
		scrolling = false;
	fill_mask(d, r);
	if (r->kind == PEN_PROXIMITY_OUT) {
		set_near(info, false);
		return;
	}
	set_near(info, true);
	switch (r->kind) {
	case PEN_MOTION:
		xf86PostMotionEventM(info->dev, Absolute, d->mask);
		break;
	case PEN_PRESS:
	case PEN_RELEASE:
		set_button(info, r->button, r->kind == PEN_PRESS);
		break;
	default:
		break;
	}
}

/* Lets go of all that the client held, where it last was: nobody is there any more to do so. */
static void let_go(void)
{
	for (int i = 0; i < PEN_DEVICES; i++) {
		InputInfoPtr info = present[i];
		if (info == NULL || !info->dev->public.on)
			continue;
		struct easel_device *d = info->private;
		struct pen_record still = { .x = (int32_t)(d->x * 256), .y = (int32_t)(d->y * 256) };
		fill_mask(d, &still);
		for (int button = 1; button <= PEN_BUTTONS; button++)
			set_button(info, button, false);
		set_near(info, false);
	}
}

static void count_malformed(InputInfoPtr info, unsigned n)
{
	struct easel_device *d = info->private;

	if (n > 0 && d->malformed == 0)
		xf86IDrvMsg(info, X_WARNING, "malformed input is dropped; counting\n");
	d->malformed += n;
}

/* Posts the packet as far as nothing holds it. */
static void go_on(struct easel_device *owner)
{
	while (packet.presser == NULL && packet.next < packet.count) {
		const struct pen_record *r = &packet.records[packet.next++];
		if (r->kind == PEN_SYNC)
			pen_socket_answer(&owner->socket, r->time_ms);
		else
			post(r);
	}
}

static bool is_frozen(DeviceIntPtr device)
{
	return device != NULL && device->deviceGrab.sync.frozen;
}

/* Whether the press has come to where it goes, or will not any more. */
static bool is_through(void)
{
	DeviceIntPtr device = packet.presser->dev;

	if (GetTimeInMillis() - packet.since >= LONGEST_HOLD)
		return true;
	return button_is_down(device, packet.button, BUTTON_PROCESSED) && !is_frozen(device) && !is_frozen(GetMaster(device, MASTER_POINTER));
}

/* Runs in the server's main thread each time before it waits; the socket is read in its thread for input. */
static void before_waiting(void *data, void *timeout)
{
	InputInfoPtr info = data;
	struct easel_device *d = info->private;

	input_lock();
	if (packet.presser != NULL) {
		if (is_through()) {
			packet.presser = NULL;
			go_on(d);
			AdjustWaitForDelay(timeout, 0); /* for what was posted */
		} else {
			AdjustWaitForDelay(timeout, LONGEST_HOLD);
		}
		if (packet.presser == NULL)
			pen_socket_hold(&d->socket, false);
	}
	input_unlock();
}

static void after_waiting(void *data, int result)
{
	(void)data;
	(void)result;
}

static void read_input(InputInfoPtr info)
{
	struct easel_device *d = info->private;
	uint8_t bytes[PEN_MAX_PACKET];

	for (int turn = 0; turn < PACKETS_A_TURN && packet.presser == NULL; turn++) {
		size_t length = 0;
		unsigned skipped = 0;
		enum pen_event event = pen_socket_next(&d->socket, bytes, sizeof bytes, &length);

		if (event == PEN_EVENT_NONE)
			return;
		if (event == PEN_EVENT_GONE) {
			let_go();
			if (d->malformed > 0)
				xf86IDrvMsg(info, X_WARNING, "%lu malformed packets or records dropped\n", d->malformed);
			d->malformed = 0;
			continue;
		}
		packet.next = 0;
		packet.count = pen_wire_decode(bytes, length, packet.records, &skipped);
		count_malformed(info, packet.count < 0 ? 1 : skipped);
		go_on(d);
	}
	if (packet.presser != NULL)
		pen_socket_hold(&d->socket, true);
}

static void ignore_pointer_control(DeviceIntPtr device, PtrCtrl *control)
{
	(void)device;
	(void)control;
}

static int device_init(InputInfoPtr info, DeviceIntPtr device)
{
	struct easel_device *d = info->private;
	static const char *const names[PEN_BUTTONS] = {
		BTN_LABEL_PROP_BTN_LEFT, BTN_LABEL_PROP_BTN_MIDDLE, BTN_LABEL_PROP_BTN_RIGHT,
		BTN_LABEL_PROP_BTN_WHEEL_UP, BTN_LABEL_PROP_BTN_WHEEL_DOWN, BTN_LABEL_PROP_BTN_HWHEEL_LEFT,
		BTN_LABEL_PROP_BTN_HWHEEL_RIGHT, BTN_LABEL_PROP_BTN_BACK, BTN_LABEL_PROP_BTN_FORWARD,
	};
	Atom labels[PEN_BUTTONS];
	unsigned char map[PEN_BUTTONS + 1] = { 0 };

	for (int i = 0; i < PEN_BUTTONS; i++) {
		labels[i] = XIGetKnownProperty(names[i]);
		map[i + 1] = (unsigned char)(i + 1);
	}
	d->mask = valuator_mask_new(PEN_AXES);
	if (d->mask == NULL || !InitButtonClassDeviceStruct(device, PEN_BUTTONS, labels, map) ||
	    !(is_stylus(d) ? pen_axes_stylus(device) : pen_axes_pointer(device)) ||
	    /* The server calls this function without looking: NULL would crash it. */
	    !InitPtrFeedbackClassDeviceStruct(device, ignore_pointer_control)) {
		xf86IDrvMsg(info, X_ERROR, "no memory for the device\n");
		return BadAlloc;
	}
	return Success;
}

static int device_on(InputInfoPtr info, DeviceIntPtr device)
{
	struct easel_device *d = info->private;

	if (d->path != NULL && d->socket.epoll < 0) {
		if (pen_socket_open(&d->socket, d->path) < 0) {
			xf86IDrvMsg(info, X_ERROR, "listen at %s: %s\n", d->path, strerror(errno));
			return BadAlloc;
		}
		if (!RegisterBlockAndWakeupHandlers(before_waiting, after_waiting, info)) {
			pen_socket_close(&d->socket);
			xf86IDrvMsg(info, X_ERROR, "no memory for the device\n");
			return BadAlloc;
		}
		info->fd = d->socket.epoll;
		xf86AddEnabledDevice(info);
	}
	d->held = 0;
	d->near = false;
	present[d->type] = info;
	device->public.on = TRUE;
	return Success;
}

static void device_off(InputInfoPtr info, DeviceIntPtr device)
{
	struct easel_device *d = info->private;

	device->public.on = FALSE;
	if (present[d->type] == info)
		present[d->type] = NULL;
	if (info->fd >= 0) {
		xf86RemoveEnabledDevice(info);
		RemoveBlockAndWakeupHandlers(before_waiting, after_waiting, info);
		info->fd = -1;
	}
	if (packet.presser == info)
		packet.presser = NULL;
	pen_socket_close(&d->socket);
}

static int device_control(DeviceIntPtr device, int what)
{
	InputInfoPtr info = device->public.devicePrivate;
	struct easel_device *d = info->private;

	switch (what) {
	case DEVICE_INIT:
		return device_init(info, device);
	case DEVICE_ON:
		return device_on(info, device);
	case DEVICE_OFF:
		device_off(info, device);
		return Success;
	case DEVICE_CLOSE:
		device_off(info, device);
		valuator_mask_free(&d->mask);
		return Success;
	default:
		return BadMatch; /* the server asks for what came later than this driver */
	}
}

static int pre_init(InputDriverPtr driver, InputInfoPtr info, int flags)
{
	struct easel_device *d = calloc(1, sizeof *d);
	char *type = xf86SetStrOption(info->options, "Type", "pointer");
	int found = -1;

	(void)driver;
	(void)flags;
	for (int i = 0; type != NULL && i < PEN_DEVICES; i++)
		if (strcmp(type, type_names[i]) == 0)
			found = i;
	if (d == NULL || found < 0) {
		xf86IDrvMsg(info, X_ERROR, "Option \"Type\" is \"%s\": must be pen, eraser or pointer\n", type ? type : "");
		free(type);
		free(d);
		return d == NULL ? BadAlloc : BadValue;
	}
	free(type);
	d->type = (enum pen_device)found;
	d->path = xf86SetStrOption(info->options, "Path", NULL);
	d->socket = (struct pen_socket){ -1, -1, -1 };
	info->private = d;
	info->type_name = is_stylus(d) ? XI_TABLET : XI_MOUSE;
	info->device_control = device_control;
	info->read_input = read_input;
	info->fd = -1;
	return Success;
}

static void un_init(InputDriverPtr driver, InputInfoPtr info, int flags)
{
	struct easel_device *d = info->private;

	(void)driver;
	if (d != NULL) {
		free(d->path);
		free(d);
		info->private = NULL;
	}
	xf86DeleteInput(info, flags);
}

static InputDriverRec easelpen = {
	.driverVersion = 1, .driverName = "easelpen", .PreInit = pre_init, .UnInit = un_init,
};

static XF86ModuleVersionInfo version = {
	"easelpen", "Easel", MODINFOSTRING1, MODINFOSTRING2, XORG_VERSION_CURRENT, 1, 0, 0,
	ABI_CLASS_XINPUT, ABI_XINPUT_VERSION, MOD_CLASS_XINPUT, { 0, 0, 0, 0 },
};

static void *set_up(void *module, void *options, int *error_major, int *error_minor)
{
	(void)options;
	(void)error_major;
	(void)error_minor;
	xf86AddInputDriver(&easelpen, module, 0);
	return module;
}

_X_EXPORT XF86ModuleData easelpenModuleData = { .vers = &version, .setup = set_up };
