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
/** A Blob whose bytes come at once: those of a real one come from elsewhere, some time. */
const blob = (b: Uint8Array<ArrayBuffer>) =>
	({
		size: b.length,
		slice: (from: number, to: number) => ({ arrayBuffer: async () => b.slice(from, to).buffer }),
	}) as unknown as Blob;
const content = (format: Format, b: Uint8Array<ArrayBuffer>) => new Map([[format, async () => blob(b)]]);
const offer: Offer = { serial: 9, formats: new Set(["text"]), dear: false };

describe("what is copied here", () => {
	it("is offered, and sent in parts when it is wanted", async () => {
		const picture = new Uint8Array(PART * 2 + 5).map((_, i) => i);
		const taken = channel.offer(content("png", picture));
		expect(pipe.sent).toEqual([{ kind: "offer", formats: new Set(["png"]), dear: false, serial: 1 }]);
		pipe.hear({ kind: "taken", formats: new Set(["png"]), dear: false, serial: 1 });
		expect(await taken).toEqual(new Set(["png"]));
		pipe.sent = [];
		pipe.hear({ kind: "fetch", format: "png", serial: 1, number: 0 });
		await settled();
		const parts = pipe.sent.flatMap((m) => (m.kind === "data" ? [...m.data] : []));
		expect(parts).toEqual([...picture]);
		expect(pipe.sent.at(-1)).toEqual({ kind: "end", format: "png", serial: 1, number: 0, outcome: "whole" });
	});

	it("is taken when what replaced it at once is", async () => {
		let first: ReadonlySet<Format> | null = null;
		void channel.offer(content("text", new Uint8Array(1))).then((formats) => {
			first = formats;
		});
		const second = channel.offer(content("text", new Uint8Array(2)));
		pipe.hear({ kind: "taken", formats: new Set(["text"]), dear: false, serial: 1 });
		await settled();
		expect(first).toBeNull();
		pipe.hear({ kind: "taken", formats: new Set(["text"]), dear: false, serial: 2 });
		expect(await second).toEqual(new Set(["text"]));
		expect(first).toEqual(new Set(["text"]));
	});

	it("waits while the browser has more to send than it should", async () => {
		void channel.offer(content("png", new Uint8Array(PART * 10)));
		pipe.sent = [];
		pipe.stuck = true;
		pipe.hear({ kind: "fetch", format: "png", serial: 1, number: 0 });
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
		pipe.hear({ kind: "policy", in: true, out: true, answers: true, numbers: false });
		void channel.offer(content("png", picture));
		pipe.hear({ kind: "fetch", format: "png", serial: 1, number: 0 });
		await settled();
		expect(sent().length).toBeLessThan(picture.length / 2);
		expect(pipe.sent.at(-1)?.kind).toBe("data");
		for (let heard = 0; heard < pipe.sent.filter((m) => m.kind === "data").length; heard++) {
			pipe.hear({ kind: "got", format: "png", serial: 1 });
			await settled();
		}
		expect(sent()).toEqual([...picture]);
		expect(pipe.sent.at(-1)).toEqual({ kind: "end", format: "png", serial: 1, number: 0, outcome: "whole" });
	});

	it("is sent no further when it is not wanted any more, or something else was copied", async () => {
		for (const [serial, end] of [
			[1, () => pipe.hear({ kind: "stop", format: "png", serial: 1, number: 0 })],
			[2, () => void channel.offer(content("text", new Uint8Array(1)))],
		] as const) {
			void channel.offer(content("png", new Uint8Array(PART * 10)));
			pipe.stuck = true;
			pipe.hear({ kind: "fetch", format: "png", serial, number: 0 });
			await settled();
			end();
			pipe.sent = [];
			pipe.drain();
			await settled();
			expect(pipe.sent).toEqual([]);
		}
	});

	it("is sent by the number of each fetch, and only that one is stopped", async () => {
		pipe.hear({ kind: "policy", in: true, out: true, answers: false, numbers: true });
		void channel.offer(content("png", new Uint8Array(PART * 10)));
		pipe.stuck = true;
		pipe.hear({ kind: "fetch", format: "png", serial: 1, number: 7 });
		await settled();
		expect(pipe.sent.at(-1)).toMatchObject({ kind: "data", number: 7 });
		pipe.hear({ kind: "fetch", format: "png", serial: 1, number: 8 });
		pipe.hear({ kind: "stop", format: "png", serial: 1, number: 7 }); // on its way since before
		pipe.sent = [];
		pipe.stuck = false;
		pipe.drain();
		await settled();
		expect(pipe.sent.map((m) => "number" in m && m.number)).toEqual(Array(11).fill(8));
		expect(pipe.sent.at(-1)).toMatchObject({ kind: "end", outcome: "whole" });
	});

	describe("is waited for behind the key that pastes", () => {
		const KEY = 77;
		/** Whether what follows the key may go, and what `then` makes of it. */
		async function waits(formats: readonly Format[], until: () => unknown, numbers = true): Promise<boolean[]> {
			pipe.hear({ kind: "policy", in: true, out: true, answers: false, numbers });
			void channel.offer(new Map(formats.map((f) => [f, async () => blob(new Uint8Array(1))])));
			pipe.hear({ kind: "taken", formats: new Set(formats), dear: false, serial: serial() });
			let over = false;
			void channel.handed(KEY).then(() => {
				over = true;
			});
			await settled();
			const before = over;
			await until();
			await settled();
			return [before, over];
		}
		const serial = () => pipe.sent.flatMap((m) => (m.kind === "offer" ? [m.serial] : [])).at(-1) ?? 0;
		const fetch = (format: Format) => pipe.hear({ kind: "fetch", format, serial: serial(), number: 1 });
		const asks = () => pipe.hear({ kind: "asked", serial: serial() });
		const has = (format: Format) => pipe.hear({ kind: "has", format, serial: serial() });
		const past = (key: number) => pipe.hear({ kind: "past", serial: key });

		it("until the application has the text", async () => {
			expect(await waits(["text"], () => fetch("text"))).toEqual([false, false]);
			expect(
				await waits(["text"], async () => {
					fetch("text");
					await vi.advanceTimersByTimeAsync(1000);
				}),
			).toEqual([false, false]);
			expect(
				await waits(["text", "html"], () => {
					fetch("text");
					has("text");
				}),
			).toEqual([false, true]);
		});

		it("no longer than is bearable", async () => {
			expect(
				await waits(["text"], async () => {
					fetch("text");
					await vi.advanceTimersByTimeAsync(2000);
				}),
			).toEqual([false, true]);
			// An application that does not paste texts.
			expect(await waits(["text"], () => vi.advanceTimersByTimeAsync(1010))).toEqual([false, true]);
			expect(
				await waits(["text"], async () => {
					asks();
					await vi.advanceTimersByTimeAsync(510);
				}),
			).toEqual([false, true]);
			expect(await waits(["text", "png"], () => fetch("png"))).toEqual([false, true]);
			expect(
				await waits(["text"], () => pipe.hear({ kind: "offer", formats: new Set(), dear: false, serial: 3 })),
			).toEqual([false, true]);
		});

		it("until the application has done what the key told it, whatever that was", async () => {
			expect(await waits(["text"], () => past(KEY - 1))).toEqual([false, false]);
			expect(await waits(["text"], () => past(KEY))).toEqual([false, true]);
			expect(
				await waits(["text"], () => {
					asks();
					past(KEY);
				}),
			).toEqual([false, true]);
			// The next key is waited for again.
			let over = false;
			void channel.handed(KEY + 1).then(() => {
				over = true;
			});
			past(KEY);
			await settled();
			expect(over).toBe(false);
			past(KEY + 1);
			await settled();
			expect(over).toBe(true);
		});

		it("by no means where there is no text, or the node does not tell", async () => {
			expect((await waits(["png"], () => {}))[0]).toBe(true);
			expect((await waits(["text"], () => {}, false))[0]).toBe(true);
		});
	});

	it("is not what was copied before, nor larger than may cross", async () => {
		void channel.offer(content("text", new Uint8Array(LIMITS.text + 1)));
		pipe.sent = [];
		pipe.hear({ kind: "fetch", format: "text", serial: 1, number: 0 });
		pipe.hear({ kind: "fetch", format: "png", serial: 1, number: 0 });
		pipe.hear({ kind: "fetch", format: "html", serial: 77, number: 0 });
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
		expect(pipe.sent).toEqual([{ kind: "fetch", format: "text", serial: 9, number: 0 }]);
		for (const part of ["Grün", "e Äpfel"])
			pipe.hear({ kind: "data", format: "text", serial: 9, number: 0, data: new TextEncoder().encode(part) });
		pipe.hear({ kind: "end", format: "text", serial: 9, number: 0, outcome: "whole" });
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
		expect(await why(() => pipe.hear({ kind: "end", format: "text", serial: 9, number: 0, outcome: "refused" }))).toBe(
			"refused",
		);
		expect(await why(() => vi.advanceTimersByTimeAsync(60_000))).toBe("late");
		expect(
			await why(() => {
				for (let n = 0; n <= LIMITS.text; n += PART)
					pipe.hear({ kind: "data", format: "text", serial: 9, number: 0, data: new Uint8Array(PART) });
			}),
		).toBe("too large");
		expect(pipe.sent.at(-1)).toEqual({ kind: "stop", format: "text", serial: 9, number: 0 });
		expect(await why(() => pipe.onclose?.(new Event("close")))).toBe("gone");
	});

	it("takes nothing of a fetch that it has given up for the next one's", async () => {
		pipe.hear({ kind: "policy", in: true, out: true, answers: false, numbers: true });
		const first = channel.fetch(offer, "text").catch((e: unknown) => e);
		const second = channel.fetch(offer, "text");
		expect(pipe.sent).toEqual([
			{ kind: "fetch", format: "text", serial: 9, number: 1 },
			{ kind: "stop", format: "text", serial: 9, number: 1 },
			{ kind: "fetch", format: "text", serial: 9, number: 2 },
		]);
		for (const number of [1, 2]) {
			pipe.hear({ kind: "data", format: "text", serial: 9, number, data: new Uint8Array([64 + number]) });
			pipe.hear({ kind: "end", format: "text", serial: 9, number, outcome: "whole" });
		}
		expect(await first).toBeInstanceOf(FetchError);
		expect(await (await second).text()).toBe("B");
	});

	it("takes nothing of another offer for its own", async () => {
		const fetched = channel.fetch(offer, "text");
		pipe.hear({ kind: "data", format: "text", serial: 8, number: 0, data: new Uint8Array([65]) });
		pipe.hear({ kind: "end", format: "text", serial: 8, number: 0, outcome: "whole" });
		pipe.hear({ kind: "data", format: "text", serial: 9, number: 0, data: new Uint8Array([66]) });
		pipe.hear({ kind: "end", format: "text", serial: 9, number: 0, outcome: "whole" });
		expect(await (await fetched).text()).toBe("B");
	});
});
