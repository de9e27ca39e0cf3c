import { describe, expect, it } from "vitest";
import { parseControl } from "./control";

const PNG = btoa("\x89PNG\r\n\x1a\nrest");
const parse = (m: unknown) => parseControl(JSON.stringify(m));

describe("parseControl", () => {
	it("reads every message of the contract", () => {
		const size = { w: 1920, h: 1080 };
		expect(parse({ t: "screen", ...size })).toEqual({ t: "screen", ...size, video: size });
		const video = { w: 960, h: 540 };
		expect(parse({ t: "screen", ...size, video })).toEqual({ t: "screen", ...size, video });
		expect(parse({ t: "gimp", state: "restarting", restarts: 2 })).toEqual({
			t: "gimp",
			state: "restarting",
			restarts: 2,
		});
		expect(parse({ t: "stats", fps: 60, stages: {} })).toEqual({ t: "stats", stats: { fps: 60, stages: {} } });
		expect(parse({ t: "pong", id: 7 })).toEqual({ t: "pong", id: 7, at: null });
		expect(parse({ t: "pong", id: 7, at: 1234.5 })).toEqual({ t: "pong", id: 7, at: 1234.5 });
		expect(parse({ t: "pong", id: 7, at: "now" })).toEqual({ t: "pong", id: 7, at: null });
		expect(parse({ t: "replaced" })).toEqual({ t: "replaced" });
		expect(parse({ t: "files" })).toEqual({ t: "files" });
		const resumed = { t: "resumed", known: true, rseq: 0xffffffff, sample: 7 };
		expect(parse(resumed)).toEqual(resumed);
		const company = { you: "owner", hand: "owner", people: [] };
		expect(parse({ t: "people", ...company })).toEqual({ t: "people", company });
		expect(parse({ t: "bye", reason: "stopped" })).toEqual({ t: "bye", reason: "stopped" });
		expect(parse({ t: "cursor", id: 3 })).toEqual({ t: "cursor", id: "3", shape: null });
		const c = parse({ t: "cursor", id: "a", x: 1, y: 2, w: 24, h: 24, png: PNG });
		expect(c).toMatchObject({ t: "cursor", id: "a", shape: { x: 1, y: 2, w: 24, h: 24 } });
	});

	it("takes a hot spot that is left out as zero", () => {
		expect(parse({ t: "cursor", id: 1, w: 24, h: 24, png: PNG })).toMatchObject({ shape: { x: 0, y: 0 } });
	});

	it.each([
		["no text", new ArrayBuffer(3)],
		["no JSON", "{"],
		["no object", "[1]"],
		["null", "null"],
		["an unknown type", '{"t":"future"}'],
		["no type", "{}"],
		["a screen without end", '{"t":"screen","w":99999,"h":1}'],
		["a screen of text", '{"t":"screen","w":"1","h":1}'],
		["a video without end", '{"t":"screen","w":640,"h":480,"video":{"w":99999,"h":1}}'],
		["a video without a size", '{"t":"screen","w":640,"h":480,"video":null}'],
		["a cursor without id", `{"t":"cursor","x":0,"y":0,"w":1,"h":1,"png":"${PNG}"}`],
		["a hand that went nowhere", '{"t":"resumed","known":true,"rseq":1}'],
		["a hand that came from nowhere", '{"t":"resumed","known":1,"rseq":1,"sample":1}'],
		["a hand beyond all numbers", '{"t":"resumed","known":true,"rseq":4294967296,"sample":1}'],
		["a giant cursor", `{"t":"cursor","id":1,"x":0,"y":0,"w":4000,"h":1,"png":"${PNG}"}`],
		["a cursor that is no PNG", `{"t":"cursor","id":1,"x":0,"y":0,"w":1,"h":1,"png":"${btoa("<svg></svg>")}"}`],
		["a cursor that is no base64", '{"t":"cursor","id":1,"x":0,"y":0,"w":1,"h":1,"png":"%%"}'],
		["a flood", JSON.stringify({ t: "bye", reason: "x".repeat(2 << 20) })],
	])("refuses %s", (_what, data) => {
		expect(parseControl(data)).toBeNull();
	});

	it("bounds a reason that will be shown", () => {
		expect((parse({ t: "bye", reason: "x".repeat(5000) }) as { reason: string }).reason).toHaveLength(300);
		expect(parse({ t: "bye", reason: { html: 1 } })).toEqual({ t: "bye", reason: "" });
	});
});
