import { beforeEach, describe, expect, it, vi } from "vitest";
import { Cursor } from "./cursor";

const shape = (w: number, x = 0) => ({ x, y: 2, w, h: w, png: new Uint8Array([0x89]) });
let style: { cursor: string };
let cursor: Cursor;
let live: Set<string>;

beforeEach(() => {
	live = new Set();
	let n = 0;
	vi.spyOn(URL, "createObjectURL").mockImplementation(() => {
		const url = `blob:${++n}`;
		live.add(url);
		return url;
	});
	vi.spyOn(URL, "revokeObjectURL").mockImplementation((url) => void live.delete(url));
	style = { cursor: "" };
	cursor = new Cursor({ style } as unknown as HTMLElement);
});

describe("Cursor", () => {
	it("shows a shape with its hot spot, and again by its id alone", () => {
		cursor.show("a", shape(24, 5));
		expect(style.cursor).toBe('url("blob:1") 5 2, default');
		cursor.show("b", shape(16));
		cursor.show("a", null);
		expect(style.cursor).toBe('url("blob:1") 5 2, default');
	});

	it("keeps remote pixels device pixels at 150 %", () => {
		cursor.scale(1.5);
		cursor.show("a", shape(24, 6));
		expect(style.cursor).toBe('image-set(url("blob:1") 1.5x) 4 1.333, default');
	});

	it("hides an empty shape and marks one that browsers would not draw", () => {
		cursor.show("hidden", { ...shape(0), png: new Uint8Array() });
		expect(style.cursor).toBe("none");
		cursor.show("big", shape(200));
		expect(style.cursor).toBe("crosshair");
		cursor.scale(2);
		expect(style.cursor).toContain("image-set");
	});

	it("puts a hot spot that lies outside on the edge", () => {
		cursor.show("a", shape(24, 300));
		expect(style.cursor).toBe('url("blob:1") 23 2, default');
	});

	it("shows the usual arrow for an id it never saw", () => {
		cursor.show("unknown", null);
		expect(style.cursor).toBe("default");
	});

	it("keeps a bounded number of shapes, however many a container sends", () => {
		for (let i = 0; i < 5000; i++) cursor.show(`c${i}`, shape(24));
		expect(live.size).toBe(512);
		cursor.reset();
		expect(live.size).toBe(0);
		expect(style.cursor).toBe("default");
	});
});
