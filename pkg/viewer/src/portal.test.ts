import { afterEach, describe, expect, it, vi } from "vitest";
import { Portal } from "./portal";

afterEach(() => vi.unstubAllGlobals());

describe("the portal", () => {
	const known = (address: string | null): Portal => {
		const p = new Portal("s1", new AbortController().signal);
		p.address = address;
		return p;
	};

	it("is linked, and for who must sign in its way back into this very session", () => {
		expect(known(null).link(true)).toBeNull();
		expect(known("https://p.example").link(false)).toBe("https://p.example/");
		expect(known("https://p.example").link(true)).toBe("https://p.example/sessions/s1/open");
		expect(known("https://p.example/easel/").link(true)).toBe("https://p.example/easel/sessions/s1/open");
		const own = known("https://p.example/easel/sessions/s1/open");
		expect([own.link(false), own.link(true)]).toEqual([
			"https://p.example/easel/",
			"https://p.example/easel/sessions/s1/open",
		]);
	});

	it("is not gone to where it does not answer, nor when the node is back by then", async () => {
		const going = vi.fn();
		vi.stubGlobal("fetch", () => Promise.reject(new Error("no network")));
		await known("https://p.example").find(() => true, going);
		let asked = 0;
		vi.stubGlobal("fetch", () => {
			asked++;
			return Promise.resolve({ ok: true });
		});
		let lost = 2;
		await known("https://p.example").find(() => --lost > 0, going);
		await known("https://p.example").find(() => false, going);
		await known(null).find(() => true, going);
		expect(asked).toBe(1);
		expect(going).not.toHaveBeenCalled();
	});
});
