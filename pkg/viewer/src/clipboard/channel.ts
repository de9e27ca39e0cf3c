// The clipboard channel of one link: what either side copied is offered to the other, and sent when it is wanted.

import { Handover } from "./handover";
import { SendWindow } from "./window";
import { decodeClip, encodeClip, type Format, LIMITS, type Message, type Outcome, PART } from "./wire";

/** What was copied on this side; each content is made when it is wanted. */
export type Contents = ReadonlyMap<Format, () => Promise<Blob>>;

/** What was copied in the session. */
export interface Offer {
	serial: number;
	formats: ReadonlySet<Format>;
	/** Its picture takes GIMP long to make: it should not be fetched unasked. */
	dear: boolean;
}

export interface ClipboardHost {
	/** Other ways are open now. */
	policyChanged(): void;
	/** Something was copied in the session; no formats take the offer before back. */
	offered(offer: Offer): void;
}

/** The part of an RTCDataChannel that is needed here. */
export interface Pipe {
	binaryType: string;
	readonly readyState: RTCDataChannelState;
	readonly bufferedAmount: number;
	bufferedAmountLowThreshold: number;
	onmessage: ((e: MessageEvent) => void) | null;
	onbufferedamountlow: ((e: Event) => void) | null;
	onclose: ((e: Event) => void) | null;
	send(data: ArrayBuffer): void;
}

/** A content that was asked for is not coming if nothing of it came for this long (ms). GIMP may take half of it to make a picture. */
const SILENCE = 40_000;
/** Bytes that may wait in the browser: what is typed meanwhile goes the same way. */
const WAITING = 32 << 10;
/** Bytes of a content that this page holds at once: the browser keeps the rest. */
const STRETCH = 1 << 20;

export class FetchError extends Error {
	override readonly name = "FetchError";
	constructor(readonly outcome: Outcome) {
		super(`The session's clipboard could not be fetched: ${outcome}.`);
	}
}

interface Fetching {
	serial: number;
	number: number;
	parts: Uint8Array<ArrayBuffer>[];
	bytes: number;
	timer: ReturnType<typeof setTimeout>;
	done: (b: Uint8Array<ArrayBuffer>[]) => void;
	fail: (why: FetchError) => void;
}

export class ClipboardChannel {
	/** Which ways are open: `in` is to the session. */
	ways = { in: false, out: false };
	/** Who is told; nobody, until the link is the one that shows. */
	host: ClipboardHost | null = null;
	private serial = 0;
	private contents: Contents = new Map();
	/** Who waits for the node's word on what was offered: those before the last one too, for they have been replaced by it. */
	private taken: ((formats: ReadonlySet<Format>) => void)[] = [];
	private readonly fetching = new Map<Format, Fetching>();
	private readonly sending = new Map<Format, { stop: AbortController; number: number }>();
	private readonly waiting = new Set<() => void>();
	/** What is on its way to a node that answers. */
	private window: SendWindow | null = null;
	/** What the session's applications have of what was offered last. */
	private handover = new Handover();
	/** The number of the message of the last key that pastes. */
	private key: number | null = null;
	/** How long the last offer took to be answered (ms). */
	private trip = 0;
	private offered = 0;
	/** The last fetch's, of a node that knows of numbers. */
	private number = 0;
	private numbers = false;
	private over = false;

	constructor(private readonly pipe: Pipe) {
		pipe.binaryType = "arraybuffer";
		pipe.bufferedAmountLowThreshold = WAITING / 2;
		pipe.onmessage = (e) => this.heard(decodeClip(e.data));
		pipe.onbufferedamountlow = () => this.drained();
		pipe.onclose = () => this.close();
	}

	/** Offers what was copied here; resolves with what of it is on the session's clipboard now. */
	offer(contents: Contents): Promise<ReadonlySet<Format>> {
		for (const s of this.sending.values()) s.stop.abort();
		this.contents = contents;
		this.handover.end();
		this.handover = new Handover();
		this.offered = performance.now();
		const serial = ++this.serial;
		return new Promise((resolve) => {
			this.taken.push(resolve);
			if (!this.say({ kind: "offer", formats: new Set(contents.keys()), dear: false, serial })) this.answer(new Set());
		});
	}

	private answer(formats: ReadonlySet<Format>): void {
		for (const resolve of this.taken) resolve(formats);
		this.taken = [];
	}

	/**
	 * Waits until the application that a key has just told to paste has the text of what is offered now, if it asks for one: what comes after that key
	 * would come before the text there. Not for long, and not for a node that does not tell. `key` is the number of the key's message.
	 */
	async handed(key: number): Promise<void> {
		this.key = key;
		if (this.numbers && (this.contents.has("text") || this.contents.has("html")))
			await this.handover.settled(this.trip);
	}

	/** Fetches one content of the session's offer; throws FetchError. One of each format at a time. */
	async fetch(offer: Offer, format: Format): Promise<Blob> {
		this.forsake(format, "gone");
		const { serial } = offer;
		const number = this.nextNumber();
		const parts = await new Promise<Uint8Array<ArrayBuffer>[]>((done, fail) => {
			const timer = setTimeout(() => this.forsake(format, "late"), SILENCE);
			this.fetching.set(format, { serial, number, parts: [], bytes: 0, timer, done, fail });
			if (!this.say({ kind: "fetch", format, serial, number })) this.drop(format, "gone");
		});
		return new Blob(parts);
	}

	close(): void {
		this.over = true;
		for (const f of [...this.fetching.keys()]) this.drop(f, "gone");
		for (const s of this.sending.values()) s.stop.abort();
		this.drained();
		this.handover.end();
		this.answer(new Set());
		this.contents = new Map();
	}

	private heard(m: Message | null): void {
		if (this.over) return;
		switch (m?.kind) {
			case "policy":
				this.ways = { in: m.in, out: m.out };
				if (m.answers) this.window ??= new SendWindow();
				this.numbers = m.numbers;
				return this.host?.policyChanged();
			case "offer":
				this.handover.end();
				return this.host?.offered(m);
			case "taken":
				if (m.serial !== this.serial) return;
				this.trip = performance.now() - this.offered;
				return this.answer(m.formats);
			case "fetch":
				return void this.serve(m.format, m.serial, m.number);
			case "got":
				this.window?.came(performance.now());
				return this.drained();
			case "asked":
				if (m.serial === this.serial) this.handover.asks();
				return;
			case "past":
				if (m.serial === this.key) this.handover.pasted();
				return;
			case "has":
				if (m.serial === this.serial) this.handover.has(m.format);
				return;
			case "stop": {
				const s = this.sending.get(m.format);
				if (s?.number === m.number) s.stop.abort();
				return;
			}
			case "data":
				return this.part(m.format, this.fetched(m), m.data);
			case "end":
				return this.ended(m.format, this.fetched(m), m.outcome);
		}
	}

	/** What a message belongs to; none when it is of a fetch that was given up. */
	private fetched(m: { format: Format; serial: number; number: number }): Fetching | null {
		const f = this.fetching.get(m.format);
		return f?.serial === m.serial && f.number === m.number ? f : null;
	}

	private nextNumber(): number {
		this.number = (this.number % 255) + 1;
		return this.numbers ? this.number : 0;
	}

	private part(format: Format, f: Fetching | null, data: Uint8Array<ArrayBuffer>): void {
		if (!f) return;
		f.bytes += data.length;
		if (f.bytes > LIMITS[format]) return this.forsake(format, "too large");
		f.parts.push(data);
		clearTimeout(f.timer);
		f.timer = setTimeout(() => this.forsake(format, "late"), SILENCE);
	}

	private ended(format: Format, f: Fetching | null, outcome: Outcome): void {
		if (!f) return;
		if (outcome !== "whole") return this.drop(format, outcome);
		this.fetching.delete(format);
		clearTimeout(f.timer);
		f.done(f.parts);
	}

	/** Fetches it no further, and says so. */
	private forsake(format: Format, outcome: Outcome): void {
		const f = this.fetching.get(format);
		if (!f) return;
		this.say({ kind: "stop", format, serial: f.serial, number: f.number });
		this.drop(format, outcome);
	}

	private drop(format: Format, outcome: Outcome): void {
		const f = this.fetching.get(format);
		if (!f) return;
		this.fetching.delete(format);
		clearTimeout(f.timer);
		f.fail(new FetchError(outcome));
	}

	// Sends one content of what was offered.
	private async serve(format: Format, serial: number, number: number): Promise<void> {
		this.sending.get(format)?.stop.abort();
		const s = { stop: new AbortController(), number };
		this.sending.set(format, s);
		if (serial === this.serial) this.handover.fetches(format);
		const outcome = await this.send(format, serial, number, s.stop.signal).catch((): Outcome => "broken");
		if (this.sending.get(format) === s) this.sending.delete(format);
		if (!s.stop.signal.aborted) this.say({ kind: "end", format, serial, number, outcome });
	}

	private async send(format: Format, serial: number, number: number, signal: AbortSignal): Promise<Outcome> {
		const make = serial === this.serial ? this.contents.get(format) : undefined;
		if (!make) return "gone";
		const content = await make();
		if (content.size > LIMITS[format]) return "too large";
		for (let from = 0; from < content.size; from += STRETCH) {
			const stretch = new Uint8Array(await content.slice(from, from + STRETCH).arrayBuffer());
			for (let at = 0; at < stretch.length; ) {
				while (!this.hasRoom() && !signal.aborted) await this.room(signal);
				if (signal.aborted) return "gone";
				const data = stretch.subarray(at, at + (this.window?.part ?? PART));
				this.window?.went(data.length, performance.now());
				this.say({ kind: "data", format, serial, number, data });
				at += data.length;
			}
		}
		return "whole";
	}

	private hasRoom(): boolean {
		return this.pipe.bufferedAmount <= WAITING && this.window?.full !== true;
	}

	private room(signal: AbortSignal): Promise<void> {
		return new Promise((resolve) => {
			this.waiting.add(resolve);
			signal.addEventListener("abort", () => resolve(), { once: true });
		});
	}

	private drained(): void {
		for (const go of this.waiting) go();
		this.waiting.clear();
	}

	private say(m: Message): boolean {
		if (this.over || this.pipe.readyState !== "open") return false;
		this.pipe.send(encodeClip(m));
		return true;
	}
}
