// The node's end of WebRTC, in a page of its own: video from a canvas, and a record of what came on the data channels.

import type { BrowserContext, Page } from "playwright-core";
import type { Whep } from "./fake-node";

interface Box {
	pc: RTCPeerConnection | null;
	control: RTCDataChannel | null;
	channels: Record<string, RTCDataChannel>;
	heard: { channel: string; data: string }[];
	/** How far it has taken what this page's hand did. */
	taken: { page: string; rseq: number; sample: number };
	/** It is of a time when pages did not ask. */
	old: boolean;
	paint: (color: string) => void;
	size: (w: number, h: number) => void;
}

export interface Heard {
	channel: string;
	data: string;
}

export class FakePeer {
	private constructor(private readonly page: Page) {}

	static async start(context: BrowserContext, origin: string): Promise<FakePeer> {
		const page = await context.newPage();
		await page.goto(`${origin}/favicon.svg`);
		await page.goto("about:blank");
		await page.evaluate(prepare);
		return new FakePeer(page);
	}

	/** Answers an offer as the streamer does: not trickled. `mute`: an answer that leads nowhere. */
	async answer(offer: string, mute = false): Promise<Whep> {
		const sdp = await this.page.evaluate(accept, offer);
		return { status: 201, sdp: mute ? sdp.replace(/^a=candidate:.*\r\n/gm, "") : sdp };
	}

	/** All that came since the connection began, or since forget(). */
	heard(): Promise<Heard[]> {
		return this.page.evaluate(() => (window as unknown as { box: Box }).box.heard);
	}

	async forget(): Promise<void> {
		await this.page.evaluate(() => (window as unknown as { box: Box }).box.heard.splice(0));
	}

	/** Says something on the control channel, once it is open: the page may show a picture before that. */
	async say(m: unknown): Promise<void> {
		await this.opens("control");
		await this.page.evaluate((text) => (window as unknown as { box: Box }).box.control?.send(text), JSON.stringify(m));
	}

	/** Sends bytes on one of the page's channels. */
	async send(channel: string, hex: string): Promise<void> {
		await this.opens(channel);
		await this.page.evaluate(
			([name, h]) => {
				const bytes = Uint8Array.from((h as string).match(/../g) ?? [], (v) => Number.parseInt(v, 16));
				(window as unknown as { box: Box }).box.channels[name as string]?.send(bytes);
			},
			[channel, hex],
		);
	}

	private async opens(channel: string): Promise<void> {
		const open = (name: string): boolean =>
			(window as unknown as { box: Box }).box.channels[name]?.readyState === "open";
		await this.page.waitForFunction(open, channel, { timeout: 30_000, polling: 50 });
	}

	async paint(color: string): Promise<void> {
		await this.page.evaluate((c) => (window as unknown as { box: Box }).box.paint(c), color);
	}

	async size(w: number, h: number): Promise<void> {
		await this.page.evaluate(
			([w, h]) => (window as unknown as { box: Box }).box.size(w as number, h as number),
			[w, h],
		);
	}

	/** The next connection finds a streamer that knows nothing of the page. `old`: nor of its question. */
	async begin(old = false): Promise<void> {
		await this.page.evaluate((is) => {
			const { box } = window as unknown as { box: Box };
			Object.assign(box, { taken: { page: "", rseq: 0, sample: 0 }, old: is });
		}, old);
	}

	/** Goes away as a killed streamer does, or properly. */
	async drop(): Promise<void> {
		await this.page.evaluate(() => (window as unknown as { box: Box }).box.pc?.close());
	}
}

function prepare(): void {
	const canvas = document.createElement("canvas");
	canvas.width = 800;
	canvas.height = 600;
	const context = canvas.getContext("2d") as CanvasRenderingContext2D;
	let color = "#0000ff";
	let odd = false;
	// A still canvas sends no frames; one changing corner keeps them coming.
	const draw = (): void => {
		context.fillStyle = color;
		context.fillRect(0, 0, canvas.width, canvas.height);
		context.fillStyle = odd ? "#000" : "#fff";
		context.fillRect(canvas.width - 8, canvas.height - 8, 8, 8);
		odd = !odd;
	};
	setInterval(draw, 100);
	draw();
	const box: Box = {
		pc: null,
		control: null,
		channels: {},
		heard: [],
		taken: { page: "", rseq: 0, sample: 0 },
		old: false,
		paint: (c) => {
			color = c;
			draw();
		},
		size: (w, h) => {
			canvas.width = w;
			canvas.height = h;
			draw();
		},
	};
	Object.assign(window, { box, stream: canvas.captureStream(30) });
}

async function accept(sdp: string): Promise<string> {
	const { box, stream } = window as unknown as { box: Box; stream: MediaStream };
	const old = box.control;
	if (old?.readyState === "open") old.send(JSON.stringify({ t: "replaced" }));
	const pc = new RTCPeerConnection();
	box.pc = pc;
	box.heard = [];
	box.channels = {};
	const take = (data: ArrayBuffer): void => {
		const v = new DataView(data);
		const kind = v.getUint8(0);
		const stroke = kind === 1 || kind === 8;
		if (kind !== 1) box.taken.rseq = v.getUint32(4, true);
		if (!stroke && kind !== 2) return;
		const last = v.getUint32(stroke ? 8 : 10, true) + v.getUint16(stroke ? 2 : 8, true) - 1;
		box.taken.sample = Math.max(box.taken.sample, last);
	};
	const resume = (channel: RTCDataChannel, told: { page: string; rseq: number; sample: number }): void => {
		const known = box.taken.page === told.page;
		if (!known) box.taken = { page: told.page, rseq: told.rseq, sample: told.sample };
		channel.send(JSON.stringify({ t: "resumed", known, rseq: box.taken.rseq, sample: box.taken.sample }));
	};
	pc.ondatachannel = ({ channel }) => {
		channel.binaryType = "arraybuffer";
		box.channels[channel.label] = channel;
		if (channel.label === "control") box.control = channel;
		channel.onmessage = ({ data }) => {
			const hex = (b: ArrayBuffer): string =>
				Array.from(new Uint8Array(b), (v) => v.toString(16).padStart(2, "0")).join("");
			const kept = typeof data === "string" ? data : hex(data as ArrayBuffer);
			box.heard.push({ channel: channel.label, data: kept });
			if (channel.label === "input" || channel.label === "motion") take(data as ArrayBuffer);
			const m = typeof data === "string" ? JSON.parse(data) : null;
			if (m?.t === "ping") channel.send(JSON.stringify({ t: "pong", id: m.id }));
			if (m?.t === "resume" && !box.old) resume(channel, m);
		};
	};
	for (const track of stream.getTracks()) {
		// Or a busy machine would send a smaller picture.
		track.contentHint = "detail";
		pc.addTrack(track, stream);
	}
	await pc.setRemoteDescription({ type: "offer", sdp });
	await pc.setLocalDescription();
	await new Promise<void>((resolve) => {
		const check = (): void => {
			if (pc.iceGatheringState === "complete") resolve();
		};
		pc.onicegatheringstatechange = check;
		setTimeout(resolve, 1500);
		check();
	});
	return pc.localDescription?.sdp ?? "";
}
