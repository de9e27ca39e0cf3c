import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Figures, Link, Tiles } from "../link/link";
import { type Now, Stats } from "./stats";

const none = { atOnce: 0, late: 0, kept: 0, worth: 0 };

class FakeLink {
	watched: boolean[] = [];
	tiles: Tiles | null = { all: 8, exact: 3, offBeat: none };
	own: Partial<Figures> = { codec: "H264", profile: "Baseline", chroma: "4:2:0", path: "direct", bytes: 0, decode: 3 };
	constructor(readonly path: "direct" | "vnc") {}
	watch(on: boolean): void {
		this.watched.push(on);
	}
	async figures(): Promise<Partial<Figures>> {
		return this.own;
	}
}

let now: Now;
let stats: Stats;
let link: FakeLink;
let drawn: number;

beforeEach(() => {
	vi.useFakeTimers();
	link = new FakeLink("direct");
	drawn = 0;
	now = {
		state: "connected",
		link: link as unknown as Link,
		fallback: "",
		width: 1920,
		height: 1080,
		frames: 7,
		reconnects: 0,
	};
	stats = new Stats(
		() => now,
		() => void drawn++,
		() => Date.now(),
	);
});
afterEach(() => {
	stats.attach(null);
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

describe("Stats", () => {
	it("says whether the picture is exact by what the viewer itself shows", () => {
		stats.attach(link as unknown as Link);
		expect(stats.snapshot()).toMatchObject({ tiles: 8, exactTiles: 3, exact: false });
		link.tiles = { all: 8, exact: 8, offBeat: { ...none, atOnce: 5 } };
		expect(stats.snapshot()).toMatchObject({ tiles: 8, exactTiles: 8, exact: true, offBeat: { ...none, atOnce: 5 } });
		for (const nothing of [null, { all: 0, exact: 0, offBeat: none }]) {
			link.tiles = nothing;
			expect(stats.snapshot()).toMatchObject({ tiles: 0, exactTiles: 0, exact: false, offBeat: none });
		}
	});

	it("joins the browser's figures and the node's", async () => {
		stats.attach(link as unknown as Link);
		await vi.advanceTimersByTimeAsync(0);
		link.own = { ...link.own, bytes: 125_000 };
		await vi.advanceTimersByTimeAsync(1000);
		stats.heard({
			encoder: "x264",
			opencl: "off: no kernel ran",
			profile: "high",
			exactTiles: 5,
			stages: { encode: { p50: 7, p99: 9 }, bad: 1 },
		});
		expect(stats.snapshot()).toMatchObject({
			state: "connected",
			transport: "webrtc",
			path: "direct",
			codec: "H264",
			profile: "high",
			chroma: "4:2:0",
			encoder: "x264",
			opencl: "off: no kernel ran",
			width: 1920,
			frames: 7,
			bitrate: 1_000_000,
			exactTiles: 3,
			stages: { encode: { p50: 7, p99: 9 } },
			means: { decode: 3 },
		});
		// A mean is no percentile.
		expect(Object.keys(stats.snapshot().stages)).toEqual(["encode"]);
	});

	it("asks the node for figures at the start, and again only while somebody looks", async () => {
		stats.attach(link as unknown as Link);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(link.watched).toEqual([true, false]);
		stats.snapshot();
		await vi.advanceTimersByTimeAsync(1000);
		expect(link.watched).toEqual([true, false, true]);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(link.watched).toEqual([true, false, true, false]);
		stats.pin(true);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(link.watched.slice(4)).toEqual([true]);
	});

	it("does not count its own drawing as looking", async () => {
		const self = new Stats(
			() => now,
			() => void self.snapshot(false),
			() => Date.now(),
		);
		self.attach(link as unknown as Link);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(link.watched).toEqual([true, false]);
		self.attach(null);
	});

	it("tells nothing of the node's stream for VNC, and why it is VNC", () => {
		const vnc = new FakeLink("vnc");
		vnc.own = { codec: "VNC", path: "vnc" };
		now = { ...now, link: vnc as unknown as Link, fallback: "no UDP" };
		stats.attach(vnc as unknown as Link);
		stats.heard({ encoder: "x264", opencl: "on", chroma: "4:2:0", stages: { encode: { p50: 1, p99: 1 } } });
		expect(stats.snapshot()).toMatchObject({
			transport: "vnc",
			path: "vnc",
			fallback: "no UDP",
			encoder: "",
			opencl: "on",
			stages: {},
		});
	});

	it("is whole without any link", () => {
		now = { ...now, link: null, state: "connecting" };
		expect(stats.snapshot()).toMatchObject({ state: "connecting", transport: "", path: "", rtt: null, bitrate: 0 });
	});
});
