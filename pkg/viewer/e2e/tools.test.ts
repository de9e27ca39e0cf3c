import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { SESSION } from "./fake-node";
import { connected, control, hears, input, keys, node, peer, reaches } from "./setup";
import { tools } from "./strip";

describe("tools", () => {
	it("are reached and left by keyboard, and end the session only when sure", async () => {
		const page = await connected();
		await page.keyboard.down("Control");
		await page.keyboard.down("Alt");
		await page.keyboard.down("Shift");
		await page.keyboard.up("Shift");
		await page.keyboard.up("Alt");
		await page.keyboard.up("Control");
		const focused = () => page.evaluate(() => document.activeElement?.id);
		expect(await focused()).toBe("fullscreen");
		for (const [key, tool] of [
			["ArrowLeft", "end"],
			["ArrowRight", "fullscreen"],
			["ArrowRight", "second"],
			["ArrowRight", "interface"],
			["ArrowRight", "quality"],
			["End", "end"],
			["Home", "fullscreen"],
		] as const) {
			await page.keyboard.press(key);
			expect(await focused()).toBe(tool);
		}
		await page.keyboard.press("Escape");
		expect(await focused()).toBe("keys");
		await tools(page);
		await page.getByRole("button", { name: "Stats" }).click();
		await expect.poll(() => page.locator("#overlay").textContent()).toContain("direct");
		await page.locator("#quality").selectOption("sharp");
		expect(await hears(control("quality"))).toMatchObject({ value: "sharp" });
		await page.getByRole("button", { name: "End session" }).click();
		await page.getByRole("button", { name: "Go on painting" }).click();
		expect(node.requests).not.toContain(`DELETE /s/${SESSION}`);
		await tools(page);
		await page.getByRole("button", { name: "End session" }).click();
		await page.getByRole("dialog").getByRole("button", { name: "End session" }).click();
		await reaches(page, "ended");
		expect(node.requests).toContain(`DELETE /s/${SESSION}`);
	});

	it("go when the artist goes on painting", async () => {
		const page = await connected();
		await page.locator("#handle").click();
		await page.locator("#strip").waitFor();
		await page.mouse.click(300, 500);
		expect(await page.locator("#strip").isVisible()).toBe(false);
	});

	it("leave the keyboard to GIMP where a pointer uses them", async () => {
		const page = await connected();
		const focused = () => page.evaluate(() => document.activeElement?.id);
		await page.locator("#handle").click();
		expect(await focused()).toBe("keys");
		for (const tool of ["ink", "figures", "capture"]) {
			await page.locator(`#${tool}`).click();
			expect(await focused()).toBe("keys");
		}
		const quality = page.locator("#quality");
		await quality.focus();
		await quality.press("ArrowDown");
		expect(await focused()).toBe("quality");
		await quality.dispatchEvent("pointerdown");
		await quality.selectOption("fast");
		expect(await focused()).toBe("keys");
		await page.keyboard.press("t");
		await expect.poll(async () => keys(await peer.heard())).toContain("+74");
	});

	it("stay where they are while the picture is exact and not", async () => {
		const page = await connected();
		await tools(page);
		const places = (is: string) =>
			page.evaluate((is) => {
				const sure = document.getElementById("sure") as HTMLElement;
				sure.hidden = false;
				sure.dataset.is = is;
				return [...document.querySelectorAll("#strip button")].map((b) => b.getBoundingClientRect().x);
			}, is);
		expect(await places("no")).toEqual(await places("yes"));
	});
});

const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

describe("what lies over the picture", () => {
	/** Everything that may ever be shown at once, and the places where two of them meet or one leaves the window. */
	const faults = (page: Page) =>
		page.evaluate(() => {
			const all = [...document.querySelectorAll<HTMLElement>("#upper > *, #lower > *")];
			for (const e of all) {
				e.hidden = false;
				for (const part of e.querySelectorAll<HTMLElement>("[hidden]")) part.hidden = false;
				for (const text of e.querySelectorAll("span:empty, bdi:empty")) text.textContent = "Some words of the node's.";
				if (e.matches("ul:empty"))
					e.innerHTML = "<li><bdi>picture.png</bdi><progress></progress><span>1 MB</span></li>";
				if (e.textContent?.trim() === "")
					e.textContent = "A sentence of the viewer's, which may be a long one: so long that it takes two lines.";
			}
			const found: string[] = [];
			const boxes = all.map((e) => ({ id: e.id, box: e.getBoundingClientRect() }));
			for (const { id, box } of boxes) {
				if (box.left < 0 || box.right > innerWidth || box.top < 0 || box.bottom > innerHeight)
					found.push(`${id} leaves the window`);
				if (box.width === 0 || box.height === 0) found.push(`${id} is not there`);
			}
			for (const a of boxes)
				for (const b of boxes)
					if (
						a.id < b.id &&
						a.box.left < b.box.right &&
						b.box.left < a.box.right &&
						a.box.top < b.box.bottom &&
						b.box.top < a.box.bottom
					)
						found.push(`${a.id} meets ${b.id}`);
			return found;
		});

	it.each([
		["a large window", { viewport: { width: 1920, height: 1080 } }],
		["a laptop's", { viewport: { width: 1366, height: 768 } }],
	])("covers nothing else of it in %s, whatever there is at once", async (_, options) => {
		const page = await connected("", options);
		expect(await faults(page)).toEqual([]);
	});

	it("covers nothing else of its edge on a phone, where each tool has its name in sight", async () => {
		const page = await connected("", phone);
		await tools(page);
		const names = await page.locator("#strip button:visible > span").evaluateAll((all) =>
			all.map((e) => ({
				text: e.textContent,
				seen: e.getBoundingClientRect().width > 8,
				cut: e.scrollWidth > (e.parentElement?.clientWidth ?? 0),
			})),
		);
		expect(names.map((n) => n.text)).toContain("Full screen");
		expect(names.filter((n) => !n.seen || n.cut)).toEqual([]);
		const { width } = (await page.locator("#strip").boundingBox()) ?? { width: 0 };
		expect(width).toBeLessThanOrEqual(390);
	});
});

describe("leaving the page", () => {
	it("is asked about where Ctrl+W was meant for GIMP, and else never", async () => {
		const page = await connected();
		await page.mouse.click(300, 300);
		await page.keyboard.down("Control");
		await hears((h) => keys(h)[0]);
		const asked = page.waitForEvent("dialog", { timeout: 30_000 });
		await page.close({ runBeforeUnload: true });
		const dialog = await asked;
		expect(dialog.type()).toBe("beforeunload");
		await dialog.dismiss();
		await page.getByText("That key is the browser's.").waitFor();
		expect(await page.evaluate(() => window.easel.state)).toBe("connected");
		await hears((h) => input(6)(h)[0]); // the Ctrl is not held in GIMP
		await page.keyboard.up("Control");
		const closed = page.waitForEvent("close", { timeout: 30_000 });
		await page.close({ runBeforeUnload: true });
		await closed;
	});
});
