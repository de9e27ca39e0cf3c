// The binary messages of the `input` and `motion` data channels (ARCHITECTURE.md, "Data channels"). All numbers
// are little endian. testdata/wire.json holds golden bytes that the node's tests read too.

export const Device = { mouse: 0, pen: 1, eraser: 2, touch: 3 } as const;
export type Device = (typeof Device)[keyof typeof Device];

const Kind = {
	pointer: 1,
	button: 2,
	wheel: 3,
	key: 4,
	text: 5,
	release: 6,
	proximity: 7,
	stroke: 8,
	ack: 32,
	echo: 33,
} as const;

/** One place and moment of a pointer, in the remote screen's terms. */
export interface Sample {
	/** Remote pixels; fractions count to 1/256. */
	x: number;
	y: number;
	/** 0 to 1. */
	pressure: number;
	/** Degrees, -90 to 90. */
	tiltX: number;
	tiltY: number;
	/** Degrees, 0 to 360. Tilt and twist count to 1/100. */
	twist: number;
	/** Bit 0 left, 1 middle, 2 right, 3 back, 4 forward. */
	buttons: number;
	/** Milliseconds since the page began. */
	time: number;
}

export const SAMPLE_BYTES = 22;
/** A TEXT message's longest text, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 4096;

const clamp = (v: number, lo: number, hi: number): number => Math.min(Math.max(v, lo), hi);
// A browser that does not know a value may report NaN; the wire has no such number.
const finite = (v: number): number => (Number.isFinite(v) ? v : 0);
const int32 = (v: number): number => clamp(Math.round(finite(v)), -0x80000000, 0x7fffffff);

function putSample(v: DataView, at: number, s: Sample): void {
	v.setInt32(at, int32(s.x * 256), true);
	v.setInt32(at + 4, int32(s.y * 256), true);
	v.setUint16(at + 8, clamp(Math.round(finite(s.pressure) * 65535), 0, 65535), true);
	v.setInt16(at + 10, clamp(Math.round(finite(s.tiltX) * 100), -9000, 9000), true);
	v.setInt16(at + 12, clamp(Math.round(finite(s.tiltY) * 100), -9000, 9000), true);
	v.setUint16(at + 14, ((Math.round(finite(s.twist) * 100) % 36_000) + 36_000) % 36_000, true);
	v.setUint16(at + 16, s.buttons & 0xffff, true);
	// Wraps after five days; the node uses differences only.
	v.setUint32(at + 18, Math.round(finite(s.time) * 10) >>> 0, true);
}

function putSamples(v: DataView, at: number, samples: readonly Sample[]): void {
	for (const s of samples) {
		putSample(v, at, s);
		at += SAMPLE_BYTES;
	}
}

function message(bytes: number, kind: number): DataView<ArrayBuffer> {
	const v = new DataView(new ArrayBuffer(bytes));
	v.setUint8(0, kind);
	return v;
}

/** POINTER, for the `motion` channel. `first` is the number of the first sample, `barrier` the rseq it follows. */
export function encodePointer(device: Device, barrier: number, first: number, samples: readonly Sample[]): ArrayBuffer {
	return motion(Kind.pointer, device, barrier, first, samples);
}

/** STROKE: samples that were lost or may have been, now on the channel that loses none. */
export function encodeStroke(device: Device, rseq: number, first: number, samples: readonly Sample[]): ArrayBuffer {
	return motion(Kind.stroke, device, rseq, first, samples);
}

function motion(kind: number, device: Device, seq: number, first: number, samples: readonly Sample[]): ArrayBuffer {
	const v = message(12 + samples.length * SAMPLE_BYTES, kind);
	v.setUint8(1, device);
	v.setUint16(2, samples.length, true);
	v.setUint32(4, seq, true);
	v.setUint32(8, first, true);
	putSamples(v, 12, samples);
	return v.buffer;
}

/** BUTTON. `button` is X's number (1 left, 2 middle, 3 right, 8 back, 9 forward); it happened at the last sample. */
export function encodeButton(
	device: Device,
	button: number,
	down: boolean,
	rseq: number,
	first: number,
	samples: readonly Sample[],
): ArrayBuffer {
	const v = message(14 + samples.length * SAMPLE_BYTES, Kind.button);
	v.setUint8(1, device);
	v.setUint8(2, button);
	v.setUint8(3, down ? 1 : 0);
	v.setUint32(4, rseq, true);
	v.setUint16(8, samples.length, true);
	v.setUint32(10, first, true);
	putSamples(v, 14, samples);
	return v.buffer;
}

/** The most turns that one WHEEL tells of. */
export const MOST_TURNS = 64;

/** WHEEL at a remote place, in 1/120 notch (sent to 1/256 of that), down and right positive; `times` turns, one after the other. */
export function encodeWheel(rseq: number, x: number, y: number, dx: number, dy: number, times = 1): ArrayBuffer {
	const v = message(24, Kind.wheel);
	v.setUint8(1, times - 1);
	v.setUint32(4, rseq, true);
	v.setInt32(8, int32(x * 256), true);
	v.setInt32(12, int32(y * 256), true);
	v.setInt32(16, int32(dx * 256), true);
	v.setInt32(20, int32(dy * 256), true);
	return v.buffer;
}

/** KEY. `locks`: bit 0 CapsLock, bit 1 NumLock. `code` is the physical key's evdev code, 0 when unknown. */
export function encodeKey(down: boolean, locks: number, rseq: number, keysym: number, code: number): ArrayBuffer {
	const v = message(14, Kind.key);
	v.setUint8(1, down ? 1 : 0);
	v.setUint8(2, locks);
	v.setUint32(4, rseq, true);
	v.setUint32(8, keysym, true);
	v.setUint16(12, code, true);
	return v.buffer;
}

/** TEXT: composed text. The caller splits what is longer than MAX_TEXT_BYTES (see splitText). */
export function encodeText(rseq: number, text: string): ArrayBuffer {
	const utf8 = new TextEncoder().encode(text);
	const v = message(8 + utf8.length, Kind.text);
	v.setUint32(4, rseq, true);
	new Uint8Array(v.buffer, 8).set(utf8);
	return v.buffer;
}

/** RELEASE: every key and button goes up. */
export function encodeRelease(rseq: number): ArrayBuffer {
	const v = message(8, Kind.release);
	v.setUint32(4, rseq, true);
	return v.buffer;
}

/** PROXIMITY: a pen or eraser comes into or goes out of reach. */
export function encodeProximity(device: Device, near: boolean, rseq: number): ArrayBuffer {
	const v = message(8, Kind.proximity);
	v.setUint8(1, device);
	v.setUint8(2, near ? 1 : 0);
	v.setUint32(4, rseq, true);
	return v.buffer;
}

/** What the node says of a stroke: it has all samples up to `applied`, and beyond a gap it goes on with `next` (0: no gap). */
export interface Ack {
	applied: number;
	next: number;
}

/** Reads what the node says on the `motion` channel; null for what this page does not know. */
export function decodeAck(data: unknown): Ack | null {
	if (!(data instanceof ArrayBuffer) || data.byteLength !== 12) return null;
	const v = new DataView(data);
	return v.getUint8(0) === Kind.ack ? { applied: v.getUint32(4, true), next: v.getUint32(8, true) } : null;
}

/** Which input a picture is the first to follow, and how long the node took for what. */
export interface Echo {
	tiles: boolean;
	/** The last sample and reliable message that the node had handed on. */
	sample: number;
	rseq: number;
	/** The frame's timestamp, or the number of the tiles' message. */
	picture: number;
	/** When the last of that input reached the node, in its time (ms). */
	arrived: number;
	/** Milliseconds, of the stages that are the node's, in order. */
	stages: number[];
}

const ECHO_BYTES = 52;

/** Reads an ECHO; null for anything else. */
export function decodeEcho(data: unknown): Echo | null {
	if (!(data instanceof ArrayBuffer) || data.byteLength !== ECHO_BYTES) return null;
	const v = new DataView(data);
	if (v.getUint8(0) !== Kind.echo || v.getUint8(1) > 1) return null;
	return {
		tiles: v.getUint8(1) === 1,
		sample: v.getUint32(4, true),
		rseq: v.getUint32(8, true),
		picture: v.getUint32(12, true),
		arrived: v.getFloat64(16, true),
		stages: Array.from({ length: 7 }, (_, i) => v.getUint32(24 + 4 * i, true) / 1000),
	};
}

/** Cuts text into pieces of at most MAX_TEXT_BYTES of UTF-8, never inside a character. */
export function splitText(text: string): string[] {
	const pieces: string[] = [];
	let piece = "";
	let bytes = 0;
	for (const char of text) {
		const code = char.codePointAt(0) ?? 0;
		const n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
		if (bytes + n > MAX_TEXT_BYTES) {
			pieces.push(piece);
			piece = "";
			bytes = 0;
		}
		piece += char;
		bytes += n;
	}
	if (piece !== "") pieces.push(piece);
	return pieces;
}
