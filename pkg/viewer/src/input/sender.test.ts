import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Backlog } from "./backlog";
import { type Channel, Sender } from "./sender";
import { Device, SAMPLE_BYTES, type Sample } from "./wire";

class FakeChannel implements Channel {
	readyState: RTCDataChannelState = "open";
	bufferedAmount = 0;
	sent: DataView[] = [];
	send(data: ArrayBuffer): void {
		this.sent.push(new DataView(data));
	}
}

const at = (x: number): Sample => ({ x, y: 0, pressure: 0, tiltX: 0, tiltY: 0, twist: 0, buttons: 0, time: x });
const pointer = (v: DataView) => ({
	device: v.getUint8(1),
	count: v.getUint16(2, true),
	barrier: v.getUint32(4, true),
	first: v.getUint32(8, true),
	xs: Array.from({ length: v.getUint16(2, true) }, (_, i) => v.getInt32(12 + i * SAMPLE_BYTES, true) / 256),
});

let input: FakeChannel;
let motion: FakeChannel;
let sender: Sender;
beforeEach(() => {
	vi.useFakeTimers();
	input = new FakeChannel();
	motion = new FakeChannel();
	sender = new Sender(input, motion, null, () => Date.now());
});
afterEach(() => {
	sender.close();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

describe("Sender", () => {
	it("repeats what the message before brought, at least 4 samples and at most 16, under their own numbers", () => {
		const steps = [1, 1, 1, 1, 1, 1, 9, 1, 30, 2, 1];
		for (const moving of ["hover", "stroke"]) {
			if (moving === "stroke") sender.button(Device.mouse, 1, true, [at(0)]);
			const sent = motion.sent.length;
			let x = 0;
			for (const n of steps)
				sender.move(
					Device.mouse,
					Array.from({ length: n }, () => at(++x)),
				);
			const got = motion.sent.slice(sent).map(pointer);
			expect(got.map((p) => p.count)).toEqual([1, 2, 3, 4, 5, 5, 13, 10, 34, 18, 5]);
			for (const p of got) expect(p.xs).toEqual(Array.from({ length: p.count }, (_, i) => (p.xs[0] as number) + i));
			expect(got.at(-1)?.xs.at(-1)).toBe(x);
		}
	});

	it("gives every sample one number, however many come at once", () => {
		sender.move(
			Device.pen,
			Array.from({ length: 130 }, (_, i) => at(i + 1)),
		);
		const seen = new Map<number, number>();
		for (const m of motion.sent) {
			const p = pointer(m);
			expect(m.byteLength).toBeLessThan(1200);
			p.xs.forEach((x, i) => {
				expect(seen.get(p.first + i) ?? x).toBe(x);
				seen.set(p.first + i, x);
			});
		}
		expect([...seen.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: 130 }, (_, i) => i + 1));
	});

	it("holds motion after a press behind that press, and carries motion before it along", () => {
		sender.move(Device.mouse, [at(1), at(2)]);
		sender.button(Device.mouse, 1, true, [at(3)]);
		sender.move(Device.mouse, [at(4)]);
		const press = input.sent[0] as DataView;
		expect([press.getUint8(0), press.getUint32(4, true), press.getUint16(8, true), press.getUint32(10, true)]).toEqual([
			2, 1, 3, 1,
		]);
		expect(pointer(motion.sent[0] as DataView).barrier).toBe(0);
		expect(pointer(motion.sent[1] as DataView)).toMatchObject({ barrier: 1, first: 4, xs: [4] });
	});

	it("numbers reliable messages of every kind in one row", () => {
		sender.key(true, 0, 0x61, 30);
		sender.text("é");
		sender.wheel(1, 2, 0, 120);
		sender.proximity(Device.pen, true);
		sender.release();
		expect(input.sent.map((v) => [v.getUint8(0), v.getUint32(4, true)])).toEqual([
			[4, 1],
			[5, 2],
			[3, 3],
			[7, 4],
			[6, 5],
		]);
	});

	it("does not mix devices in one message", () => {
		sender.move(Device.mouse, [at(1)]);
		sender.move(Device.pen, [at(2)]);
		expect(pointer(motion.sent[1] as DataView)).toMatchObject({ device: Device.pen, first: 2, xs: [2] });
	});

	it("repeats the last motion once when the hand rests, since nothing else will", () => {
		sender.move(Device.mouse, [at(1)]);
		vi.advanceTimersByTime(30);
		sender.move(Device.mouse, [at(2)]);
		vi.advanceTimersByTime(30);
		expect(motion.sent).toHaveLength(2);
		vi.advanceTimersByTime(1000);
		expect(motion.sent).toHaveLength(3);
		expect(pointer(motion.sent[2] as DataView)).toMatchObject({ first: 1, xs: [1, 2] });
	});

	it("sends what is left of a stroke along when it ends, in messages of one packet each", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		for (let i = 2; i <= 100; i++) sender.move(Device.pen, [at(i)]);
		sender.acknowledged({ applied: 10, next: 0 });
		sender.button(Device.pen, 1, false, [at(101)]);
		const [, part, lift] = input.sent as [DataView, DataView, DataView];
		expect([part.getUint8(0), part.getUint32(4, true)]).toEqual([8, 2]);
		expect(pointer(part).xs).toEqual(Array.from({ length: 52 }, (_, i) => 11 + i));
		expect([lift.getUint8(0), lift.getUint8(3), lift.getUint32(4, true)]).toEqual([2, 0, 3]);
		expect([lift.getUint16(8, true), lift.getUint32(10, true)]).toEqual([39, 63]);
		const sent = motion.sent.length;
		vi.advanceTimersByTime(3000);
		expect(motion.sent).toHaveLength(sent);
	});

	it("sends again what is not acknowledged in time, and stops when it is", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		sender.move(Device.pen, [at(2)]);
		vi.advanceTimersByTime(199);
		expect(motion.sent).toHaveLength(1);
		vi.advanceTimersByTime(10);
		expect(pointer(motion.sent[1] as DataView)).toMatchObject({ barrier: 1, first: 2, xs: [2] });
		sender.acknowledged({ applied: 2, next: 0 });
		vi.advanceTimersByTime(5000);
		expect(motion.sent).toHaveLength(2);
		expect(sender.lost).toBe(0);
	});

	it("sends a gap again as soon as it is told, once a round trip", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		sender.move(Device.pen, [at(2)]);
		vi.advanceTimersByTime(40);
		sender.acknowledged({ applied: 2, next: 0 });
		for (let i = 3; i <= 9; i++) sender.move(Device.pen, [at(i)]);
		vi.advanceTimersByTime(40);
		const sent = motion.sent.length;
		sender.acknowledged({ applied: 4, next: 7 });
		expect(motion.sent).toHaveLength(sent + 1);
		expect(pointer(motion.sent[sent] as DataView)).toMatchObject({ first: 5, xs: [5, 6] });
		sender.acknowledged({ applied: 4, next: 7 });
		expect(motion.sent).toHaveLength(sent + 1);
	});

	it("sends what nobody acknowledges for a second on the channel that loses nothing, once", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		sender.move(Device.pen, [at(2), at(3)]);
		vi.advanceTimersByTime(10_000);
		expect(
			input.sent.slice(1).map((v) => [v.getUint8(0), v.getUint32(4, true), pointer(v).first, pointer(v).xs]),
		).toEqual([[8, 2, 2, [2, 3]]]);
		expect(motion.sent.length).toBeLessThan(15);
		sender.move(Device.pen, [at(4)]);
		expect(pointer(motion.sent.at(-1) as DataView)).toMatchObject({ barrier: 2, first: 4, xs: [4] });
		expect(sender.lost).toBe(0);
	});

	it("counts what is lost of a stroke because both channels stand still", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		sender.move(Device.pen, [at(2), at(3)]);
		input.bufferedAmount = 1 << 20;
		vi.advanceTimersByTime(10_000);
		expect(sender.lost).toBe(2);
		expect(input.sent).toHaveLength(1);
	});

	it("says again by the next connection what the node has not taken, and goes on with its numbers", () => {
		const backlog = new Backlog();
		const before = new Sender(input, motion, null, () => Date.now(), backlog);
		before.key(true, 0, 0x62, 48);
		before.button(Device.pen, 1, true, [at(1)]);
		for (let i = 2; i <= 60; i++) before.move(Device.pen, [at(i)]);
		before.close();
		input = new FakeChannel();
		motion = new FakeChannel();
		const next = new Sender(input, motion, null, () => Date.now(), backlog);
		expect(next.takeUp(1, 0)).toBe(true);
		const [press, ...rest] = input.sent as [DataView, ...DataView[]];
		expect([press.getUint8(0), press.getUint32(4, true), press.getUint32(10, true)]).toEqual([2, 2, 1]);
		expect(rest.every((v) => v.getUint8(0) === 8 && v.getUint32(4, true) === 2)).toBe(true);
		expect(rest.flatMap((v) => pointer(v).xs)).toEqual(Array.from({ length: 59 }, (_, i) => 2 + i));
		// The button is down still: no sample may be lost.
		next.move(Device.pen, [at(61)]);
		expect(pointer(motion.sent[0] as DataView)).toMatchObject({ barrier: 2, first: 61, xs: [61] });
		next.button(Device.pen, 1, false, [at(62)]);
		expect((input.sent.at(-1) as DataView).getUint32(4, true)).toBe(3);
		next.close();
	});

	it("says nothing again that comes too late, nor where the node cannot know what it has", () => {
		const backlog = new Backlog();
		const before = new Sender(input, motion, null, () => Date.now(), backlog);
		before.key(true, 0, 0x62, 48);
		before.key(false, 0, 0x62, 48);
		before.close();
		vi.advanceTimersByTime(60_000);
		input = new FakeChannel();
		const late = new Sender(input, motion, null, () => Date.now(), backlog);
		expect(late.takeUp(1, 0)).toBe(false);
		late.key(true, 0, 0x63, 46);
		input = new FakeChannel();
		const anew = new Sender(input, motion, null, () => Date.now(), backlog);
		anew.begin();
		anew.move(Device.mouse, [at(1)]);
		expect(input.sent).toEqual([]);
		expect(pointer(motion.sent[0] as DataView)).toMatchObject({ barrier: 0, first: 1 });
		late.close();
		anew.close();
	});

	it("keeps the stroke of one device while another one moves", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		sender.move(Device.pen, [at(2)]);
		sender.move(Device.mouse, [at(3)]);
		sender.move(Device.pen, [at(4)]);
		vi.advanceTimersByTime(210);
		const again = motion.sent.slice(3).map(pointer);
		expect(again.map((p) => [p.device, p.first, p.xs])).toEqual([
			[Device.pen, 2, [2]],
			[Device.mouse, 3, [3]],
			[Device.pen, 4, [4]],
		]);
	});

	it("sends a stroke's motion later where the link stands still", () => {
		sender.button(Device.pen, 1, true, [at(1)]);
		motion.bufferedAmount = 1 << 20;
		sender.move(Device.pen, [at(2)]);
		expect(motion.sent).toHaveLength(0);
		motion.bufferedAmount = 0;
		vi.advanceTimersByTime(500);
		expect(pointer(motion.sent[0] as DataView).xs).toEqual([2]);
	});

	it("drops motion, not presses, while the link stands still", () => {
		motion.bufferedAmount = 1 << 20;
		sender.move(Device.mouse, [at(1)]);
		sender.button(Device.mouse, 1, true, [at(2)]);
		expect(motion.sent).toHaveLength(0);
		expect(input.sent).toHaveLength(1);
	});

	it("sends nothing on closed channels and uses up no number", () => {
		input.readyState = "connecting";
		motion.readyState = "closing";
		sender.key(true, 0, 0x61, 30);
		sender.move(Device.mouse, [at(1)]);
		input.readyState = motion.readyState = "open";
		sender.key(true, 0, 0x61, 30);
		sender.move(Device.mouse, [at(1)]);
		expect((input.sent[0] as DataView).getUint32(4, true)).toBe(1);
		expect(pointer(motion.sent[0] as DataView).first).toBe(1);
	});
});
