// The server's side of RFB 3.8 (RFC 6143), as far as a viewer needs to show one red screen.

import type { WebSocket } from "ws";

export const VNC_SIZE = { w: 640, h: 480 };

const text = (s: string): Buffer => Buffer.from(s, "latin1");

function serverInit(): Buffer {
	const b = Buffer.alloc(24 + 4);
	b.writeUInt16BE(VNC_SIZE.w, 0);
	b.writeUInt16BE(VNC_SIZE.h, 2);
	// 32 bits a pixel, depth 24, little endian, true colour, 255 each, shifts 16 8 0.
	Buffer.from([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]).copy(b, 4);
	b.writeUInt32BE(4, 20);
	text("fake").copy(b, 24);
	return b;
}

function redScreen(): Buffer {
	const b = Buffer.alloc(16 + VNC_SIZE.w * VNC_SIZE.h * 4);
	b.writeUInt16BE(1, 2);
	b.writeUInt16BE(VNC_SIZE.w, 8);
	b.writeUInt16BE(VNC_SIZE.h, 10);
	// The viewer asks for red at shift 0.
	for (let at = 16; at < b.length; at += 4) b.writeUInt32LE(0x000000ff, at);
	return b;
}

const FRAMEBUFFER_UPDATE_REQUEST = 3;

/** Speaks to one viewer. Every message of the viewer comes in a WebSocket message of its own or with its handshake step. */
export function serveRfb(ws: WebSocket): void {
	let step = 0;
	ws.send(text("RFB 003.008\n"));
	ws.on("message", (data: Buffer) => {
		step++;
		if (step === 1) ws.send(Buffer.from([1, 1]));
		else if (step === 2) ws.send(Buffer.from([0, 0, 0, 0]));
		else if (step === 3) ws.send(serverInit());
		else if (holdsRequest(data)) ws.send(redScreen());
	});
}

// Viewers batch messages: the request is the last of them, ten bytes long.
function holdsRequest(data: Buffer): boolean {
	return data.length >= 10 && data[data.length - 10] === FRAMEBUFFER_UPDATE_REQUEST && data[data.length - 9] === 0;
}
