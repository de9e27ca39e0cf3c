// What the tests of the viewer share: a browser, a fake node and a fake peer of it, anew for each test.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { SAMPLE_BYTES } from "../src/input/wire";
import { FakeNode } from "./fake-node";
import { FakePeer, type Heard } from "./fake-peer";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

let browser: Browser;
/** What the browser would leave in the folder for temporary files goes there. */
let scratch: string;
let nodeSide: BrowserContext;
export let node: FakeNode;
export let peer: FakePeer;
export let context: BrowserContext;
let contexts: BrowserContext[] = [];
let complaints: string[];

beforeAll(async () => {
	if (!existsSync(CHROMIUM))
		throw new Error(`there is no ${CHROMIUM}: install chromium, or say where it is by CHROMIUM`);
	scratch = await mkdtemp(join(tmpdir(), "easel-browser-"));
	browser = await chromium.launch({
		executablePath: CHROMIUM,
		env: { ...(process.env as Record<string, string>), TMPDIR: scratch },
		args: [
			"--headless=new",
			"--no-sandbox",
			"--disable-gpu",
			"--disable-quic",
			"--allow-loopback-in-peer-connection",
			"--disable-features=WebRtcHideLocalIpsWithMdns",
		],
	});
});
afterAll(async () => {
	await browser.close();
	await rm(scratch, { recursive: true, force: true, maxRetries: 50 });
});

beforeEach(async () => {
	node = await FakeNode.start();
	nodeSide = await browser.newContext();
	peer = await FakePeer.start(nodeSide, node.origin);
	node.whep = (offer) => peer.answer(offer);
	complaints = [];
});
afterEach(async () => {
	await Promise.all(contexts.map((c) => c.close()));
	contexts = [];
	await nodeSide.close();
	await node.close();
	expect(complaints).toEqual([]);
});

/** Opens the viewer in a context of its own; `before` runs in the page before anything of it. */
export async function open(url: string, options: BrowserContextOptions = {}, before?: () => void): Promise<Page> {
	context = await browser.newContext({ viewport: { width: 800, height: 600 }, ...options });
	contexts.push(context);
	if (before) await context.addInitScript(before);
	const page = await context.newPage();
	page.on("pageerror", (e) => complaints.push(String(e)));
	page.on("console", (m) => {
		if (/Content Security Policy|Uncaught/.test(m.text())) complaints.push(m.text());
	});
	await page.goto(url);
	return page;
}

export const reaches = (page: Page, state: string, timeout = 30_000) =>
	page.waitForFunction((s) => window.easel?.state === s, state, { timeout });

export async function connected(query = "", options: BrowserContextOptions = {}, before?: () => void): Promise<Page> {
	const page = await open(node.url(query), options, before);
	await reaches(page, "connected");
	return page;
}

/** A peer for somebody else than the owner. */
export const anotherPeer = (): Promise<FakePeer> => FakePeer.start(nodeSide, node.origin);

/** Waits until the peer has heard something that fits. */
export async function hears<T>(fits: (all: Heard[]) => T | undefined, timeout = 30_000, by = peer): Promise<T> {
	const until = Date.now() + timeout;
	for (;;) {
		const all = await by.heard();
		const found = fits(all);
		if (found !== undefined) return found;
		if (Date.now() > until) throw new Error(`never heard; heard ${JSON.stringify(all.slice(-20))}`);
		await new Promise((r) => setTimeout(r, 20));
	}
}

export const control = (t: string) => (all: Heard[]) =>
	all
		.filter((h) => h.channel === "control")
		.map((h) => JSON.parse(h.data) as Record<string, unknown>)
		.filter((m) => m.t === t)
		.at(-1);
export const input = (kind: number) => (all: Heard[]) =>
	all.filter((h) => h.channel === "input" && Number.parseInt(h.data.slice(0, 2), 16) === kind).map(view);
export const view = (h: Heard): DataView => new DataView(Uint8Array.from(Buffer.from(h.data, "hex")).buffer);
export const atLeast =
	<T>(n: number, f: (all: Heard[]) => T[]) =>
	(all: Heard[]): T[] | undefined => {
		const found = f(all);
		return found.length >= n ? found : undefined;
	};

/** The last sample of a BUTTON message, in remote pixels. */
export function place(v: DataView): { x: number; y: number; pressure: number } {
	const at = 14 + (v.getUint16(8, true) - 1) * SAMPLE_BYTES;
	return {
		x: v.getInt32(at, true) / 256,
		y: v.getInt32(at + 4, true) / 256,
		pressure: v.getUint16(at + 8, true) / 65535,
	};
}

export type Point = { x: number; y: number };

/**
 * Fingers go down one after the other, move together and lift; `paths` has a finger's places each. All is sent at once and says when it
 * was, because a busy machine would make a long press of what it waits for.
 */
export async function touch(page: Page, ...paths: Point[][]): Promise<void> {
	const cdp = await context.newCDPSession(page);
	const points = (n: number, step: number) => paths.slice(0, n).map((p, id) => ({ id, ...(p[step] as Point) }));
	const began = Date.now() / 1000;
	const sent: Promise<unknown>[] = [];
	const send = (type: "touchStart" | "touchMove" | "touchEnd", touchPoints: ReturnType<typeof points>): void => {
		const timestamp = began + sent.length * 0.01;
		sent.push(cdp.send("Input.dispatchTouchEvent", { type, touchPoints, timestamp }));
	};
	for (let n = 1; n <= paths.length; n++) send("touchStart", points(n, 0));
	for (let step = 1; step < (paths[0]?.length ?? 0); step++) send("touchMove", points(paths.length, step));
	send("touchEnd", []);
	await Promise.all(sent);
	await cdp.detach();
}
export const line = (from: Point, to: Point, steps: number): Point[] =>
	Array.from({ length: steps + 1 }, (_, i) => ({
		x: from.x + ((to.x - from.x) * i) / steps,
		y: from.y + ((to.y - from.y) * i) / steps,
	}));
export const keys = (all: Heard[]): string[] =>
	input(4)(all).map((v) => `${v.getUint8(1) ? "+" : "-"}${v.getUint32(8, true).toString(16)}`);
