import { beforeEach, describe, expect, it } from "vitest";
import type { Echo } from "../input/wire";
import { NodeClock } from "../link/clock";
import { BOUNDS, Latency, STAGES } from "./latency";

/** The node's time less the page's. */
const AHEAD = 1_700_000_000_000;
const stages = [0.5, 6, 1, 2, 0.25, 3, 0.25];
const onNode = stages.reduce((a, b) => a + b);

let latency: Latency;
beforeEach(() => {
	latency = new Latency(new NodeClock());
	latency.clock.answered(0, 0, AHEAD);
});

const echo = (e: Partial<Echo>): Echo => ({
	tiles: false,
	sample: 0,
	rseq: 0,
	picture: 0,
	arrived: AHEAD,
	stages,
	...e,
});
const frame = (rtpTimestamp: number, receiveTime: number): VideoFrameCallbackMetadata => ({
	rtpTimestamp,
	receiveTime,
	processingDuration: 0.002,
	presentationTime: receiveTime + 5,
	expectedDisplayTime: 0,
	width: 0,
	height: 0,
	mediaTime: 0,
	presentedFrames: 0,
});

describe("Latency", () => {
	it.each(["the ECHO first", "the frame first"])("knows every stage, with %s, and their sum is the whole", (order) => {
		latency.said(1, 1000);
		const e = echo({ rseq: 1, picture: 900, arrived: AHEAD + 1004 });
		const f = frame(900, 1004 + onNode + 1.5);
		if (order === "the ECHO first") latency.heard(e);
		latency.frame(f, AHEAD + 1008);
		if (order !== "the ECHO first") latency.heard(e);
		const got = latency.stages;
		expect(Object.keys(got)).toEqual([...STAGES]);
		const p50 = (s: string): number => got[s]?.p50 ?? Number.NaN;
		expect(["hand", "node", "gimp", "receive", "decode", "shown"].map(p50)).toEqual([4, 0.5, 6, 1.5, 2, 3]);
		expect(p50("input")).toBeCloseTo(f.presentationTime - 1000, 2);
		expect(p50("age")).toBeCloseTo(f.presentationTime - 1008, 2);
		const { input: _, age: __, ...parts } = got;
		expect(Object.values(parts).reduce((a, s) => a + s.p50, 0)).toBeCloseTo(p50("input"), 2);
	});

	it("counts every input once, with the first picture that follows it", () => {
		latency.sampled(1, [{ time: 100 }, { time: 104 }, { time: 108 }]);
		latency.sampled(4, [{ time: 112 }, { time: 116 }]);
		latency.heard(echo({ sample: 3, picture: 10 }));
		latency.heard(echo({ sample: 5, picture: 20 }));
		latency.frame(frame(10, 115), null);
		latency.frame(frame(20, 125), null);
		const counts = latency.take();
		expect(counts?.input?.n.reduce((a, b) => a + b)).toBe(5);
		expect(counts?.input?.ms).toBeCloseTo(20 + 16 + 12 + 18 + 14, 6);
		expect(counts?.hand?.n.length).toBe(BOUNDS.length + 1);
		expect(latency.take()).toBeNull();
	});

	it("takes the next frame where the browser left one out", () => {
		latency.said(1, 1000);
		latency.frame(frame(890, 1001), null);
		latency.frame(frame(910, 1011), null);
		latency.heard(echo({ rseq: 1, picture: 900 }));
		expect(latency.stages.input?.p50).toBe(16);
	});

	it("keeps tiles and frames apart", () => {
		latency.said(1, 1000);
		latency.heard(echo({ tiles: true, rseq: 1, picture: 7, arrived: AHEAD + 1001 }));
		latency.frame(frame(900, 1003), null);
		expect(latency.stages.input).toBeUndefined();
		latency.shown(true, { id: 7, received: 1015, decoded: 1016, shown: 1017 });
		expect(latency.stages.input?.p50).toBe(17);
	});

	it("does not blame a picture for input that had none", () => {
		latency.sampled(1, [{ time: 100 }]);
		latency.sampled(2, [{ time: 5000 }]);
		latency.heard(echo({ sample: 2, picture: 10 }));
		latency.frame(frame(10, 5010), null);
		expect(latency.take()?.input?.n.reduce((a, b) => a + b)).toBe(1);
	});

	it("keeps no more than it may of what never has its other half", () => {
		for (let i = 1; i <= 5000; i++) latency.heard(echo({ rseq: i, picture: i * 10 }));
		for (let i = 1; i <= 5000; i++) latency.shown(true, { id: i, received: 0, decoded: 0, shown: 0 });
		latency.said(9999, 1);
		latency.heard(echo({ rseq: 0xffffffff, sample: 0xffffffff, picture: 60_000 }));
		latency.frame(frame(60_000, 20_000), null);
		expect(latency.stages.input).toBeUndefined();
	});
});
