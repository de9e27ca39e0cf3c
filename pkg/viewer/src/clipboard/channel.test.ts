import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ClipboardChannel, FetchError, type Offer, type Pipe } from "./channel";
import { decodeClip, encodeClip, type Format, LIMITS, type Message, PART } from "./wire";

class FakePipe implements Pipe {
	binaryType = "blob";
	readyState: RTCDataChannelState = "open";
	bufferedAmount = 0;
	bufferedAmountLowThreshold = 0;
	onmessage: ((e: MessageEvent) => void) | null = null;
	onbufferedamountlow: ((e: Event) => void) | null = null;
	onclose: ((e: Event) => void) | null = null;
	sent: Message[] = [];
	/** Whether what is sent stays in the browser. */
	stuck = false;

	send(data: ArrayBuffer): void {
		const m = decodeClip(data);
		if (m) this.sent.push(m);
		if (this.stuck) this.bufferedAmount += data.byteLength;
	}

	drain(): void {
		this.bufferedAmount = 0;
		this.onbufferedamountlow?.(new Event("bufferedamountlow"));
	}

	hear(m: Message): void {
		this.onmessage?.(new MessageEvent("message", { data: encodeClip(m) }));
	}
}

let pipe: FakePipe;
let channel: ClipboardChannel;
let offers: Offer[];

beforeEach(() => {
	vi.useFakeTimers();
	pipe = new FakePipe();
	channel = new ClipboardChannel(pipe);
	offers = [];
	channel.host = { policyChanged: () => {}, offered: (o) => void offers.push(o) };
});
afterEach(() => {
	channel.close();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

const settled = () => vi.advanceTimersByTimeAsync(0);
const content = (format: Format, b: Uint8Array<ArrayBuffer>) => new Map([[format, async () => b]]);
const offer: Offer = { serial: 9, formats: new Set(["text"]), dear: false };

describe("what is copied here", () => {
	it("is offered, and sent in parts when it is wanted", async () => {
		const picture = new Uint8Array(PART * 2 + 5).map((_, i) => i);
		const taken = channel.offer(content("png", picture));
		expect(pipe.sent).toEqual([{ kind: "offer", formats: new Set(["png"]), dear: false, serial: 1 }]);
		pipe.hear({ kind: "taken", formats: new Set(["png"]), dear: false, serial: 1 });
		expect(await taken).toEqual(new Set(["png"]));
		pipe.sent = [];
		pipe.hear({ kind: "fetch", format: "png", serial: 1 });
		await settled();
		const parts = pipe.sent.flatMap((m) => (m.kind === "data" ? [...m.data] : []));
		expect(parts).toEqual([...picture]);
		expect(pipe.sent.at(-1)).toEqual({ kind: "end", format: "png", serial: 1, outcome: "whole" });
	});

	it("waits while the browser has more to send than it should", async () => {
		void channel.offer(content("png", new Uint8Array(PART * 10)));
		pipe.sent = [];
		pipe.stuck = true;
		pipe.hear({ kind: "fetch", format: "png", serial: 1 });
		await settled();
		expect(pipe.sent.length).toBeLessThan(5);
		for (let i = 0; i < 10; i++) {
			pipe.drain();
			await settled();
		}
		expect(pipe.sent.at(-1)?.kind).toBe("end");
	});

	it("waits for a node that answers, and not for one that does not", async () => {
		const picture = new Uint8Array(PART * 10).map((_, i) => i >> 3);
		const sent = () => pipe.sent.flatMap((m) => (m.kind === "data" ? [...m.data] : []));
		pipe.hear({ kind: "policy", in: true, out: true, answers: true });
		void channel.offer(content("png", picture));
		pipe.hear({ kind: "fetch", format: "png", serial: 1 });
		await settled();
		expect(sent().length).toBeLessThan(picture.length / 2);
		expect(pipe.sent.at(-1)?.kind).toBe("data");
		for (let heard = 0; heard < pipe.sent.filter((m) => m.kind === "data").length; heard++) {
			pipe.hear({ kind: "got", format: "png", serial: 1 });
			await settled();
		}
		expect(sent()).toEqual([...picture]);
		expect(pipe.sent.at(-1)).toEqual({ kind: "end", format: "png", serial: 1, outcome: "whole" });
	});

	it("is sent no further when it is not wanted any more, or something else was copied", async () => {
		for (const [serial, end] of [
			[1, () => pipe.hear({ kind: "stop", format: "png", serial: 1 })],
			[2, () => void channel.offer(content("text", new Uint8Array(1)))],
		] as const) {
			void channel.offer(content("png", new Uint8Array(PART * 10)));
			pipe.stuck = true;
			pipe.hear({ kind: "fetch", format: "png", serial });
			await settled();
			end();
			pipe.sent = [];
			pipe.drain();
			await settled();
			expect(pipe.sent).toEqual([]);
		}
	});

	it("is not what was copied before, nor larger than may cross", async () => {
		void channel.offer(content("text", new Uint8Array(LIMITS.text + 1)));
		pipe.sent = [];
		pipe.hear({ kind: "fetch", format: "text", serial: 1 });
		pipe.hear({ kind: "fetch", format: "png", serial: 1 });
		pipe.hear({ kind: "fetch", format: "html", serial: 77 });
		await settled();
		expect(pipe.sent.map((m) => m.kind === "end" && [m.format, m.outcome])).toEqual(
			expect.arrayContaining([
				["text", "too large"],
				["png", "gone"],
				["html", "gone"],
			]),
		);
	});
});

describe("what is copied in the session", () => {
	it("is told, and fetched whole", async () => {
		pipe.hear({ kind: "offer", formats: new Set(["text", "png"]), dear: true, serial: 9 });
		expect(offers).toMatchObject([{ serial: 9, formats: new Set(["text", "png"]), dear: true }]);
		const fetched = channel.fetch(offer, "text");
		expect(pipe.sent).toEqual([{ kind: "fetch", format: "text", serial: 9 }]);
		for (const part of ["Grün", "e Äpfel"])
			pipe.hear({ kind: "data", format: "text", serial: 9, data: new TextEncoder().encode(part) });
		pipe.hear({ kind: "end", format: "text", serial: 9, outcome: "whole" });
		expect(await (await fetched).text()).toBe("Grüne Äpfel");
	});

	it("fails with the node's reason, when the node says nothing, and when the link ends", async () => {
		const why = async (end: () => unknown): Promise<unknown> => {
			const failed = channel.fetch(offer, "text").catch((e: unknown) => e);
			await end();
			const e = await failed;
			expect(e).toBeInstanceOf(FetchError);
			return (e as FetchError).outcome;
		};
		expect(await why(() => pipe.hear({ kind: "end", format: "text", serial: 9, outcome: "refused" }))).toBe("refused");
		expect(await why(() => vi.advanceTimersByTimeAsync(60_000))).toBe("late");
		expect(
			await why(() => {
				for (let n = 0; n <= LIMITS.text; n += PART)
					pipe.hear({ kind: "data", format: "text", serial: 9, data: new Uint8Array(PART) });
			}),
		).toBe("too large");
		expect(pipe.sent.at(-1)).toEqual({ kind: "stop", format: "text", serial: 9 });
		expect(await why(() => pipe.onclose?.(new Event("close")))).toBe("gone");
	});

	it("takes nothing of another offer for its own", async () => {
		const fetched = channel.fetch(offer, "text");
		pipe.hear({ kind: "data", format: "text", serial: 8, data: new Uint8Array([65]) });
		pipe.hear({ kind: "end", format: "text", serial: 8, outcome: "whole" });
		pipe.hear({ kind: "data", format: "text", serial: 9, data: new Uint8Array([66]) });
		pipe.hear({ kind: "end", format: "text", serial: 9, outcome: "whole" });
		expect(await (await fetched).text()).toBe("B");
	});
});
