import { describe, expect, it } from "vitest";
import { SAMPLE_BYTES } from "../src/input/wire";
import type { Heard } from "./fake-peer";
import {
	atLeast,
	connected,
	context,
	control,
	hears,
	input,
	keys,
	line,
	node,
	open,
	peer,
	place,
	reaches,
	touch,
	view,
} from "./setup";
import { tools } from "./strip";

/** The numbers of all samples that came, each once. */
function numbers(all: Heard[]): number[] {
	const strokes = all.filter((h) => h.channel === "motion" || h.data.startsWith("08")).map(view);
	const run = (v: DataView, first: number, count: number): number[] =>
		Array.from({ length: v.getUint16(count, true) }, (_, i) => v.getUint32(first, true) + i);
	const found = [...strokes.flatMap((v) => run(v, 8, 2)), ...input(2)(all).flatMap((v) => run(v, 10, 8))];
	return [...new Set(found)].sort((a, b) => a - b);
}

const hasMoved = (all: Heard[]) => (input(2)(all)[0] && all.some((m) => m.channel === "motion") ? all : undefined);

describe("the hand", () => {
	it("sends pen pressure, tilt and proximity", async () => {
		const page = await connected("?scale=1&chrome=0");
		const cdp = await context.newCDPSession(page);
		const pen = { pointerType: "pen", tiltX: 30, tiltY: -20, twist: 90 } as const;
		await cdp.send("Input.dispatchMouseEvent", { type: "mouseMoved", x: 100, y: 100, ...pen });
		await cdp.send("Input.dispatchMouseEvent", {
			type: "mousePressed",
			x: 100,
			y: 100,
			button: "left",
			buttons: 1,
			force: 0.25,
			...pen,
		});
		await cdp.send("Input.dispatchMouseEvent", {
			type: "mouseMoved",
			x: 120,
			y: 110,
			button: "left",
			buttons: 1,
			force: 0.75,
			...pen,
		});
		await cdp.send("Input.dispatchMouseEvent", {
			type: "mouseReleased",
			x: 120,
			y: 110,
			button: "left",
			buttons: 0,
			...pen,
		});
		const [press, lift] = await hears(atLeast(2, input(2)));
		const all = await peer.heard();
		expect(input(7)(all)[0]?.getUint8(1)).toBe(1);
		expect(press?.getUint8(1)).toBe(1);
		expect(place(press as DataView)).toMatchObject({ x: 100, y: 100 });
		expect(place(press as DataView).pressure).toBeCloseTo(0.25, 3);
		expect(place(lift as DataView)).toMatchObject({ x: 120, y: 110 });
		const motion = all.filter((h) => h.channel === "motion").map(view);
		const pressures = motion.flatMap((v) =>
			Array.from({ length: v.getUint16(2, true) }, (_, i) => v.getUint16(12 + i * SAMPLE_BYTES + 8, true) / 65535),
		);
		expect(pressures.some((p) => Math.abs(p - 0.75) < 0.001)).toBe(true);
		expect(motion.some((v) => v.getInt16(12 + 10, true) === 3000 && v.getInt16(12 + 12, true) === -2000)).toBe(true);
	});

	it("brings what was painted while the stream was away, each sample once, and the keys after it", async () => {
		const page = await connected("?scale=1&chrome=0");
		await page.mouse.move(100, 100);
		await page.mouse.down();
		await page.mouse.move(110, 100);
		const press = input(2)(await hears(hasMoved))[0] as DataView;
		const answers = node.whep;
		node.whep = async () => ({ status: 503 });
		await peer.drop();
		await reaches(page, "reconnecting");
		await page.mouse.move(200, 100, { steps: 10 });
		await page.mouse.up();
		await page.keyboard.press("b");
		node.whep = answers;
		await reaches(page, "connected");
		await hears((h) => (keys(h).length >= 2 ? h : undefined));
		const after = await peer.heard();
		const lift = input(2)(after).at(-1) as DataView;
		expect([lift.getUint8(3), place(lift)]).toMatchObject([0, { x: 200, y: 100 }]);
		expect(input(2)(after)).toHaveLength(1);
		expect(lift.getUint32(4, true)).toBeGreaterThan(press.getUint32(4, true));
		const got = numbers(after);
		expect(got).toEqual(Array.from({ length: got.length }, (_, i) => (got[0] as number) + i));
		expect(got.length).toBeGreaterThan(9);
		expect(keys(after)).toEqual(["+62", "-62"]);
		const order = after.filter((h) => h.channel === "input").map((h) => view(h).getUint32(4, true));
		expect(order).toEqual([...order].sort((a, b) => a - b));
	});

	it("brings the part of a stroke that a streamer may not have had when it died, and lets it go on", async () => {
		const page = await connected("?scale=1&chrome=0");
		await page.mouse.move(100, 100);
		await page.mouse.down();
		await page.mouse.move(150, 100, { steps: 10 });
		const press = input(2)(await hears(hasMoved))[0] as DataView;
		const applied = press.getUint32(10, true) + press.getUint16(8, true) + 2;
		await hears((all) => (numbers(all).includes(applied) ? true : undefined));
		const ack = Buffer.alloc(12);
		ack.writeUInt8(32);
		ack.writeUInt32LE(applied, 4);
		await peer.send("motion", ack.toString("hex"));
		// What it says of itself comes after, so that the page has read the other.
		const answers = node.whep;
		node.whep = async () => ({ status: 503 });
		await page.evaluate(() => new Promise((r) => setTimeout(r, 200)));
		await peer.drop();
		await peer.begin();
		await reaches(page, "reconnecting");
		await page.mouse.move(200, 100, { steps: 10 });
		await page.mouse.up();
		node.whep = answers;
		await reaches(page, "connected");
		const after = await hears((all) => (input(2)(all).length > 0 ? all : undefined));
		const told = control("resume")(after);
		expect(told).toMatchObject({ buttons: [2, 0, 0, 0], sample: applied - 1 });
		const got = numbers(after);
		expect(got).toEqual(Array.from({ length: got.length }, (_, i) => applied + i));
		const [lift, ...more] = input(2)(after) as [DataView, ...DataView[]];
		expect([lift.getUint8(3), place(lift), more]).toMatchObject([0, { x: 200, y: 100 }, []]);
		expect(await page.locator("#toast").textContent()).toBe("");
	});

	it("goes on with a streamer that is older than the page, and does not know what it asks", async () => {
		const page = await connected("?scale=1&chrome=0");
		await page.mouse.click(100, 100);
		await hears(atLeast(2, input(2)));
		await peer.begin(true);
		await peer.drop();
		await expect.poll(() => node.offered.length, { timeout: 30_000 }).toBe(2);
		await reaches(page, "connected");
		await page.mouse.click(200, 150);
		const [press, lift] = (await hears(atLeast(2, input(2)))) as [DataView, DataView];
		expect([press.getUint32(4, true), lift.getUint32(4, true)]).toEqual([1, 2]);
		expect(place(lift)).toMatchObject({ x: 200, y: 150 });
		const order = numbers(await peer.heard());
		expect(order[0]).toBe(1);
	});

	it("draws ink under the nib where it is wanted, while a stroke waits for its pixels", async () => {
		const page = await connected("?scale=1&chrome=0&ink=1");
		const cdp = await context.newCDPSession(page);
		const inked = () =>
			page.evaluate(() => {
				const canvas = document.querySelector("#screen > canvas.ink") as HTMLCanvasElement | null;
				const all =
					canvas && canvas.width > 1 ? canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) : null;
				return all?.data.some((v) => v !== 0) ?? false;
			});
		const pen = (type: "mouseMoved" | "mousePressed" | "mouseReleased", x: number, down: boolean) =>
			cdp.send("Input.dispatchMouseEvent", {
				type,
				x,
				y: 100,
				pointerType: "pen",
				force: 0.5,
				button: down || type === "mouseReleased" ? "left" : "none",
				buttons: down ? 1 : 0,
			});
		await pen("mouseMoved", 90, false);
		await pen("mouseMoved", 100, false);
		expect(await inked()).toBe(false);
		await pen("mousePressed", 100, true);
		// It goes by itself after 300 ms: a stroke that goes on keeps it.
		await expect
			.poll(async () => {
				await pen("mouseMoved", 100 + Math.random() * 50, true);
				return inked();
			})
			.toBe(true);
		await pen("mouseReleased", 150, false);
		await expect.poll(inked).toBe(false);
		await page.goto("about:blank");
		const other = await connected("?scale=1&chrome=0");
		expect(await other.evaluate(() => document.querySelector("canvas.ink"))).toBeNull();
	});

	it("types without a click first, by keys and by text, and lets go when the window loses the keyboard", async () => {
		const page = await connected();
		await page.keyboard.press("a");
		await page.keyboard.press("Control+n");
		await page.keyboard.press("F5");
		await page.keyboard.insertText("日本語");
		await hears((h) => input(5)(h)[0]);
		const all = await peer.heard();
		const keys = input(4)(all).map((v) => `${v.getUint8(1) ? "+" : "-"}${v.getUint32(8, true).toString(16)}`);
		expect(keys).toEqual(["+61", "-61", "+ffe3", "+6e", "-6e", "-ffe3", "+ffc2", "-ffc2"]);
		expect(new TextDecoder().decode(new Uint8Array((input(5)(all)[0] as DataView).buffer, 8))).toBe("日本語");
		await page.keyboard.down("Shift");
		await page.evaluate(() => (document.activeElement as HTMLElement).blur());
		await hears((h) => input(6)(h)[0]);
	});

	it("turns the wheel in notches where the pointer is", async () => {
		const page = await connected("?scale=1&chrome=0");
		await page.mouse.move(50, 60);
		await page.mouse.wheel(0, 120);
		const v = await hears((h) => input(3)(h)[0]);
		expect([8, 12, 16, 20].map((at) => v.getInt32(at, true))).toEqual([50 * 256, 60 * 256, 0, 120 * 256]);
	});

	it("orders motion behind the press before it", async () => {
		const page = await connected("?scale=1&chrome=0");
		await page.mouse.move(10, 10);
		await page.mouse.down();
		await page.mouse.move(20, 20);
		const after = await hears((h) => {
			const press = input(2)(h)[0];
			const rseq = press?.getUint32(4, true);
			return h
				.filter((m) => m.channel === "motion")
				.map(view)
				.find((v) => rseq !== undefined && v.getUint32(4, true) === rseq);
		});
		expect(after.getUint32(8, true)).toBeGreaterThan(1);
		await page.mouse.up();
	});
});

describe("fingers", () => {
	const turned = (all: Heard[]): number =>
		input(3)(all).reduce((sum, v) => sum + (v.getInt32(20, true) / 256) * (v.getUint8(1) + 1), 0);

	it("paint where they are; two pan and zoom, and undo by a tap", async () => {
		const page = await connected("?scale=1&chrome=0", { hasTouch: true });
		await touch(page, line({ x: 100, y: 100 }, { x: 200, y: 150 }, 10));
		const [press, lift] = await hears(atLeast(2, input(2)));
		expect((press as DataView).getUint8(2)).toBe(1);
		expect(place(press as DataView)).toMatchObject({ x: 100, y: 100 });
		expect(place(lift as DataView)).toMatchObject({ x: 200, y: 150 });

		await peer.forget();
		await touch(
			page,
			line({ x: 300, y: 200 }, { x: 300, y: 300 }, 20),
			line({ x: 400, y: 200 }, { x: 400, y: 300 }, 20),
		);
		await hears((all) => (turned(all) < -100 ? true : undefined));
		expect(input(2)(await peer.heard())).toEqual([]);
		expect(keys(await peer.heard())).toEqual([]);

		await peer.forget();
		await touch(
			page,
			line({ x: 300, y: 200 }, { x: 200, y: 200 }, 20),
			line({ x: 400, y: 200 }, { x: 500, y: 200 }, 20),
		);
		await hears((all) => (turned(all) < -300 ? true : undefined));
		const held = keys(await peer.heard());
		expect(new Set(held)).toEqual(new Set(["+ffe3", "-ffe3"]));

		await peer.forget();
		await touch(page, [{ x: 300, y: 200 }], [{ x: 400, y: 200 }]);
		expect(await hears((all) => (keys(all).length >= 4 ? keys(all) : undefined))).toEqual([
			"+ffe3",
			"+7a",
			"-7a",
			"-ffe3",
		]);
	});

	it("move a pointer that is drawn in trackpad mode, and click by a tap where it is", async () => {
		const page = await connected("", { hasTouch: true });
		await peer.say({ t: "screen", w: 800, h: 600 });
		await page.evaluate(() => document.querySelector<HTMLButtonElement>("#trackpad")?.click());
		await page.locator("#screen .cursor").waitFor();
		await peer.forget();
		await touch(page, line({ x: 100, y: 400 }, { x: 160, y: 400 }, 20));
		await touch(page, [{ x: 500, y: 500 }]);
		const [press] = await hears(atLeast(2, input(2)));
		const { x, y } = place(press as DataView);
		expect(x).toBeGreaterThan(400);
		expect(Math.abs(y - 300)).toBeLessThan(1);
		await page.reload();
		await reaches(page, "connected");
		await page.locator("#screen .cursor").waitFor();
		await page.evaluate(() => document.querySelector<HTMLButtonElement>("#trackpad")?.click());
		await page.locator("#screen .cursor").waitFor({ state: "detached" });
	});

	it("have the keys that a screen's keyboard lacks, and a Ctrl for one key", async () => {
		const page = await connected("", { hasTouch: true });
		await page.evaluate(() => document.querySelector<HTMLButtonElement>("#onscreen")?.click());
		expect(await page.evaluate(() => document.querySelector<HTMLTextAreaElement>("#keys")?.inputMode)).toBe("text");
		await peer.forget();
		const bar = page.getByRole("toolbar", { name: "Keys" });
		await bar.getByRole("button", { name: "Escape" }).tap();
		await bar.getByRole("button", { name: "Ctrl" }).tap();
		expect(await bar.getByRole("button", { name: "Ctrl" }).getAttribute("aria-pressed")).toBe("true");
		await page.keyboard.insertText("s");
		expect(await hears((all) => (keys(all).length >= 6 ? keys(all) : undefined))).toEqual([
			"+ff1b",
			"-ff1b",
			"+ffe3",
			"+73",
			"-73",
			"-ffe3",
		]);
		expect(await bar.getByRole("button", { name: "Ctrl" }).getAttribute("aria-pressed")).toBe("false");
	});
});

describe("screens", () => {
	it("are two browser windows, the second opened by the first", async () => {
		const page = await connected("?path=direct");
		const opened = page.waitForEvent("popup");
		await tools(page);
		await page.locator("#second").click();
		const second = await opened;
		await second.waitForFunction(() => window.easel?.state === "connected");
		expect(new URL(second.url()).search).toBe("?path=direct&screen=2");
		expect(node.offered).toEqual([1, 2]);
		expect(await second.title()).toBe("Easel – second screen");
		expect(await second.evaluate(() => document.querySelector<HTMLElement>("#second")?.hidden)).toBe(true);
		expect(await second.evaluate(() => document.querySelector("#interface")?.closest("label")?.hidden)).toBe(true);
		// Guests see the first screen as it is.
		const offers = () => page.locator("#second, #interface").filter({ visible: true }).count();
		await page.evaluate(() => document.querySelector("#strip")?.removeAttribute("hidden"));
		expect(await offers()).toBe(2);
		await page.evaluate(() => document.documentElement.setAttribute("data-role", "take-part"));
		expect(await offers()).toBe(0);
		await page.evaluate(() => document.documentElement.setAttribute("data-role", "owner"));
		// Asked for again, it is brought to the front instead of opened anew.
		await page.evaluate(() => document.querySelector<HTMLButtonElement>("#second")?.click());
		expect(context.pages()).toHaveLength(2);
		await second.close();
		await expect.poll(() => node.requests.filter((r) => r.startsWith("DELETE")).length).toBe(1);
	});

	it("never fall back to VNC for the second, which would show both", async () => {
		node.whep = async () => ({ status: 406 });
		const page = await open(node.url("?screen=2"));
		await reaches(page, "failed");
		expect(node.requests.filter((r) => r.startsWith("WS"))).toEqual([]);
	});

	it("let a drag go on outside the window", async () => {
		const page = await connected("?scale=1&chrome=0&size=800x600");
		await peer.say({ t: "screen", w: 800, h: 600 });
		await page.mouse.move(790, 300);
		await page.mouse.down();
		await hears(atLeast(1, input(2)));
		await page.mouse.move(950, 310);
		await page.mouse.up();
		const [, up] = await hears(atLeast(2, input(2)));
		expect(place(up as DataView)).toMatchObject({ x: 950, y: 310 });
	});

	it("follow a window's edge while it is dragged, and the artist's choice of how large the interface is", async () => {
		const page = await connected("", { viewport: { width: 800, height: 600 } });
		await peer.forget();
		const sizes = new Set<unknown>();
		/** The node takes the size that it was last asked for. */
		const answer = async (): Promise<void> => {
			const w = control("resize")(await peer.heard())?.w;
			if (typeof w !== "number" || w <= 800 || sizes.has(w)) return;
			sizes.add(w);
			await peer.size(w, 600);
			await peer.say({ t: "screen", w, h: 600 });
		};
		// To and fro, for as long as it takes until another size than the first was asked for in the middle of it.
		const until = Date.now() + 60_000;
		for (let w = 810; sizes.size < 2; w = w === 990 ? 810 : w + 10) {
			if (Date.now() > until) throw new Error(`one size in all was asked for while the edge moved: ${[...sizes]}`);
			await page.setViewportSize({ width: w, height: 600 });
			await answer();
		}
		await page.setViewportSize({ width: 1000, height: 600 });
		await hears((all) => (control("resize")(all)?.w === 1000 ? true : undefined));
		await answer();
		await tools(page);
		await page.locator("#interface").selectOption("150");
		await hears((all) => (control("resize")(all)?.scale === 150 ? true : undefined));
		await page.reload();
		await reaches(page, "connected");
		await hears((all) => (control("resize")(all)?.scale === 150 ? true : undefined));
	});
});
