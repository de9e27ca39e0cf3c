import { describe, expect, it } from "vitest";
import golden from "../testdata/wire.json";
import * as wire from "./wire";

const hex = (b: ArrayBuffer): string => Array.from(new Uint8Array(b), (v) => v.toString(16).padStart(2, "0")).join("");

interface Fields {
	device: wire.Device;
	barrier: number;
	first: number;
	samples: wire.Sample[];
	button: number;
	down: boolean;
	rseq: number;
	x: number;
	y: number;
	dx: number;
	dy: number;
	times?: number;
	locks: number;
	keysym: number;
	code: number;
	text: string;
	in: boolean;
}

type Vector = (typeof golden.messages)[number];

function encode(m: Vector): ArrayBuffer {
	const f = m.fields as unknown as Fields;
	switch (m.kind) {
		case "POINTER":
			return wire.encodePointer(f.device, f.barrier, f.first, f.samples);
		case "STROKE":
			return wire.encodeStroke(f.device, f.rseq, f.first, f.samples);
		case "BUTTON":
			return wire.encodeButton(f.device, f.button, f.down, f.rseq, f.first, f.samples);
		case "WHEEL":
			return wire.encodeWheel(f.rseq, f.x, f.y, f.dx, f.dy, f.times);
		case "KEY":
			return wire.encodeKey(f.down, f.locks, f.rseq, f.keysym, f.code);
		case "TEXT":
			return wire.encodeText(f.rseq, f.text);
		case "RELEASE":
			return wire.encodeRelease(f.rseq);
		case "PROXIMITY":
			return wire.encodeProximity(f.device, f.in, f.rseq);
		default:
			throw new Error(`wire.json has a message of unknown kind ${m.kind}`);
	}
}

describe("wire", () => {
	it.each(golden.messages)("encodes $name to its golden bytes", (m) => {
		expect(hex(encode(m))).toBe(m.hex);
	});

	it("has a golden vector for every kind of message", () => {
		expect(new Set(golden.messages.map((m) => m.hex.slice(0, 2)))).toEqual(
			new Set(["01", "02", "03", "04", "05", "06", "07", "08"]),
		);
	});

	it("reads an acknowledgement from its golden bytes, and nothing else", () => {
		const bytes = Uint8Array.from(golden.ack.hex.match(/../g) ?? [], (h) => Number.parseInt(h, 16));
		expect(wire.decodeAck(bytes.buffer)).toEqual({ applied: golden.ack.applied, next: golden.ack.next });
		for (const wrong of [bytes.slice(1).buffer, new Uint8Array(12).buffer, new ArrayBuffer(0), golden.ack.hex, null])
			expect(wire.decodeAck(wrong)).toBeNull();
	});

	it("reads an ECHO from its golden bytes, and nothing else", () => {
		const bytes = Uint8Array.from(golden.echo.hex.match(/../g) ?? [], (h) => Number.parseInt(h, 16));
		const { hex: _, ...echo } = golden.echo;
		expect(wire.decodeEcho(bytes.buffer)).toEqual(echo);
		expect(wire.decodeAck(bytes.buffer)).toBeNull();
		const other = bytes.slice();
		other[1] = 2;
		for (const wrong of [bytes.slice(1).buffer, other.buffer, new Uint8Array(52).buffer, golden.echo.hex, null])
			expect(wire.decodeEcho(wrong)).toBeNull();
	});

	it("clamps what does not fit instead of wrapping", () => {
		const b = wire.encodePointer(wire.Device.pen, 0, 1, [
			{ x: 1e9, y: -1e9, pressure: 7, tiltX: 200, tiltY: -200, twist: -10, buttons: 0, time: 0 },
		]);
		const v = new DataView(b);
		expect(v.getInt32(12, true)).toBe(0x7fffffff);
		expect(v.getInt32(16, true)).toBe(-0x80000000);
		expect(v.getUint16(20, true)).toBe(65535);
		expect([v.getInt16(22, true), v.getInt16(24, true)]).toEqual([9000, -9000]);
		expect(v.getUint16(26, true)).toBe(35_000);
	});

	it("sends zero where the browser reports no number", () => {
		const b = wire.encodePointer(wire.Device.pen, 0, 1, [
			{
				x: Number.NaN,
				y: 0,
				pressure: Number.NaN,
				tiltX: Number.NaN,
				tiltY: 0,
				twist: Number.NaN,
				buttons: 0,
				time: 0,
			},
		]);
		expect(new Uint8Array(b, 12).every((v) => v === 0)).toBe(true);
	});

	it("splits long text at characters", () => {
		const pieces = wire.splitText("é".repeat(3000));
		expect(pieces.length).toBe(2);
		expect(pieces.join("")).toBe("é".repeat(3000));
		for (const p of pieces) expect(new TextEncoder().encode(p).length).toBeLessThanOrEqual(wire.MAX_TEXT_BYTES);
		const emoji = wire.splitText("🎨".repeat(1500));
		expect(emoji.every((p) => !p.includes("\ufffd") && [...p].every((c) => c === "🎨"))).toBe(true);
		expect(wire.splitText("")).toEqual([]);
	});
});
