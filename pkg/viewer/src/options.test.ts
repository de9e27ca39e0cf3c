import { describe, expect, it } from "vitest";
import { parseOptions, sessionBase } from "./options";

describe("parseOptions", () => {
	it("has defaults for an artist", () => {
		expect(parseOptions("", "")).toEqual({
			token: null,
			share: null,
			unscaled: false,
			chrome: true,
			size: null,
			screen: 1,
			vnc: false,
			relay: false,
			ink: false,
			codec: null,
			problems: [],
			fragment: "",
		});
	});

	it.each([
		["?scale=1&chrome=0&size=1920x1080", "#token=ab_c-1.de-f_2"],
		["", "#token=ab_c-1.de-f_2&scale=1&chrome=0&size=1920x1080"],
		["", "#token=ab_c-1.de-f_2?scale=1&chrome=0&size=1920x1080"],
		["?scale=1", "#chrome=0&token=ab_c-1.de-f_2&size=1920x1080"],
		["", "#scale=1?chrome=0?size=1920x1080?token=ab_c-1.de-f_2"],
	])("reads %s%s", (search, hash) => {
		const o = parseOptions(search, hash);
		expect(o).toMatchObject({ unscaled: true, chrome: false, size: { w: 1920, h: 1080 }, token: "ab_c-1.de-f_2" });
		expect(o.problems).toEqual([]);
		expect(o.fragment).not.toContain("token");
	});

	it("goes through the relay when asked to", () => {
		expect(parseOptions("?path=relay", "").relay).toBe(true);
		expect(parseOptions("?path=relay", "#path=direct")).toMatchObject({ relay: false, problems: [] });
		expect(parseOptions("?path=moon", "").problems).toHaveLength(1);
	});

	it("draws ink under the nib when asked to", () => {
		expect(parseOptions("?ink=1", "")).toMatchObject({ ink: true, problems: [] });
		expect(parseOptions("?ink=blue", "").problems).toHaveLength(1);
	});

	it("takes a codec by its name", () => {
		expect(parseOptions("?codec=vp9-444", "")).toMatchObject({ codec: "vp9-444", problems: [] });
		expect(parseOptions("?codec=vp9", "#codec=auto")).toMatchObject({ codec: null, problems: [] });
	});

	it("takes the token out of the fragment and leaves the rest", () => {
		expect(parseOptions("", "#token=x.y&transport=vnc&scale=1").fragment).toBe("transport=vnc&scale=1");
		expect(parseOptions("", "#token=x.y").fragment).toBe("");
		const guest = parseOptions("?share=in-the-query", "#share=AbC-_1&scale=1");
		expect([guest.share, guest.fragment]).toEqual(["AbC-_1", "scale=1"]);
		expect(parseOptions("?share=in-the-query", "").share).toBeNull();
	});

	it("takes no token from the query, which is logged on the way", () => {
		expect(parseOptions("?token=x.y", "").token).toBeNull();
	});

	it("lets the fragment win over the query", () => {
		expect(parseOptions("?size=800x600", "#size=1024x768").size).toEqual({ w: 1024, h: 768 });
	});

	it.each([
		["?size=1921x1080", "1921x1080"],
		["?size=100x100", "100x100"],
		["?size=9000x600", "9000x600"],
		["?size=big", "big"],
		["?scale=2", "scale=2"],
		["?chrome=no", "chrome=no"],
		["?transport=pigeon", "pigeon"],
		["?codec=theora", "codec=theora: it can be auto, h264, h264-444"],
		["?size=%E0%A4%A", "%E0%A4%A"],
	])("says what is wrong with %s and goes on", (search, said) => {
		const o = parseOptions(search, "");
		expect(o.problems).toHaveLength(1);
		expect(o.problems[0]).toContain(said);
		expect(o.size).toBeNull();
	});
});

describe("the screen", () => {
	it("is the first, or the one that the address names", () => {
		expect(parseOptions("?screen=2", "").screen).toBe(2);
		expect(parseOptions("?screen=2", "#screen=1").screen).toBe(1);
		const wrong = parseOptions("?screen=3", "");
		expect(wrong.screen).toBe(1);
		expect(wrong.problems).toHaveLength(1);
	});

	it("is not shown over VNC when it is the second", () => {
		const o = parseOptions("?screen=2&transport=vnc", "");
		expect(o.vnc).toBe(false);
		expect(o.problems[0]).toContain("shows all screens as one");
	});
});

describe("sessionBase", () => {
	it.each([
		["/s/s0123456789abcdef", "/s/s0123456789abcdef"],
		["/s/s0123456789abcdef/", "/s/s0123456789abcdef"],
		["/", null],
		["/s/", null],
		["/s/../x", null],
	])("%s gives %s", (path, base) => {
		expect(sessionBase(path)).toBe(base);
	});
});
