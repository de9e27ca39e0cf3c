/*
 * The axes of the X devices: how they are numbered, and what X and its clients are told of them.
 */
#ifndef EASEL_PEN_AXES_H
#define EASEL_PEN_AXES_H

#include <stdbool.h>

#include <xorg-server.h>
#include <xf86Xinput.h>

enum { AXIS_X, AXIS_Y, AXIS_PRESSURE, AXIS_TILT_X, AXIS_TILT_Y, AXIS_TWIST, PEN_AXES };
enum { AXIS_SCROLL_Y = 2, AXIS_SCROLL_X, POINTER_AXES };

/* Gives a device the axes of a pointer, or of a stylus. False: there is no memory. */
bool pen_axes_pointer(DeviceIntPtr device);
bool pen_axes_stylus(DeviceIntPtr device);

#endif
