import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Hand } from "../input/sender";
import type { Sample } from "../input/wire";
import { Touch } from "./touch";
import { Trackpad } from "./trackpad";

type Said = (string | number)[];

let said: Said[];
let touch: Touch;
let clock: number;
let pad: Trackpad | null;

beforeEach(() => {
	vi.useFakeTimers();
	said = [];
	clock = 1000;
	pad = null;
	const at = (s: readonly Sample[]) => s.map((p) => `${p.x},${p.y}`).join(" ");
	const hand: Hand = {
		move: (_device, s) => void said.push(["move", at(s), s.at(-1)?.buttons ?? -1]),
		button: (_device, button, down, s) => void said.push([down ? "press" : "lift", button, at(s)]),
		wheel: (x, y, dx, dy, times = 1) => void said.push(["wheel", x, y, dx, dy, times]),
		key: (down, _locks, keysym) => void said.push([down ? "down" : "up", String.fromCharCode(keysym)]),
		text: () => {},
		release: () => {},
		proximity: () => {},
	};
	touch = new Touch({
		hand: () => hand,
		samples: (e) => [sample(e)],
		toRemote: (x, y) => ({ x, y }),
		withControl: (act) => {
			said.push(["control"]);
			act();
		},
		scroll: () => ({ notch: { x: 100, y: 100 }, pixel: 1 }),
		trackpad: () => pad,
		done: () => void said.push(["done"]),
	});
});
afterEach(() => void vi.useRealTimers());

function sample(e: PointerEvent): Sample {
	const { clientX: x, clientY: y, timeStamp: time } = e;
	return { x, y, pressure: 0.5, tiltX: 0, tiltY: 0, twist: 0, buttons: 0, time };
}

function event(id: number, x: number, y: number): PointerEvent {
	clock += 10;
	return { pointerId: id, clientX: x, clientY: y, timeStamp: clock } as PointerEvent;
}
const down = (id: number, x: number, y: number) => touch.down(event(id, x, y));
const move = (id: number, x: number, y: number) => touch.move(event(id, x, y));
const up = (id: number, x: number, y: number) => touch.up(event(id, x, y));

function trackpad(): Trackpad {
	pad = new Trackpad({ screen: () => ({ size: { w: 1000, h: 800 }, density: 1 }), draw: () => {} });
	return pad;
}

describe("a finger", () => {
	it("clicks where it taps", () => {
		down(1, 50, 60);
		expect(said).toEqual([]);
		up(1, 51, 60);
		expect(said).toEqual([["press", 1, "50,60"], ["lift", 1, "50,60"], ["done"]]);
	});

	it("paints from where it first was, and loses nothing on the way", () => {
		down(1, 50, 60);
		move(1, 53, 60);
		move(1, 58, 60);
		move(1, 70, 60);
		up(1, 80, 60);
		expect(said).toEqual([
			["press", 1, "50,60"],
			["move", "53,60 58,60", 1],
			["move", "70,60", 1],
			["lift", 1, "70,60 80,60"],
			["done"],
		]);
	});

	it("opens a menu when it rests, and chooses in it", () => {
		down(1, 50, 60);
		move(1, 52, 61);
		vi.advanceTimersByTime(600);
		move(1, 90, 100);
		up(1, 90, 100);
		expect(said).toEqual([["press", 3, "52,61"], ["move", "90,100", 4], ["lift", 3, "90,100 90,100"], ["done"]]);
	});

	it("that paints is not disturbed by the palm", () => {
		down(1, 50, 60);
		move(1, 70, 60);
		down(2, 300, 300);
		move(2, 320, 300);
		up(2, 320, 300);
		up(1, 80, 60);
		expect(said.map((s) => s[0])).toEqual(["press", "move", "lift", "done"]);
	});

	it("that the system takes lifts what it held, and taps nothing", () => {
		down(1, 50, 60);
		touch.cancel(event(1, 50, 60));
		expect(said).toEqual([["done"]]);
		down(1, 50, 60);
		move(1, 70, 60);
		touch.cancel(event(1, 70, 60));
		expect(said.at(-2)?.slice(0, 2)).toEqual(["lift", 1]);
	});

	it("is forgotten by a reset, with what it would have opened", () => {
		down(1, 50, 60);
		touch.reset();
		said = [];
		vi.advanceTimersByTime(1000);
		move(1, 90, 90);
		up(1, 90, 90);
		expect(said).toEqual([]);
	});
});

describe("two fingers", () => {
	it("pan", () => {
		down(1, 100, 100);
		down(2, 200, 100);
		move(1, 100, 150);
		move(2, 200, 150);
		up(1, 100, 150);
		move(2, 200, 400);
		up(2, 200, 400);
		// GIMP scrolls whole pixels, of which a notch has 100 here.
		const scrolled = said
			.filter((s) => s[0] === "wheel")
			.map((s) => Number(s[5]) * Math.trunc((Number(s[4]) * 100) / 120));
		expect(scrolled.reduce((sum, v) => sum + v, 0)).toBe(-50);
		expect(said.every((s) => s[0] === "wheel" || s[0] === "done")).toBe(true);
	});

	it("pan too where the browser tells late of one of them", () => {
		down(1, 100, 100);
		down(2, 200, 100);
		move(1, 100, 150);
		move(1, 100, 200);
		move(2, 200, 200);
		expect(new Set(said.map((s) => s[0]))).toEqual(new Set(["wheel"]));
	});

	it("turn although one of them rests", () => {
		down(1, 100, 100);
		down(2, 200, 100);
		move(1, 20, 100);
		vi.advanceTimersByTime(100);
		expect(said.some((s) => s[0] === "control")).toBe(true);
	});

	it("pan by a leap of both after one of them seemed to rest", () => {
		down(1, 100, 100);
		down(2, 200, 100);
		move(1, 100, 104);
		vi.advanceTimersByTime(100);
		move(1, 100, 170);
		move(2, 200, 170);
		vi.advanceTimersByTime(100);
		expect(new Set(said.map((s) => s[0]))).toEqual(new Set(["wheel"]));
	});

	it("zoom with Ctrl, about their middle", () => {
		down(1, 100, 100);
		down(2, 200, 100);
		move(1, 50, 100);
		move(2, 250, 100);
		expect(said.filter((s) => s[0] === "control").length).toBeGreaterThan(0);
		const zoomed = said.filter((s) => s[0] === "wheel" && s[3] === 0).reduce((sum, s) => sum + Number(s[4]), 0);
		expect(zoomed).toBe(-1200); // twice as large: a tenth a notch
		expect(said.at(-1)?.slice(1, 3)).toEqual([150, 100]);
	});

	it("undo by a tap, three redo, four do nothing", () => {
		for (const n of [2, 3, 4]) {
			for (let i = 1; i <= n; i++) down(i, 100 * i, 100);
			for (let i = 1; i <= n; i++) up(i, 100 * i, 100);
		}
		expect(said).toEqual([
			["control"],
			["down", "z"],
			["up", "z"],
			["done"],
			["control"],
			["down", "y"],
			["up", "y"],
			["done"],
			["done"],
		]);
	});

	it("that rested did not tap", () => {
		down(1, 100, 100);
		down(2, 200, 100);
		clock += 1000;
		up(1, 100, 100);
		up(2, 200, 100);
		expect(said).toEqual([["done"]]);
	});
});

describe("in trackpad mode", () => {
	it("a finger moves the pointer without a button, and a tap clicks there", () => {
		const p = trackpad();
		down(1, 50, 60);
		move(1, 54, 60);
		move(1, 60, 60);
		move(1, 66, 60);
		up(1, 66, 60);
		expect(said.every((s) => s[0] === "done" || (s[0] === "move" && s[2] === 0))).toBe(true);
		expect(p.at.x).toBeGreaterThan(500);
		const there = `${p.at.x},${p.at.y}`;
		said = [];
		clock += 1000;
		down(1, 300, 300);
		up(1, 300, 300);
		expect(said).toEqual([["press", 1, there], ["lift", 1, there], ["done"]]);
	});

	it("a touch right after a tap drags", () => {
		trackpad();
		down(1, 50, 60);
		up(1, 50, 60);
		said = [];
		down(1, 50, 60);
		move(1, 60, 60);
		move(1, 70, 60);
		up(1, 70, 60);
		expect(said.map((s) => s[0])).toEqual(["press", "move", "move", "lift", "done"]);
		expect(said[0]).toEqual(["press", 1, "500,400"]);
	});

	it("two fingers that tap click the right button, and scroll where the pointer is", () => {
		trackpad();
		down(1, 50, 60);
		down(2, 150, 60);
		up(1, 50, 60);
		up(2, 150, 60);
		expect(said).toEqual([["press", 3, "500,400"], ["lift", 3, "500,400"], ["done"]]);
		said = [];
		down(1, 50, 60);
		down(2, 150, 60);
		move(1, 50, 100);
		move(2, 150, 100);
		expect(said[0]?.slice(0, 3)).toEqual(["wheel", 500, 400]);
	});
});
