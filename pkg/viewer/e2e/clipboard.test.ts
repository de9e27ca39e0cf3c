import type { Page } from "playwright-core";
import { describe, expect, it, vi } from "vitest";
import type { Heard } from "./fake-peer";
import { atLeast, connected, hears, peer } from "./setup";

describe("the clipboard", () => {
	const clip = (all: Heard[]) => all.filter((h) => h.channel === "clipboard").map((h) => h.data);
	const offers = (all: Heard[]) => clip(all).filter((d) => d.startsWith("01"));
	const OPEN = "0703000000000000";
	/** Open, of a node that numbers fetches and tells what was handed over. */
	const TELLS = "0703030000000000";
	/** A picture of one pixel, as hex. */
	const picture = (page: Page): Promise<string> =>
		page.evaluate(async () => {
			const canvas = new OffscreenCanvas(1, 1);
			canvas.getContext("2d")?.fillRect(0, 0, 1, 1);
			const png = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
			return Array.from(png, (v) => v.toString(16).padStart(2, "0")).join("");
		});

	/** What the artist's clipboard holds. */
	const held = (page: Page): Promise<string> =>
		page.evaluate(async () => {
			const [item] = await navigator.clipboard.read();
			const text = item?.types.includes("text/plain") ? await (await item.getType("text/plain")).text() : "";
			if (!item?.types.includes("image/png")) return text;
			const { width, height } = await createImageBitmap(await item.getType("image/png"));
			return `${text} and ${width}x${height}`;
		});

	async function open(policy = OPEN, before?: () => void): Promise<Page> {
		const page = await connected("", {}, before);
		await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
		// What lies there is offered at once where it may be: what a test hears then is of its own doing.
		await page.evaluate(() => navigator.clipboard.writeText("of before"));
		await peer.send("clipboard", policy);
		if (policy === OPEN || policy === TELLS) await hears((all) => (offers(all).length > 0 ? true : undefined));
		return page;
	}

	/** Another program of the artist's puts a text on the clipboard. */
	async function copyElsewhere(page: Page, text: string): Promise<void> {
		await page.evaluate(async (s) => {
			window.dispatchEvent(new Event("blur"));
			await navigator.clipboard.writeText(s);
		}, text);
	}

	/** What was copied elsewhere stays, whatever the artist does, until they take GIMP's. */
	async function staysUntilTaken(page: Page): Promise<void> {
		await page.keyboard.press("x");
		await hears(atLeast(2, input4));
		expect(await held(page)).toBe("newer");
		await page.getByRole("button", { name: "Take it" }).click();
		await vi.waitFor(async () => expect(await held(page)).toBe("from GIMP"), { timeout: 10_000 });
	}

	/** What waits in the page for a moment or longer waits for as long as this test takes to look. */
	function patient(): void {
		const { setTimeout } = window;
		const slow = (ms = 0): number => (ms >= 300 ? ms * 100 : ms);
		Object.assign(window, { setTimeout: (f: () => void, ms?: number) => setTimeout(f, slow(ms)) });
	}

	it("is on the session's before the key that pastes it, and all that follows waits", async () => {
		const page = await open(OPEN, patient);
		await copyElsewhere(page, "vom Tisch");
		await peer.forget();
		await page.keyboard.press("Control+v");
		await page.mouse.click(300, 200);
		const [offer] = await hears((all) => (offers(all).length > 0 ? offers(all) : undefined));
		expect((await peer.heard()).filter((h) => h.channel === "input").map((h) => h.data.slice(0, 2))).toEqual(["04"]); // Ctrl alone
		const serial = offer?.slice(8) ?? "";
		await peer.send("clipboard", `02010000${serial}`);
		const input = await hears((all) => {
			const found = all.filter((h) => h.channel === "input").map((h) => h.data.slice(0, 4));
			return found.filter((d) => d.startsWith("02")).length >= 2 ? found : undefined;
		});
		expect(input.map((d) => d.slice(0, 2))).toEqual(["04", "04", "04", "04", "02", "02"]);
		await peer.forget();
		await peer.send("clipboard", `03000000${serial}`);
		const data = await hears((all) => (clip(all).length >= 2 ? clip(all) : undefined));
		expect(Buffer.from(data[0]?.slice(16) ?? "", "hex").toString()).toBe("vom Tisch");
		expect(data[1]).toBe(`05000000${serial}`);
		// It is there now: the next paste has nothing to wait for.
		await peer.forget();
		await page.keyboard.press("Control+v");
		await hears(atLeast(4, input4));
		expect(offers(await peer.heard())).toEqual([]);
	});
	const input4 = (all: Heard[]) => all.filter((h) => h.channel === "input" && h.data.startsWith("04"));

	/** The artist pastes a text and types on; the session takes that, as the offer of this serial. */
	async function pasteAndType(): Promise<string> {
		const page = await open(TELLS, patient);
		await copyElsewhere(page, "vom Tisch");
		await peer.forget();
		await page.keyboard.press("Control+v");
		await page.keyboard.press("x");
		const [offer] = await hears((all) => (offers(all).length > 0 ? offers(all) : undefined));
		const serial = offer?.slice(8) ?? "";
		await peer.send("clipboard", `02010000${serial}`);
		return serial;
	}

	it("is in GIMP before what is typed after the key that pastes it", async () => {
		const serial = await pasteAndType();
		await peer.send("clipboard", `03000009${serial}`);
		await hears((all) => (clip(all).includes(`05000009${serial}`) ? true : undefined));
		await hears(atLeast(3, input4));
		expect(input4(await peer.heard()).length).toBe(3); // Ctrl, and V down and up
		await peer.send("clipboard", `0a000000${serial}`);
		await hears(atLeast(6, input4));
	});

	it("holds nothing up for long where GIMP pastes no text, as the node tells by the key's number", async () => {
		await pasteAndType();
		await hears(atLeast(3, input4));
		const key = input4(await peer.heard()).find(
			(h) => h.data.startsWith("0401") && h.data.slice(16, 24) === "76000000",
		);
		await peer.send("clipboard", `0b000000${key?.data.slice(8, 16) ?? ""}`);
		await hears(atLeast(6, input4));
	});

	it("is not read while a button is down: a large picture makes the page stand still", async () => {
		const page = await open(OPEN, () => {
			const read = navigator.clipboard.read.bind(navigator.clipboard);
			Object.assign(window, { reads: 0 });
			navigator.clipboard.read = () => {
				Object.assign(window, { reads: reads() + 1 });
				return read();
			};
			const reads = (): number => (window as unknown as { reads: number }).reads;
		});
		const reads = () => page.evaluate(() => (window as unknown as { reads: number }).reads);
		await page.evaluate(() => window.dispatchEvent(new Event("blur")));
		await page.mouse.move(300, 200);
		await page.mouse.down();
		const before = await reads();
		await page.evaluate(async () => {
			window.dispatchEvent(new Event("focus"));
			// By then it is known whether the page may read.
			await navigator.permissions.query({ name: "clipboard-read" as PermissionName });
			await new Promise((resolve) => setTimeout(resolve, 100));
		});
		expect(await reads()).toBe(before);
		await page.mouse.up();
		await vi.waitFor(async () => expect(await reads()).toBe(before + 1), { timeout: 10_000 });
	});

	it("keeps no key for long when the session does not take it, and says so", async () => {
		const page = await open();
		await copyElsewhere(page, "never taken");
		await peer.forget();
		await page.keyboard.press("Control+v");
		await hears(atLeast(4, input4));
		await page.getByText("This computer's clipboard did not reach GIMP in time.").waitFor();
	});

	it("gets what is copied in GIMP, which is not sent back", async () => {
		const page = await open();
		await peer.forget();
		await peer.send("clipboard", "0105000009000000");
		await hears((all) => (clip(all).includes("0300000009000000") ? true : undefined));
		await peer.send("clipboard", `0400000009000000${Buffer.from("from GIMP").toString("hex")}`);
		await peer.send("clipboard", "0500000009000000");
		await hears((all) => (clip(all).includes("0302000009000000") ? true : undefined));
		await peer.send("clipboard", `0402000009000000${await picture(page)}`);
		await peer.send("clipboard", "0502000009000000");
		await vi.waitFor(async () => expect(await held(page)).toBe("from GIMP and 1x1"), { timeout: 10_000 });
		// The artist looks elsewhere, comes back and pastes: GIMP has it itself.
		await page.evaluate(() => window.dispatchEvent(new Event("blur")));
		await peer.forget();
		await page.keyboard.press("Control+v");
		await hears(atLeast(4, input4));
		expect(offers(await peer.heard())).toEqual([]);
	});

	it("is not put over what the artist has copied elsewhere while it came", async () => {
		const page = await open();
		await peer.forget();
		await peer.send("clipboard", "0101000009000000");
		await hears((all) => (clip(all).includes("0300000009000000") ? true : undefined));
		await copyElsewhere(page, "newer");
		await peer.send("clipboard", `0400000009000000${Buffer.from("from GIMP").toString("hex")}`);
		await peer.send("clipboard", "0500000009000000");
		await page.getByText("not on this computer's clipboard yet").waitFor();
		await page.evaluate(() => window.dispatchEvent(new Event("focus")));
		await staysUntilTaken(page);
	});

	it("is not put over what the artist has copied elsewhere since, but for the asking", async () => {
		const page = await open(OPEN, () => {
			// A browser that wants a gesture of the artist's first.
			const write = navigator.clipboard.write.bind(navigator.clipboard);
			let writes = 0;
			navigator.clipboard.write = (items) => (writes++ === 0 ? Promise.reject(new Error("no gesture")) : write(items));
		});
		await peer.send("clipboard", "0101000009000000");
		await hears((all) => (clip(all).includes("0300000009000000") ? true : undefined));
		await peer.send("clipboard", `0400000009000000${Buffer.from("from GIMP").toString("hex")}`);
		await peer.send("clipboard", "0500000009000000");
		await page.getByText("Click, or press a key, to have it").waitFor();
		await copyElsewhere(page, "newer");
		await page.getByText("not on this computer's clipboard yet").waitFor();
		await peer.forget();
		await staysUntilTaken(page);
	});

	it("leaves a picture that is dear to make in GIMP until the artist wants it", async () => {
		const page = await open();
		await peer.forget();
		await peer.send("clipboard", "0104010007000000");
		await page.getByText("A large picture was copied in GIMP.").waitFor();
		expect(clip(await peer.heard())).toEqual([]);
		await page.getByRole("button", { name: "Take it" }).click();
		await hears((all) => (clip(all).includes("0302000007000000") ? true : undefined));
		await peer.send("clipboard", "0502010007000000");
		await page.locator("#copied").waitFor({ state: "hidden" });
	});

	it("stays where it is when the operator lets nothing cross", async () => {
		const page = await open("0700000000000000");
		await copyElsewhere(page, "stays here");
		await peer.forget();
		await peer.send("clipboard", "0101000003000000");
		await page.keyboard.press("Control+v");
		await hears(atLeast(4, input4));
		expect(clip(await peer.heard())).toEqual([]);
		expect(await page.locator("#clipboard").isHidden()).toBe(true);
	});
});
