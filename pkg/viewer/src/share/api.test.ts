import { describe, expect, it } from "vitest";
import { parseLinks, parseMade } from "./api";

describe("links", () => {
	it("are read field by field", () => {
		const shares = [
			{ id: "abc", role: "view", name: "for Bo", created: "2026-01-01T00:00:00Z", expires: "2026-01-02T00:00:00Z" },
			{ id: "def", role: "take-part", name: 7, expires: "soon" },
			{ id: "../x", role: "view" },
			{ id: "ghi", role: "root" },
			null,
		];
		expect(parseLinks({ shares })).toEqual([
			{ id: "abc", role: "view", name: "for Bo", expires: new Date("2026-01-02T00:00:00Z") },
			{ id: "def", role: "take-part", name: "", expires: null },
		]);
		for (const bad of [null, {}, { shares: {} }, 7]) expect(parseLinks(bad)).toEqual([]);
	});

	it("are addresses with the secret in the fragment", () => {
		expect(parseMade({ url: "https://n.example/s/s1#share=abc" })).toBe("https://n.example/s/s1#share=abc");
		for (const url of ["javascript:alert(1)#share=a", "https://n.example/s/s1?share=abc", "", 7])
			expect(parseMade({ url })).toBeNull();
	});
});
