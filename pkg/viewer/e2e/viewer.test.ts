import type { Page } from "playwright-core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SESSION } from "./fake-node";
import { FakePortal } from "./fake-portal";
import { atLeast, connected, control, hears, input, node, open, peer, place, reaches } from "./setup";

describe("signing in", () => {
	it("trades the token for the cookie, takes it out of the address, and waits for the session", async () => {
		node.state = "reserved";
		const page = await open(node.url("?scale=1", "secret.token"));
		await reaches(page, "starting");
		expect(page.url()).toBe(`${node.origin}/s/${SESSION}?scale=1`);
		await page.getByText("A place is reserved").waitFor();
		node.become("starting");
		await page.getByText("Starting GIMP").waitFor();
		node.become("ready");
		await reaches(page, "connected");
		await page.reload();
		await reaches(page, "connected");
	});

	it("sends who is not signed in to the portal, for this very session", async () => {
		const page = await open(`${node.origin}/s/${SESSION}#token=used`);
		await reaches(page, "signed-out");
		const link = page.getByRole("link", { name: "Sign in at the portal" });
		expect(await link.getAttribute("href")).toBe(`https://portal.example/sessions/${SESSION}/open`);
	});

	it("shows why a session failed", async () => {
		node.become("failed", "The container's image is missing.");
		const page = await open(node.url());
		await reaches(page, "failed");
		await page.getByText("The container's image is missing.").waitFor();
	});
});

describe("the picture", () => {
	it("keeps its place while its video gets smaller, and follows the screen's size though the video has another", async () => {
		const page = await connected("?scale=1&chrome=0&size=1280x720");
		const box = () => page.locator("#screen video").boundingBox();
		const laid = (w: number, h: number) =>
			page.waitForFunction(
				([w, h]) => {
					const { width, height } = document.querySelector("video")?.getBoundingClientRect() ?? {};
					return width === w && height === h;
				},
				[w, h],
			);
		const shows = (w: number) => page.waitForFunction((w) => document.querySelector("video")?.videoWidth === w, w);
		await peer.size(1280, 720);
		await peer.say({ t: "screen", w: 1280, h: 720 });
		await shows(1280);
		await laid(1280, 720);
		// A step of resolution: the frame comes first, then the word of it.
		await peer.size(640, 360);
		await shows(640);
		expect(await box()).toEqual({ x: 0, y: 0, width: 1280, height: 720 });
		await peer.say({ t: "screen", w: 1280, h: 720, video: { w: 640, h: 360 } });
		await page.mouse.move(300, 200);
		await page.mouse.down();
		const [press] = await hears(atLeast(1, input(2)));
		expect(place(press as DataView)).toMatchObject({ x: 300, y: 200 });
		await page.mouse.up();
		// Another screen, with a video that has other sides than it.
		await peer.say({ t: "screen", w: 960, h: 600, video: { w: 480, h: 300 } });
		await peer.size(480, 300);
		await laid(960, 600);
		await peer.say({ t: "screen", w: 960, h: 600 });
		await peer.size(960, 600);
		await shows(960);
		expect(await box()).toEqual({ x: 0, y: 0, width: 960, height: 600 });
	});

	it("is shown, confirmed, and measured", async () => {
		const page = await connected("?scale=1&chrome=0&size=1920x1080");
		await hears(control("seen"));
		expect(await hears(control("resize"))).toMatchObject({ w: 1920, h: 1080, scale: 100 });
		await peer.size(1920, 1080);
		await peer.say({ t: "screen", w: 1920, h: 1080 });
		await page.waitForFunction(() => document.querySelector("video")?.videoWidth === 1920);
		const box = await page.locator("#screen video").boundingBox();
		expect(box).toEqual({ x: 0, y: 0, width: 1920, height: 1080 });
		expect(
			await page.locator("#strip, #handle, #overlay, #fallback, #toast, #panel").filter({ visible: true }).count(),
		).toBe(0);
		expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
		await page.waitForFunction(() => window.easel.stats().bitrate > 0 && window.easel.stats().rtt !== null);
		const stats = await page.evaluate(() => window.easel.stats());
		expect(stats).toMatchObject({ state: "connected", transport: "webrtc", path: "direct", width: 1920, height: 1080 });
		expect(stats.frames).toBeGreaterThan(0);
		expect(stats.codec).not.toBe("");
		await peer.say({ t: "stats", encoder: "x264", stages: { encode: { p50: 7.3, p99: 9 } } });
		await page.waitForFunction(() => window.easel.stats().encoder === "x264");
		expect(stats).toMatchObject({ exact: false, tiles: 0 });
		expect((await page.evaluate(() => window.easel.stats())).stages.encode).toEqual({ p50: 7.3, p99: 9 });
	});

	it.each([1, 1.25, 1.5, 2])(
		"follows the window, and clicks land right, at a scale of %d",
		async (deviceScaleFactor) => {
			const page = await connected("?chrome=0", { deviceScaleFactor, viewport: { width: 801, height: 600 } });
			const asked = (await hears(control("resize"))) as { w: number; h: number; scale: number };
			const even = (v: number) => Math.floor(v / 2) * 2;
			expect(asked).toMatchObject({
				w: even(801 * deviceScaleFactor),
				h: even(600 * deviceScaleFactor),
				scale: deviceScaleFactor * 100,
			});
			await peer.size(asked.w, asked.h);
			await peer.say({ t: "screen", w: asked.w, h: asked.h });
			await page.waitForFunction((w) => window.easel.stats().width === w, asked.w);
			await peer.forget();
			for (const [x, y] of [
				[0, 0],
				[123, 456],
				[400, 300],
				[700, 599],
			] as const) {
				await page.mouse.click(x, y);
				const [press] = await hears(atLeast(1, (all) => input(2)(all).filter((v) => v.getUint8(3) === 1)));
				expect(place(press as DataView)).toMatchObject({ x: x * deviceScaleFactor, y: y * deviceScaleFactor });
				await hears(atLeast(1, (all) => input(2)(all).filter((v) => v.getUint8(3) === 0)));
				await peer.forget();
			}
			await page.setViewportSize({ width: 640, height: 480 });
			await hears((all) => {
				const m = control("resize")(all);
				return m?.w === even(640 * deviceScaleFactor) && m.h === even(480 * deviceScaleFactor) ? m : undefined;
			});
		},
	);

	it("wears the cursor that the node sends", async () => {
		const page = await connected();
		const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
		await peer.say({ t: "cursor", id: 1, x: 3, w: 16, h: 16, png });
		const cursor = () => page.evaluate(() => getComputedStyle(document.querySelector("#screen") as Element).cursor);
		await expect.poll(cursor).toMatch(/^url\("blob:.*"\) 3 0, default$/);
		await peer.say({ t: "cursor", id: 2, png: "" });
		await expect.poll(cursor).toBe("none");
		await peer.say({ t: "cursor", id: 1 });
		await expect.poll(cursor).toContain("blob:");
	});
});

/** The colour that the artist sees at a place of the page. */
async function shownAt(page: Page, x: number, y: number): Promise<number[]> {
	const png = await page.screenshot({ clip: { x, y, width: 8, height: 8 } });
	return page.evaluate(async (bytes) => {
		const picture = await createImageBitmap(new Blob([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))]));
		const context = new OffscreenCanvas(8, 8).getContext("2d") as OffscreenCanvasRenderingContext2D;
		context.drawImage(picture, 0, 0);
		return [...context.getImageData(4, 4, 1, 1).data.slice(0, 3)];
	}, png.toString("base64"));
}

describe("what happens to a session", () => {
	it("comes back by itself when the stream dies", async () => {
		const page = await connected();
		await peer.drop();
		await page.waitForFunction(() => window.easel.stats().reconnects === 1 && window.easel.state === "connected");
	});

	it("comes back at once when the node says that its streamer is another, though nothing broke off", async () => {
		const page = await connected();
		await expect.poll(() => node.requests.filter((r) => r.endsWith("/streamer")).length, { timeout: 30_000 }).toBe(2);
		expect(node.offered).toHaveLength(1);
		node.restartStreamer();
		await expect.poll(() => node.offered.length, { timeout: 30_000 }).toBe(2);
		await reaches(page, "connected");
	});

	it("keeps the last picture in sight until it comes back", async () => {
		const page = await connected();
		await page.waitForFunction(() => window.easel.stats().frames > 0);
		const blue = async () => (await shownAt(page, 200, 200)).every((v, i) => Math.abs(v - (i === 2 ? 255 : 0)) < 40);
		await expect.poll(blue).toBe(true);
		const whep = node.whep;
		node.whep = async () => ({ status: 503 });
		await peer.drop();
		await reaches(page, "reconnecting");
		await page.waitForFunction(() => window.easel.stats().path === "");
		expect(await blue()).toBe(true);
		node.whep = whep;
		await reaches(page, "connected");
		expect(await page.locator("#screen > .still").count()).toBe(0);
		await expect.poll(blue).toBe(true);
	});

	it("waits for a node that is away, and says so", async () => {
		const page = await connected();
		const whep = node.whep;
		node.whep = async () => ({ status: 503 });
		await peer.drop();
		await reaches(page, "reconnecting");
		await page.getByText("The stream is not there yet.").waitFor();
		node.whep = whep;
		await reaches(page, "connected");
	});

	it("gives way to another window, and takes the session back when asked", async () => {
		const page = await connected();
		await peer.say({ t: "replaced" });
		await reaches(page, "replaced");
		await new Promise((r) => setTimeout(r, 1500));
		expect(await page.evaluate(() => window.easel.state)).toBe("replaced");
		await page.getByRole("button", { name: "Take it back" }).click();
		await reaches(page, "connected");
	});

	it("tells of GIMP's restart and of the session's end", async () => {
		const page = await connected();
		await peer.say({ t: "gimp", state: "running", restarts: 0 });
		await peer.say({ t: "gimp", state: "running", restarts: 1 });
		await page.getByText("GIMP was restarted").waitFor();
		node.become("stopped", "the operator stopped it");
		await peer.say({ t: "bye", reason: "the session ends" });
		await reaches(page, "ended");
		await page.getByText("the operator stopped it").waitFor();
		expect(await page.getByRole("link", { name: "To my sessions" }).getAttribute("href")).toBe(
			"https://portal.example/",
		);
	});

	it("hangs up when the page goes away", async () => {
		const page = await connected();
		await page.close();
		await expect.poll(() => node.requests.some((r) => r.startsWith(`DELETE /s/${SESSION}/whep/`))).toBe(true);
	});
});

describe("what the node has to say", () => {
	const notice = {
		text: "Save your work: this session is going to end (a new kernel).",
		until: "2026-01-02T03:04:05Z",
	};

	it("is shown with the time that is left, and taken back", async () => {
		const page = await connected();
		await peer.say({ t: "notice", ...notice, left_ms: 90_000 });
		await page.getByText("a new kernel").waitFor();
		await page.getByText(/^1:[0-2]\d$/).waitFor();
		await peer.say({ t: "notice", text: "", left_ms: 0 });
		await page.locator("#notice").waitFor({ state: "hidden" });
	});

	it("is shown to who comes by VNC or again", async () => {
		node.notice = { ...notice, left_ms: 700_000 };
		const page = await open(node.url("?transport=vnc"));
		await reaches(page, "connected");
		await page.getByText("12 min").waitFor();
	});
});

describe("a node that is lost", () => {
	let portal: FakePortal;
	beforeEach(async () => {
		portal = await FakePortal.start();
		node.portal = portal.origin;
	});
	afterEach(() => portal.close());

	it("leads to the portal, which knows what became of the session", async () => {
		const page = await connected();
		await Promise.all([node.vanish(), peer.drop()]);
		const began = Date.now();
		await page.waitForURL(`${portal.origin}/sessions/${SESSION}/open`, { timeout: 30_000 });
		expect(Date.now() - began).toBeGreaterThan(6000);
		expect(portal.opened).toHaveLength(1);
	});

	it("that answers again first goes on as it was", async () => {
		const page = await connected();
		await Promise.all([node.vanish(), peer.drop()]);
		await reaches(page, "reconnecting");
		await node.return();
		await reaches(page, "connected");
		expect(portal.opened).toEqual([]);
	});

	it("is waited for where the portal does not answer either: it is the artist's own network that is gone", async () => {
		const page = await connected();
		portal.up = false;
		await Promise.all([node.vanish(), peer.drop()]);
		await page.waitForRequest(`${portal.origin}/ping`, { timeout: 30_000 });
		await page.waitForRequest(`${portal.origin}/ping`, { timeout: 30_000 });
		await node.return();
		await reaches(page, "connected");
		expect(page.url()).toContain(node.origin);
	});
});

describe("the fallback", () => {
	const red = (page: Page) =>
		page.waitForFunction(() => {
			const canvas = document.querySelector<HTMLCanvasElement>("#vnc canvas");
			const d = canvas && canvas.width > 1 ? canvas.getContext("2d")?.getImageData(9, 9, 1, 1).data : null;
			return d?.[0] === 255 && d[1] === 0 && d[2] === 0;
		});

	it("is VNC when the network lets no stream through, and said so", async () => {
		node.whep = (offer) => peer.answer(offer, true);
		const page = await open(node.url());
		await reaches(page, "connected");
		await page.getByText("Using the slower fallback (VNC): No direct stream within 5 seconds.").waitFor();
		await red(page);
		const stats = await page.evaluate(() => window.easel.stats());
		expect(stats).toMatchObject({ path: "vnc", transport: "vnc", width: 640, height: 480 });
		expect(stats.fallback).toContain("5 seconds");
		expect(node.screens[0]).toEqual({ width: 800, height: 600, scale: 100 });
		// The window's shape is the remote screen's: the picture fills it.
		const box = await page.locator("#vnc canvas").boundingBox();
		expect(Math.round(box?.width ?? 0)).toBe(800);
		node.whep = (offer) => peer.answer(offer);
		await page.getByRole("button", { name: "Try again" }).click();
		await page.waitForFunction(() => window.easel.stats().path === "direct");
		expect(await page.locator("#fallback").isVisible()).toBe(false);
		expect(await page.locator("#vnc").isVisible()).toBe(false);
	});

	it("is VNC in a browser without WebRTC", async () => {
		const page = await open(node.url(), {}, () => Reflect.deleteProperty(window, "RTCPeerConnection"));
		await reaches(page, "connected");
		await page.getByText("This browser has WebRTC turned off.").waitFor();
		await red(page);
	});

	it("is VNC when the address asks for it, unscaled, and comes back when cut", async () => {
		const page = await open(node.url("?transport=vnc&scale=1&chrome=0"));
		await reaches(page, "connected");
		await red(page);
		expect(await page.locator("#vnc canvas").boundingBox()).toEqual({ x: 0, y: 0, width: 640, height: 480 });
		expect(node.requests.some((r) => r.endsWith("/whep"))).toBe(false);
		node.cutVnc();
		await page.waitForFunction(() => window.easel.stats().reconnects === 1);
		await red(page);
	});
});
