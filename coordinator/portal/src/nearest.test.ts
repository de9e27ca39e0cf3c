import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { measureNearest, type Nearest } from "./nearest";

const candidates = [
	{ node: "near", ping: "https://near/ping" },
	{ node: "far", ping: "https://far/ping" },
	{ node: "dark", ping: "https://dark/ping" },
];
const roundTrips: Record<string, number[]> = { near: [60, 12, 14], far: [300, 90, 80] };

describe("measureNearest", () => {
	const fetch = vi.fn<Nearest["fetch"]>();
	let form: HTMLFormElement;
	let submit: ReturnType<typeof vi.spyOn>;

	beforeEach(() => {
		vi.useFakeTimers();
		fetch.mockReset();
		document.body.innerHTML =
			'<form data-route="/api/v1/route"><input name="pings" type="hidden" value=""><button>New</button></form>';
		form = document.querySelector("form") as HTMLFormElement;
		submit = vi.spyOn(form, "submit").mockImplementation(() => {});
	});
	afterEach(() => vi.useRealTimers());

	function nodes(): void {
		const asked: Record<string, number> = {};
		fetch.mockImplementation(async (url, init) => {
			if (url === "/api/v1/route") {
				return Response.json({ candidates });
			}
			const name = new URL(url).host;
			asked[name] = (asked[name] ?? 0) + 1;
			const ms = roundTrips[name]?.[(asked[name] - 1) % 3];
			if (ms === undefined) {
				throw new TypeError("unreachable");
			}
			await new Promise((resolve, reject) => {
				const timer = setTimeout(resolve, ms);
				init.signal?.addEventListener("abort", () => {
					clearTimeout(timer);
					reject(new DOMException("late", "AbortError"));
				});
			});
			return new Response(null, { status: 204 });
		});
	}

	function start(): Promise<void> {
		return measureNearest({ form, fetch, now: () => performance.now() });
	}

	function pings(): unknown {
		const field = form.elements.namedItem("pings") as HTMLInputElement;
		return field.value === "" ? undefined : JSON.parse(field.value);
	}

	function press(): Event {
		const event = new Event("submit", { cancelable: true });
		form.dispatchEvent(event);
		return event;
	}

	it("keeps the least round trip of each node that answers, without that which opened the connection", async () => {
		nodes();
		const done = start();
		await vi.advanceTimersByTimeAsync(6000);
		await done;
		expect(pings()).toEqual({ near: 12, far: 80 });
		expect(fetch.mock.calls.filter(([url]) => url.startsWith("https://near")).length).toBe(3);
		const ping = fetch.mock.calls.find(([url]) => url.startsWith("https://near"));
		expect(ping?.[1]).toMatchObject({ credentials: "omit", cache: "no-store" });
	});

	it("lets a press through at once when it has measured", async () => {
		nodes();
		void start();
		await vi.advanceTimersByTimeAsync(6000);
		expect(press().defaultPrevented).toBe(false);
		expect(submit).not.toHaveBeenCalled();
	});

	it("measures for at most 400 ms when a press comes before it could", async () => {
		fetch.mockRejectedValueOnce(new TypeError("away"));
		await start();
		nodes();
		expect(press().defaultPrevented).toBe(true);
		await vi.advanceTimersByTimeAsync(399);
		expect(submit).not.toHaveBeenCalled();
		await vi.advanceTimersByTimeAsync(2);
		expect(submit).toHaveBeenCalledTimes(1);
		expect(pings()).toEqual({ near: 12, far: 90 });
	});

	it("sends the form without a report when nothing answers", async () => {
		fetch.mockRejectedValue(new TypeError("away"));
		await start();
		press();
		await vi.advanceTimersByTimeAsync(500);
		expect(submit).toHaveBeenCalledTimes(1);
		expect(pings()).toBeUndefined();
	});

	it("measures the nodes of what is chosen, and those of another choice when it changes", async () => {
		const select = document.createElement("select");
		select.name = "class";
		select.innerHTML = '<option value="none">-</option><option value="1g.10gb any">-</option>';
		form.append(select);
		const asked: string[] = [];
		fetch.mockImplementation(async (url) => {
			if (url.startsWith("/api/v1/route")) {
				asked.push(url);
				const node = url.includes("1g.10gb") ? "gpu" : "cpu";
				return Response.json({ candidates: [{ node, ping: `https://${node}/ping` }] });
			}
			return new Response(null, { status: 204 });
		});
		await start();
		expect(Object.keys(pings() as object)).toEqual(["cpu"]);
		select.value = "1g.10gb any";
		select.dispatchEvent(new Event("change"));
		await vi.advanceTimersByTimeAsync(100);
		expect(Object.keys(pings() as object)).toEqual(["gpu"]);
		expect(asked).toEqual(["/api/v1/route?class=none&encoder=", "/api/v1/route?class=1g.10gb&encoder=any"]);
		expect(press().defaultPrevented).toBe(false);
	});

	it("leaves a press alone that somebody else holds", async () => {
		fetch.mockRejectedValue(new TypeError("away"));
		await start();
		const event = new Event("submit", { cancelable: true });
		event.preventDefault();
		form.dispatchEvent(event);
		await vi.advanceTimersByTimeAsync(500);
		expect(submit).not.toHaveBeenCalled();
	});
});
