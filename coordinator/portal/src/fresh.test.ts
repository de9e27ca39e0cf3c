import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Fresh, keepFresh, replace } from "./fresh";

function session(id: string, state: string): string {
	return `<li class="session" id="${id}"><p class="state">${state}</p><a href="/open">Open</a><button>End</button></li>`;
}

function page(html: string): Pick<Fresh, "list" | "announce" | "updated"> {
	document.body.innerHTML = `<section data-fragment="/fragment/sessions">${html}</section><p id="announce"></p>`;
	return {
		list: document.querySelector("section") as HTMLElement,
		announce: document.querySelector("#announce") as HTMLElement,
		updated: () => {},
	};
}

describe("replace", () => {
	it("keeps the focus on the same control of the same session", () => {
		const at = page(session("s1", "Starting") + session("s2", "Ready"));
		document.querySelectorAll<HTMLElement>("#s2 button")[0]?.focus();
		replace(at, session("s0", "Starting") + session("s1", "Ready") + session("s2", "Ready"));
		expect(document.activeElement?.closest(".session")?.id).toBe("s2");
		expect(document.activeElement?.tagName).toBe("BUTTON");
	});

	it("says aloud what changed, and nothing else", () => {
		const at = page(session("s1", "Starting") + session("s2", "Ready") + session("s3", "Ready"));
		replace(at, session("s1", "Ready") + session("s2", "Ready"));
		expect(at.announce?.textContent).toBe("Sessions: ready, one has ended.");
		if (at.announce) at.announce.textContent = "";
		replace(at, session("s1", "Ready") + session("s2", "Ready"));
		expect(at.announce?.textContent).toBe("");
	});

	it("does not fail when the focused session is gone", () => {
		const at = page(session("s1", "Ready"));
		document.querySelector<HTMLElement>("#s1 a")?.focus();
		replace(at, "");
		expect(at.list.textContent).toBe("");
	});
});

describe("keepFresh", () => {
	let stop: () => void = () => {};
	const fetch = vi.fn<Fresh["fetch"]>();
	const signedOut = vi.fn();

	beforeEach(() => {
		vi.useFakeTimers();
		fetch.mockReset();
		signedOut.mockReset();
	});
	afterEach(() => {
		stop();
		vi.useRealTimers();
	});

	function start(): HTMLElement {
		const at = page(session("s1", "Starting"));
		stop = keepFresh({ ...at, fetch, signedOut });
		return at.list;
	}

	it("replaces the list when it changed, and asks with its ETag", async () => {
		fetch.mockResolvedValueOnce(new Response(session("s1", "Ready"), { headers: { ETag: '"a"' } }));
		fetch.mockResolvedValue(new Response(null, { status: 304 }));
		const list = start();
		await vi.advanceTimersByTimeAsync(2100);
		expect(list.querySelector(".state")?.textContent).toBe("Ready");
		await vi.advanceTimersByTimeAsync(2100);
		expect(fetch).toHaveBeenCalledTimes(2);
		expect(fetch.mock.calls[1]?.[1].headers).toEqual({ "If-None-Match": '"a"' });
		expect(list.querySelector(".state")?.textContent).toBe("Ready");
	});

	it("asks ever less while the coordinator is away, and soon again when it is back", async () => {
		fetch.mockRejectedValue(new TypeError("away"));
		start();
		await vi.advanceTimersByTimeAsync(60_000);
		const asked = fetch.mock.calls.length;
		expect(asked).toBeGreaterThan(2);
		expect(asked).toBeLessThan(7);
		fetch.mockReset();
		fetch.mockImplementation(async () => new Response(session("s1", "Ready")));
		await vi.advanceTimersByTimeAsync(40_000);
		expect(fetch.mock.calls.length).toBeGreaterThan(3);
	});

	it("keeps what is shown when the answer is an error", async () => {
		fetch.mockResolvedValue(new Response("oh", { status: 503 }));
		const list = start();
		await vi.advanceTimersByTimeAsync(2100);
		expect(list.querySelector(".state")?.textContent).toBe("Starting");
	});

	it("goes to the sign-in once when the sign-in has ended", async () => {
		fetch.mockResolvedValue(new Response("", { status: 401 }));
		start();
		await vi.advanceTimersByTimeAsync(30_000);
		expect(signedOut).toHaveBeenCalledTimes(1);
		expect(fetch).toHaveBeenCalledTimes(1);
	});

	it("gives a silent coordinator up after its patience", async () => {
		fetch.mockImplementation(
			(_, init) =>
				new Promise((_resolve, reject) => {
					init.signal?.addEventListener("abort", () => reject(new DOMException("late", "AbortError")));
				}),
		);
		start();
		await vi.advanceTimersByTimeAsync(30_000);
		expect(fetch.mock.calls.length).toBeGreaterThan(1);
	});

	it("does not ask while nobody looks", async () => {
		fetch.mockImplementation(async () => new Response(null, { status: 304 }));
		start();
		const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
		await vi.advanceTimersByTimeAsync(60_000);
		expect(fetch.mock.calls.length).toBeLessThanOrEqual(1);
		hidden.mockReturnValue(false);
		const before = fetch.mock.calls.length;
		document.dispatchEvent(new Event("visibilitychange"));
		await vi.advanceTimersByTimeAsync(10);
		expect(fetch.mock.calls.length).toBe(before + 1);
	});
});
