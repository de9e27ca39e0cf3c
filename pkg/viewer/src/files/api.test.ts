import { afterEach, describe, expect, it, vi } from "vitest";
import { FilesApi, type FilesError, nothing, parseAllowed, parseListing, parseSaved } from "./api";
import { progress, size, when } from "./words";

const signal = new AbortController().signal;
const api = new FilesApi("/s/s1");

afterEach(() => vi.restoreAllMocks());

describe("the node's answers about files", () => {
	it("are read, and what is malformed is left out", () => {
		const good = { id: "YQ", name: "a", kind: "file", size: 1, modified: 2 };
		const bad = [null, 5, {}, { ...good, id: "../x" }, { ...good, id: 7 }, { ...good, name: null }];
		expect(parseListing({ entries: [good, ...bad, { ...good, kind: "folder", size: "x" }], more: true })).toEqual({
			entries: [
				{ id: "YQ", name: "a", folder: false, size: 1, modified: 2 },
				{ id: "YQ", name: "a", folder: true, size: 0, modified: 2 },
			],
			more: true,
		});
		for (const v of [null, [], "x", { entries: 5 }]) expect(parseListing(v)).toEqual({ entries: [], more: false });
		expect(parseSaved({ watch: "W", seq: 3, files: [good] })).toMatchObject({ watch: "W", seq: 3 });
		expect(() => parseSaved({})).toThrow("saved files");
		expect(parseAllowed({ in: true, out: 1, most: -5 })).toEqual({ in: true, out: false, most: 0 });
		expect(parseAllowed(null)).toEqual(nothing);
	});

	it.each([
		[409, "elsewhere"],
		[429, "soon"],
		[503, "soon"],
		[507, "never"],
		[413, "never"],
		[401, "never"],
		[410, "never"],
	])("with status %d are refusals: again %s", async (status, again) => {
		const body = JSON.stringify({ title: "No", detail: "because" });
		vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response(body, { status }));
		const e = await api.begin(1, signal).catch((x: FilesError) => x);
		expect(e).toMatchObject({ again, message: "because" });
	});

	it("that never come are told from a wish to stop", async () => {
		vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("failed"));
		await expect(api.list("", "", signal)).rejects.toMatchObject({ again: "soon" });
		const stopped = AbortSignal.abort();
		await expect(api.list("", "", stopped)).rejects.toBeInstanceOf(TypeError);
	});
});

describe("words", () => {
	it("are as people read them", () => {
		expect([0, 999, 1000, 1700, 9_960, 25_000_000, 2_147_483_648, 999_600].map(size)).toEqual([
			"0 bytes",
			"999 bytes",
			"1.0 kB",
			"1.7 kB",
			"10 kB",
			"25 MB",
			"2.1 GB",
			"1.0 MB",
		]);
		expect(progress(5_000_000, 40_000_000)).toBe("5.0 MB of 40 MB");
		expect(progress(40, 40)).toBe("40 bytes");
		const now = new Date(2026, 0, 5, 12, 0);
		expect(when(new Date(2026, 0, 5, 9, 30).getTime(), now)).toMatch(/30/);
		expect(when(new Date(2025, 11, 24).getTime(), now)).toContain("2025");
	});
});
