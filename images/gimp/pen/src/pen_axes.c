#include "pen_axes.h"

#include <exevents.h>
#include <xserver-properties.h>

#include "pen_wire.h"

/*
 * Position axes have no range: X and its clients then take their values for pixels of the screen, whatever its size is at that
 * moment, so nothing can be off after a resize.
 */
static void init_axis(DeviceIntPtr device, int axis, Atom label, int low, int high, int resolution, int mode)
{
	InitValuatorAxisStruct(device, axis, label, low, high, resolution, 0, resolution, mode);
}

bool pen_axes_pointer(DeviceIntPtr device)
{
	Atom labels[POINTER_AXES] = {
		XIGetKnownProperty(AXIS_LABEL_PROP_ABS_X), XIGetKnownProperty(AXIS_LABEL_PROP_ABS_Y),
		XIGetKnownProperty(AXIS_LABEL_PROP_REL_VSCROLL), XIGetKnownProperty(AXIS_LABEL_PROP_REL_HSCROLL),
	};

	if (!InitValuatorClassDeviceStruct(device, POINTER_AXES, labels, GetMotionHistorySize(), Absolute))
		return false;
	init_axis(device, AXIS_X, labels[AXIS_X], 0, 0, 0, Absolute);
	init_axis(device, AXIS_Y, labels[AXIS_Y], 0, 0, 0, Absolute);
	init_axis(device, AXIS_SCROLL_Y, labels[AXIS_SCROLL_Y], NO_AXIS_LIMITS, NO_AXIS_LIMITS, 0, Relative);
	init_axis(device, AXIS_SCROLL_X, labels[AXIS_SCROLL_X], NO_AXIS_LIMITS, NO_AXIS_LIMITS, 0, Relative);
	return SetScrollValuator(device, AXIS_SCROLL_Y, SCROLL_TYPE_VERTICAL, 120.0, SCROLL_FLAG_PREFERRED) &&
	       SetScrollValuator(device, AXIS_SCROLL_X, SCROLL_TYPE_HORIZONTAL, 120.0, SCROLL_FLAG_NONE);
}

bool pen_axes_stylus(DeviceIntPtr device)
{
	/* "Wheel" is what painting programs read a pen's rotation from. */
	Atom labels[PEN_AXES] = {
		XIGetKnownProperty(AXIS_LABEL_PROP_ABS_X), XIGetKnownProperty(AXIS_LABEL_PROP_ABS_Y),
		XIGetKnownProperty(AXIS_LABEL_PROP_ABS_PRESSURE), XIGetKnownProperty(AXIS_LABEL_PROP_ABS_TILT_X),
		XIGetKnownProperty(AXIS_LABEL_PROP_ABS_TILT_Y), XIGetKnownProperty(AXIS_LABEL_PROP_ABS_WHEEL),
	};
	const int units_a_radian = 5730; /* of 1/100 degree */

	if (!InitValuatorClassDeviceStruct(device, PEN_AXES, labels, GetMotionHistorySize(), Absolute))
		return false;
	init_axis(device, AXIS_X, labels[AXIS_X], 0, 0, 0, Absolute);
	init_axis(device, AXIS_Y, labels[AXIS_Y], 0, 0, 0, Absolute);
	init_axis(device, AXIS_PRESSURE, labels[AXIS_PRESSURE], 0, 65535, 1, Absolute);
	init_axis(device, AXIS_TILT_X, labels[AXIS_TILT_X], -PEN_MAX_TILT, PEN_MAX_TILT, units_a_radian, Absolute);
	init_axis(device, AXIS_TILT_Y, labels[AXIS_TILT_Y], -PEN_MAX_TILT, PEN_MAX_TILT, units_a_radian, Absolute);
	init_axis(device, AXIS_TWIST, labels[AXIS_TWIST], 0, PEN_MAX_TWIST, units_a_radian, Absolute);
	return InitProximityClassDeviceStruct(device);
}
