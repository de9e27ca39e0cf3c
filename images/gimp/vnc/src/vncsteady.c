/* X0tigervnc learns by an event that another client has made the screen smaller. What it reads of the screen before it takes that event up lies
 * outside (BadMatch), and Xlib's own handler ends it for that: every viewer by VNC lost its connection, often right after it had asked for its size.
 * Here that error alone is let pass. The event comes next, and the whole screen is read anew. */
#include <X11/Xlib.h>
#include <X11/Xproto.h>
#include <X11/extensions/shmproto.h>

static XErrorHandler others;

/* Extensions have the codes from 128 on, whichever the server gave them; no other that X0tigervnc uses fails so. */
static int reads_the_screen(const XErrorEvent *e)
{
	return e->request_code == X_GetImage || (e->request_code >= 128 && e->minor_code == X_ShmGetImage);
}

static int let_reading_fail(Display *display, XErrorEvent *e)
{
	return e->error_code == BadMatch && reads_the_screen(e) ? 0 : others(display, e);
}

__attribute__((constructor)) static void begin(void)
{
	others = XSetErrorHandler(let_reading_fail);
}
