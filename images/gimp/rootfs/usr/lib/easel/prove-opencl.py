"""Proves OpenCL for easel-init: GEGL, which computes for GIMP, runs filters by OpenCL and by the CPU, and both must give the same picture.

Which kind of device it takes is in GEGL_USE_OPENCL. It writes one line of JSON to descriptor 3: {"device": NAME, "why": TEXT}, where an
empty text means that OpenCL works. A driver that crashes or hangs takes nothing along but this process, and is a failure as well.
"""

import array
import ctypes
import json
import os
import random
import resource

WIDTH, HEIGHT = 200, 150  # more than one of GEGL's tiles, and no multiple of one
TOLERANCE = 1e-3  # of a channel between 0 and 1; drivers round differently
FILTERS = (
    ("gegl:brightness-contrast", {"contrast": 1.5, "brightness": 0.1}),  # each pixel by itself
    ("gegl:box-blur", {"radius": 4}),  # pixels of their neighbours, several kernels
)
CL_DEVICE_NAME = 0x102B

# GEGL calls OpenCL by pointers that it exports.
LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p,
)
DEVICE_INFO = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)


def limit():
    """Bounds what a driver that has gone wild can take from the session, before it is loaded."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))


def device_name(gegl):
    gegl.gegl_cl_get_device.restype = ctypes.c_void_p
    name = ctypes.create_string_buffer(200)
    info = ctypes.cast(ctypes.c_void_p.in_dll(gegl, "gegl_clGetDeviceInfo"), DEVICE_INFO)
    info(gegl.gegl_cl_get_device(), CL_DEVICE_NAME, len(name) - 1, name, None)
    return name.value.decode("utf-8", "replace")


class Launches:
    """Counts the kernels that GEGL launches: where one cannot be built it takes the CPU instead, and gives the right picture too."""

    def __init__(self, gegl):
        self.count = 0
        slot = ctypes.c_void_p.in_dll(gegl, "gegl_clEnqueueNDRangeKernel")
        self.launch = LAUNCH(slot.value)
        self.counting = LAUNCH(self.counted)
        slot.value = ctypes.cast(self.counting, ctypes.c_void_p).value

    def counted(self, *args):
        status = self.launch(*args)
        if status == 0:
            self.count += 1
        return status


def filtered(Gegl, picture, operation, properties):
    area = Gegl.Rectangle.new(0, 0, WIDTH, HEIGHT)
    source = Gegl.Buffer.new("RGBA float", 0, 0, WIDTH, HEIGHT)
    source.set(area, "RGBA float", picture)  # as it is computed with: a conversion would be looked for first
    result = Gegl.Buffer.new("RGBA float", 0, 0, WIDTH, HEIGHT)
    graph = Gegl.Node()
    nodes = []
    for name, values in (("gegl:buffer-source", {"buffer": source}), (operation, properties), ("gegl:write-buffer", {"buffer": result})):
        node = graph.create_child(name)
        for key, value in values.items():
            node.set_property(key, value)
        if nodes:
            nodes[-1].link(node)
        nodes.append(node)
    nodes[-1].process()
    return array.array("f", result.get(area, 1.0, "RGBA float", Gegl.AbyssPolicy.NONE))


def failure(Gegl, gegl):
    """Why OpenCL is not to be used, or nothing."""
    launches = Launches(gegl)
    noise = random.Random(1)
    picture = array.array("f", (noise.random() for _ in range(WIDTH * HEIGHT * 4))).tobytes()
    for operation, properties in FILTERS:
        Gegl.config().props.use_opencl = False
        want = filtered(Gegl, picture, operation, properties)
        Gegl.config().props.use_opencl = True
        launches.count = 0
        got = filtered(Gegl, picture, operation, properties)
        if launches.count == 0:
            return f"{operation} ran no kernel: the driver could not build it, the session's log may say why"
        wrong = sum(1 for a, b in zip(want, got) if not abs(a - b) <= TOLERANCE)
        if wrong or len(got) != len(want):
            return f"{operation} gives another picture than the CPU: {wrong} of {len(want)} values differ"
    return ""


def prove():
    import gi

    gi.require_version("Gegl", "0.4")
    from gi.repository import Gegl

    Gegl.init(None)
    gegl = ctypes.CDLL("libgegl-0.4.so.0")
    if not ctypes.c_int.in_dll(gegl, "_gegl_cl_is_accelerated").value:
        return {"device": "", "why": f"OpenCL has no {os.environ.get('GEGL_USE_OPENCL', '')} device here: is the driver's library in the container?"}
    return {"device": device_name(gegl), "why": failure(Gegl, gegl)}


if __name__ == "__main__":
    limit()
    os.set_inheritable(3, False)  # what a driver starts must not keep the answer waiting
    answer = prove()
    os.write(3, (json.dumps(answer) + "\n").encode())
    os._exit(0)  # drivers are not at their best when they are unloaded
