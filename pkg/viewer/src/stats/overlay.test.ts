import { expect, it } from "vitest";
import { rows } from "./overlay";
import { type Snapshot, Stats } from "./stats";

const nothing = new Stats(
	() => ({ state: "connecting", link: null, fallback: "", width: 0, height: 0, frames: 0, reconnects: 0 }),
	() => {},
).snapshot();

const shows = (s: Partial<Snapshot>): Record<string, string> => Object.fromEntries(rows({ ...nothing, ...s }));

it("shows each stage by its percentiles, and a mean as one", () => {
	const stages = { hand: { p50: 1, p99: 20.04 }, decode: { p50: 2.5, p99: 3 } };
	const shown = shows({ stages, means: { decode: 2.4, jitterBuffer: 0.6 } });
	expect(shown).toMatchObject({
		latency: "p50 / p99",
		hand: "1.0 ms / 20.0 ms",
		decode: "2.5 ms / 3.0 ms",
		decoding: "2.4 ms, the mean",
		"jitter buffer": "0.6 ms, the mean",
	});
});

it("is whole while nothing is known", () => {
	expect(shows({})).toEqual({
		path: "none",
		codec: "?",
		encoder: "?",
		OpenCL: "?",
		screen: "0 × 0",
		frames: "0 (0/s)",
		bitrate: "0 kbit/s",
		"round trip": "?",
		"lost packets": "0",
		"exact tiles": "none",
	});
});

it("says how the picture came to be what it is", () => {
	expect(
		shows({
			scale: 0.5,
			width: 1920,
			height: 1080,
			bitrate: 2_340_000,
			tiles: 8,
			exactTiles: 3,
			offBeat: { atOnce: 4, late: 2, kept: 1, worth: 1 },
			fallback: "no UDP",
		}),
	).toMatchObject({
		screen: "1920 × 1080, video at 0.5",
		bitrate: "2.3 Mbit/s",
		"exact tiles": "3 of 8",
		"changes by tiles": "4 shown at once, 2 with the next beat",
		fallback: "no UDP",
	});
	expect(shows({ tiles: 8, exact: true })).toMatchObject({ "exact tiles": "all 8" });
});
