import { readFile } from "node:fs/promises";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { FakeEntry } from "./fake-files";
import { FakeNode } from "./fake-node";
import { tools } from "./strip";

let browser: Browser;
let context: BrowserContext;
let node: FakeNode;

beforeAll(async () => {
	const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
	browser = await chromium.launch({ executablePath, args: ["--headless=new", "--no-sandbox", "--disable-gpu"] });
});
afterAll(() => browser.close());
beforeEach(async () => {
	node = await FakeNode.start();
});
afterEach(async () => {
	await context?.close();
	await node.close();
});

/** The viewer with a picture by VNC, which needs nobody who answers offers. */
async function connected(): Promise<Page> {
	context = await browser.newContext({ viewport: { width: 900, height: 700 } });
	const page = await context.newPage();
	await page.goto(node.url("?transport=vnc"));
	await page.waitForFunction(() => window.easel?.state === "connected");
	return page;
}

/** Drags files over the page: each is a name and how many bytes it has. */
function drag(page: Page, kind: "dragenter" | "dragleave" | "drop", files: [string, number][]): Promise<void> {
	return page.evaluate(
		([kind, files]) => {
			const dataTransfer = new DataTransfer();
			for (const [name, size] of files) dataTransfer.items.add(new File([new Uint8Array(size).fill(7)], name));
			const on = document.querySelector("#screen") as Element;
			on.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
		},
		[kind, files] as const,
	);
}

const cat: FakeEntry = { id: "Y2F0", name: "猫.png", kind: "file", size: 1700, modified: Date.now() };

describe("a drop", () => {
	it("shows where it goes, and what comes of it", async () => {
		const page = await connected();
		await drag(page, "dragenter", [["a.png", 1]]);
		await page.getByText("Drop to open in GIMP").waitFor();
		await drag(page, "dragleave", [["a.png", 1]]);
		await page.locator("#drop").waitFor({ state: "hidden" });
		await drag(page, "drop", [["לציור \u202E.png", 5]]);
		await page.locator("#transfers").getByText("Opened in GIMP").waitFor();
		expect(node.files.finished).toEqual({ name: "לציור \u202E.png", open: true });
		expect(Buffer.concat(node.files.arrived)).toEqual(Buffer.alloc(5, 7));
	});

	it("goes on by itself when the connection is lost in it", async () => {
		const page = await connected();
		node.files.cuts = 2;
		await drag(page, "drop", [["big.xcf", (8 << 20) + 100]]);
		await page.locator("#transfers").getByText("Opened in GIMP").waitFor();
		expect(Buffer.concat(node.files.arrived).equals(Buffer.alloc((8 << 20) + 100, 7))).toBe(true);
	});

	it("can be cancelled, and leaves nothing", async () => {
		const page = await connected();
		let open = (): void => {};
		node.files.gate = new Promise((resolve) => {
			open = resolve;
		});
		await drag(page, "drop", [["a.png", 100]]);
		await page.getByRole("button", { name: "Cancel a.png" }).click();
		await page.locator("#transfers").waitFor({ state: "hidden" });
		await expect.poll(() => node.files.cancelled).toBe(1);
		open();
	});

	it("says what the node says: too large, no room, not allowed", async () => {
		node.files.allowed.most = 1000;
		node.files.refusal = { status: 507, detail: "The home is full." };
		const page = await connected();
		await drag(page, "drop", [["large.png", 2000]]);
		await page.getByText("It has 2.0 kB; this node takes files of up to 1.0 kB.").waitFor();
		await drag(page, "drop", [["small.png", 10]]);
		await page.locator("#transfers").getByText("The home is full.").waitFor();
		node.files.allowed.in = false;
		const other = await connected();
		await drag(other, "dragenter", [["a.png", 1]]);
		await other.locator("#drop").getByText("This node takes no files from you").waitFor();
	});
});

describe("the session's files", () => {
	it("are listed by folder and by search, and downloaded under their names", async () => {
		node.files.folders = {
			"": [{ id: "Rm9s", name: "Folder", kind: "folder", size: 0, modified: 1 }, cat],
			Rm9s: [{ id: "ZG9n", name: "dog.png", kind: "file", size: 5, modified: 1 }],
		};
		node.files.content.Y2F0 = Buffer.alloc(1700, 3);
		const page = await connected();
		await tools(page);
		await page.locator("#files").click();
		const names = () => page.locator("#files-list bdi").allTextContents();
		await expect.poll(names).toEqual(["Folder", "猫.png"]);
		await page.getByRole("button", { name: "Open Folder" }).click();
		await expect.poll(names).toEqual(["dog.png"]);
		await page.getByRole("button", { name: "Home" }).click();
		await page.getByRole("searchbox").fill("猫");
		await expect.poll(names).toEqual(["猫.png"]);
		const [download] = await Promise.all([
			page.waitForEvent("download"),
			page.getByRole("button", { name: "Download 猫.png" }).click(),
		]);
		expect(download.suggestedFilename()).toBe("猫.png");
		expect(await readFile(await download.path())).toEqual(Buffer.alloc(1700, 3));
		await page.getByRole("searchbox").fill("nothing");
		await page.getByText("No file is called so.").waitFor();
		await page.getByRole("button", { name: "Close" }).click();
		await expect.poll(() => page.evaluate(() => document.activeElement?.closest("#files-dialog") ?? null)).toBe(null);
	});

	it("that are gone are said to be, and the page stays", async () => {
		node.files.folders = { "": [cat] };
		const page = await connected();
		await tools(page);
		await page.locator("#files").click();
		await page.getByRole("button", { name: "Download 猫.png" }).click();
		await expect.poll(() => page.locator("#toast").textContent()).toBe("猫.png: The file is gone.");
		expect(await page.evaluate(() => window.easel.state)).toBe("connected");
	});

	it("are offered when GIMP saves them; a download that breaks off goes on where it was", async () => {
		const all = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
		node.files.content.Y2F0 = all;
		const page = await connected();
		await expect.poll(() => node.requests.filter((r) => r.endsWith("/files/saved")).length).toBe(2);
		node.files.save(cat);
		await page.locator("#saved").getByText("猫.png").waitFor();
		await page.locator("#saved").getByText("1.7 kB").waitFor();
		node.files.save({ ...cat, id: "ZG9n", name: "dog.png" });
		await page.locator("#saved").getByText("and 1 more").waitFor();
		node.files.save({ ...cat, size: 2000 });
		await page.locator("#saved").getByText("2.0 kB").waitFor();
		node.files.cuts = 1;
		const [download] = await Promise.all([
			page.waitForEvent("download"),
			page.locator("#saved").getByRole("button", { name: "Download" }).click(),
		]);
		expect((await readFile(await download.path())).equals(all)).toBe(true);
		expect(node.files.ranges[0]).toBeUndefined();
		expect(node.files.ranges[1]).toMatch(/^bytes=\d+-/);
		await page.locator("#saved").waitFor({ state: "hidden" });
	});

	it("are not offered where none may leave", async () => {
		node.files.allowed.out = false;
		const page = await connected();
		expect(await page.locator("#files").textContent()).toContain("Upload");
		await tools(page);
		const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.locator("#files").click()]);
		await chooser.setFiles({ name: "chosen.png", mimeType: "image/png", buffer: Buffer.alloc(3, 7) });
		await page.locator("#transfers").getByText("chosen.png").waitFor();
		await drag(page, "drop", [["a.png", 5]]);
		await expect.poll(() => page.locator("#transfers").getByText("Opened in GIMP").count()).toBe(2);
		expect(node.requests.some((r) => r.endsWith("/files/saved"))).toBe(false);
	});
});
