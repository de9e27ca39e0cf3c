import { describe, expect, it } from "vitest";
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
} from "./setup";
import { tools } from "./strip";

const texts = (all: Heard[]): string[] =>
	input(5)(all).map((v) => new TextDecoder().decode(new Uint8Array(v.buffer, 8)));

describe("an input method", () => {
	it("composes in Chromium: what it commits comes once, what is taken back never", async () => {
		const page = await connected();
		await page.locator("#keys").focus();
		const cdp = await context.newCDPSession(page);
		const compose = (text: string) =>
			cdp.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
		for (const [steps, text] of [
			[["n", "に", "にほ", "にほん"], "日本"],
			[["n", "ni", "ni hao"], "你好"],
			[["ㅎ", "하", "한"], "한"],
			[["ㄱ", "그", "글"], "글"],
			[["か", "かん"], ""],
			[["é"], "é"],
		] as const) {
			for (const step of steps) await compose(step);
			if (text === "") await compose("");
			else await cdp.send("Input.insertText", { text });
		}
		await hears((all) => (texts(all).includes("é") ? true : undefined));
		const all = await peer.heard();
		expect(texts(all)).toEqual(["日本", "你好", "한", "글", "é"]);
		expect(keys(all)).toEqual([]);
		expect(await page.locator("#keys").inputValue()).toBe(" ");
	});

	// The order of events differs: Firefox tells the committed text again, after the composition's end.
	it.each(["Chromium", "Firefox"])("commits syllable after syllable in the order of %s's events", async (browser) => {
		const page = await connected();
		await page.locator("#keys").focus();
		await page.evaluate(async (browser) => {
			const field = document.querySelector("#keys") as HTMLTextAreaElement;
			const composition = (type: string, data: string): unknown =>
				field.dispatchEvent(new CompositionEvent(type, { data, bubbles: true }));
			const typed = (data: string, isComposing: boolean): unknown =>
				field.dispatchEvent(
					new InputEvent("input", { data, isComposing, inputType: "insertCompositionText", bubbles: true }),
				);
			const key = (type: string): unknown =>
				field.dispatchEvent(
					new KeyboardEvent(type, { key: "Process", code: "KeyG", keyCode: 229, bubbles: true } as KeyboardEventInit),
				);
			for (const steps of [
				["ㅎ", "하", "한"],
				["ㄱ", "그", "글"],
				["ㅇ", ""],
			]) {
				key("keydown");
				composition("compositionstart", "");
				for (const step of steps) {
					composition("compositionupdate", step);
					field.value = step;
					typed(step, true);
				}
				const last = steps.at(-1) as string;
				composition("compositionend", last);
				if (browser === "Firefox") typed(last, false);
				key("keyup");
				await Promise.resolve();
			}
		}, browser);
		await page.keyboard.press("x");
		await hears((all) => (keys(all).length >= 2 ? true : undefined));
		const all = await peer.heard();
		expect(texts(all)).toEqual(["한", "글"]);
		expect(keys(all)).toEqual(["+78", "-78"]);
		expect(await page.locator("#keys").inputValue()).toBe(" ");
	});

	it("shows what it composes, where the artist pointed last, until that is GIMP's", async () => {
		const page = await connected();
		await page.mouse.click(300, 200);
		const cdp = await context.newCDPSession(page);
		const compose = (text: string) =>
			cdp.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
		const look = () =>
			page.locator("#keys").evaluate((e) => {
				const { x, y, width } = e.getBoundingClientRect();
				return { x, y, width, opacity: getComputedStyle(e).opacity };
			});
		await compose("に");
		await page.locator("#keys[data-composing]").waitFor();
		const one = await look();
		expect(one).toMatchObject({ x: 300, y: 200, opacity: "1" });
		await compose("にほんご");
		await expect.poll(async () => (await look()).width).toBeGreaterThan(2 * one.width);
		await cdp.send("Input.insertText", { text: "日本語" });
		expect(await hears((all) => (texts(all).length > 0 ? texts(all) : undefined))).toEqual(["日本語"]);
		await expect.poll(look).toMatchObject({ width: 1, opacity: "0" });
	});

	it("leaves dead keys to the browser, and AltGr's characters are what they are", async () => {
		const page = await connected();
		await page.locator("#keys").focus();
		const cdp = await context.newCDPSession(page);
		const key = async (key: string, code: string, windowsVirtualKeyCode: number): Promise<void> => {
			for (const type of ["rawKeyDown", "keyUp"] as const)
				await cdp.send("Input.dispatchKeyEvent", { type, key, code, windowsVirtualKeyCode });
		};
		await key("Dead", "BracketLeft", 219);
		await key("ê", "KeyE", 69);
		await cdp.send("Input.dispatchKeyEvent", { type: "rawKeyDown", key: "AltGraph", code: "AltRight" });
		await key("€", "KeyE", 69);
		await cdp.send("Input.dispatchKeyEvent", { type: "keyUp", key: "AltGraph", code: "AltRight" });
		expect(await hears((all) => (keys(all).length >= 6 ? keys(all) : undefined))).toEqual([
			"+ea",
			"-ea",
			"+fe03",
			"+10020ac",
			"-10020ac",
			"-fe03",
		]);
	});
});

describe("keys that browsers keep", () => {
	it("are the session's in full screen when they are captured, by the keyboard lock, and the browser's again after", async () => {
		const page = await open(node.url(""), {}, () => {
			const keyboard = (navigator as unknown as { keyboard: { lock(k?: string[]): Promise<void>; unlock(): void } })
				.keyboard;
			const did: string[] = [];
			Object.assign(window, { did });
			const { lock, unlock } = keyboard;
			keyboard.lock = async (k) => {
				await lock.call(keyboard, k);
				did.push(`lock ${document.fullscreenElement !== null} ${k ?? "all"}`);
			};
			keyboard.unlock = () => {
				unlock.call(keyboard);
				did.push("unlock");
			};
		});
		await reaches(page, "connected");
		const did = () => page.evaluate(() => (window as unknown as { did: string[] }).did);
		await tools(page);
		await page.locator("#capture").click();
		expect(await did()).not.toContain("lock true all");
		await page.locator("#fullscreen").click();
		await expect.poll(did).toContain("lock true all");
		await page.locator("#keys").focus();
		await peer.forget();
		await page.keyboard.press("Escape");
		await page.keyboard.press("F12");
		await page.keyboard.press("Control+r");
		expect(await hears((all) => (keys(all).length >= 8 ? keys(all) : undefined))).toEqual([
			"+ff1b",
			"-ff1b",
			"+ffc9",
			"-ffc9",
			"+ffe3",
			"+72",
			"-72",
			"-ffe3",
		]);
		expect(await page.evaluate(() => document.fullscreenElement !== null)).toBe(true);
		await page.evaluate(() => document.exitFullscreen());
		await expect.poll(async () => (await did()).at(-1)).toBe("unlock");
	});
});

describe("a phone", () => {
	const phone = { viewport: { width: 412, height: 840 }, deviceScaleFactor: 2.5, isMobile: true, hasTouch: true };

	it("has its own keyboard, and the keys that it lacks, all in sight", async () => {
		const page = await connected("", phone);
		expect(await hears(control("resize"))).toMatchObject({ w: 1030, h: 2100 });
		const keyboard = () => page.evaluate(() => document.querySelector<HTMLTextAreaElement>("#keys")?.inputMode);
		expect(await keyboard()).toBe("none");
		await page.locator("#handle").tap();
		await page.locator("#onscreen").tap();
		expect(await keyboard()).toBe("text");
		await peer.forget();
		const bar = page.getByRole("toolbar", { name: "Keys" });
		await page.keyboard.insertText("안녕");
		await bar.getByRole("button", { name: "Enter" }).tap();
		await bar.getByRole("button", { name: "Shift" }).tap();
		await bar.getByRole("button", { name: "Tab" }).tap();
		await hears((all) => (keys(all).length >= 6 ? true : undefined));
		const all = await peer.heard();
		expect(texts(all)).toEqual(["안녕"]);
		expect(keys(all)).toEqual(["+ff0d", "-ff0d", "+ffe1", "+ff09", "-ff09", "-ffe1"]);
		for (const b of await bar.getByRole("button").all()) {
			const box = await b.boundingBox();
			expect(box && box.x >= 0 && box.x + box.width <= phone.viewport.width, (await b.textContent()) ?? "").toBe(true);
		}
		await page.locator("#handle").tap();
		await page.locator("#onscreen").tap();
		expect(await keyboard()).toBe("none");
		expect(await bar.isVisible()).toBe(false);
	});

	it("has them in sight also where its keyboard covers the page, as Safari's does", async () => {
		const page = await connected("", phone);
		await page.locator("#handle").tap();
		await page.locator("#onscreen").tap();
		const seen = () =>
			page.evaluate(() => {
				const bar = document.querySelector("#keybar")?.getBoundingClientRect();
				const v = window.visualViewport;
				return bar && v ? v.offsetTop + v.height - bar.bottom : Number.NaN;
			});
		await expect.poll(seen).toBe(8);
		// The part of the page that is in sight becomes smaller, and the page does not.
		const cdp = await context.newCDPSession(page);
		await cdp.send("Emulation.setPageScaleFactor", { pageScaleFactor: 1.6 });
		await expect.poll(() => page.evaluate(() => (window.visualViewport?.height ?? 0) < innerHeight - 100)).toBe(true);
		await expect.poll(seen).toBe(8);
	});

	it("may be turned while a finger paints, and touched by another one: what the first pressed is lifted where it lifts", async () => {
		const page = await connected("", phone);
		await peer.say({ t: "screen", w: 1030, h: 2100 });
		await peer.forget();
		const cdp = await context.newCDPSession(page);
		const fingers = (type: "touchStart" | "touchMove" | "touchEnd", ...at: [x: number, y: number][]) =>
			cdp.send("Input.dispatchTouchEvent", { type, touchPoints: at.map(([x, y], id) => ({ x, y, id })) });
		await fingers("touchStart", [100, 300]);
		await fingers("touchMove", [120, 300]);
		await fingers("touchMove", [140, 300]);
		await hears(atLeast(1, input(2)));
		await page.setViewportSize({ width: phone.viewport.height, height: phone.viewport.width });
		expect(await hears(control("resize"))).toMatchObject({ w: 2100, h: 1030 });
		await peer.say({ t: "screen", w: 2100, h: 1030 });
		await fingers("touchStart", [140, 300], [400, 300]);
		await fingers("touchMove", [160, 300], [300, 300]);
		await fingers("touchEnd");
		const [press, lift] = await hears(atLeast(2, input(2)));
		expect([press, lift].map((v) => [v?.getUint8(2), v?.getUint8(3)])).toEqual([
			[1, 1],
			[1, 0],
		]);
		const all = await peer.heard();
		expect(input(2)(all).length).toBe(2);
		expect(input(3)(all)).toEqual([]);
		expect(keys(all)).toEqual([]);
	});

	it("moves a pointer by a finger anywhere in trackpad mode: taps click, two fingers' tap is the right button", async () => {
		const page = await connected("", phone);
		await peer.say({ t: "screen", w: 1030, h: 2100 });
		await page.locator("#handle").tap();
		await page.locator("#trackpad").tap();
		await page.locator("#screen .cursor").waitFor();
		await peer.forget();
		await touch(page, line({ x: 60, y: 700 }, { x: 160, y: 700 }, 20));
		await touch(page, [{ x: 300, y: 600 }]);
		const [press] = await hears(atLeast(2, input(2)));
		expect((press as DataView).getUint8(2)).toBe(1);
		const at = place(press as DataView);
		expect(at.x).toBeGreaterThan(1030 / 2 + 200); // a hundred of its pixels are 250 of the screen
		expect(Math.abs(at.y - 1050)).toBeLessThan(2);
		await peer.forget();
		await touch(page, [{ x: 100, y: 500 }], [{ x: 200, y: 500 }]);
		const [right] = await hears(atLeast(2, input(2)));
		expect((right as DataView).getUint8(2)).toBe(3);
		expect(place(right as DataView)).toMatchObject({ x: at.x, y: at.y });
	});
});
