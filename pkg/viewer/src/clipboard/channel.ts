// The clipboard channel of one link: what either side copied is offered to the other, and sent when it is wanted.

import { SendWindow } from "./window";
import { decodeClip, encodeClip, type Format, LIMITS, type Message, type Outcome, PART } from "./wire";

/** What was copied on this side; each content is made when it is wanted. */
export type Contents = ReadonlyMap<Format, () => Promise<Uint8Array<ArrayBuffer>>>;

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

export class FetchError extends Error {
	override readonly name = "FetchError";
	constructor(readonly outcome: Outcome) {
		super(`The session's clipboard could not be fetched: ${outcome}.`);
	}
}

interface Fetching {
	serial: number;
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
	private taken: ((formats: ReadonlySet<Format>) => void) | null = null;
	private readonly fetching = new Map<Format, Fetching>();
	private readonly sending = new Map<Format, AbortController>();
	private readonly waiting = new Set<() => void>();
	/** What is on its way to a node that answers. */
	private window: SendWindow | null = null;
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
		for (const s of this.sending.values()) s.abort();
		this.taken?.(new Set());
		this.contents = contents;
		const serial = ++this.serial;
		return new Promise((resolve) => {
			this.taken = resolve;
			if (!this.say({ kind: "offer", formats: new Set(contents.keys()), dear: false, serial })) resolve(new Set());
		});
	}

	/** Fetches one content of the session's offer; throws FetchError. One of each format at a time. */
	async fetch(offer: Offer, format: Format): Promise<Blob> {
		this.drop(format, "gone");
		const parts = await new Promise<Uint8Array<ArrayBuffer>[]>((done, fail) => {
			const timer = setTimeout(() => this.drop(format, "late"), SILENCE);
			this.fetching.set(format, { serial: offer.serial, parts: [], bytes: 0, timer, done, fail });
			if (!this.say({ kind: "fetch", format, serial: offer.serial })) this.drop(format, "gone");
		});
		return new Blob(parts);
	}

	close(): void {
		this.over = true;
		for (const f of [...this.fetching.keys()]) this.drop(f, "gone");
		for (const s of this.sending.values()) s.abort();
		this.drained();
		this.taken?.(new Set());
		this.taken = null;
		this.contents = new Map();
	}

	private heard(m: Message | null): void {
		if (this.over) return;
		switch (m?.kind) {
			case "policy":
				this.ways = { in: m.in, out: m.out };
				if (m.answers) this.window ??= new SendWindow();
				return this.host?.policyChanged();
			case "offer":
				return this.host?.offered(m);
			case "taken":
				if (m.serial !== this.serial) return;
				this.taken?.(m.formats);
				this.taken = null;
				return;
			case "fetch":
				return void this.serve(m.format, m.serial);
			case "got":
				this.window?.came(performance.now());
				return this.drained();
			case "stop":
				return this.sending.get(m.format)?.abort();
			case "data":
				return this.part(m.format, m.serial, m.data);
			case "end":
				return this.ended(m.format, m.serial, m.outcome);
		}
	}

	private part(format: Format, serial: number, data: Uint8Array<ArrayBuffer>): void {
		const f = this.fetching.get(format);
		if (f?.serial !== serial) return;
		f.bytes += data.length;
		if (f.bytes > LIMITS[format]) {
			this.say({ kind: "stop", format, serial });
			return this.drop(format, "too large");
		}
		f.parts.push(data);
		clearTimeout(f.timer);
		f.timer = setTimeout(() => this.drop(format, "late"), SILENCE);
	}

	private ended(format: Format, serial: number, outcome: Outcome): void {
		const f = this.fetching.get(format);
		if (f?.serial !== serial) return;
		if (outcome !== "whole") return this.drop(format, outcome);
		this.fetching.delete(format);
		clearTimeout(f.timer);
		f.done(f.parts);
	}

	private drop(format: Format, outcome: Outcome): void {
		const f = this.fetching.get(format);
		if (!f) return;
		this.fetching.delete(format);
		clearTimeout(f.timer);
		f.fail(new FetchError(outcome));
	}

	// Sends one content of what was offered.
	private async serve(format: Format, serial: number): Promise<void> {
		this.sending.get(format)?.abort();
		const stop = new AbortController();
		this.sending.set(format, stop);
		const outcome = await this.send(format, serial, stop.signal).catch((): Outcome => "broken");
		if (this.sending.get(format) === stop) this.sending.delete(format);
		if (!stop.signal.aborted) this.say({ kind: "end", format, serial, outcome });
	}

	private async send(format: Format, serial: number, signal: AbortSignal): Promise<Outcome> {
		const make = serial === this.serial ? this.contents.get(format) : undefined;
		if (!make) return "gone";
		const content = await make();
		if (content.length > LIMITS[format]) return "too large";
		for (let at = 0; at < content.length; ) {
			while (!this.hasRoom() && !signal.aborted) await this.room(signal);
			if (signal.aborted) return "gone";
			const data = content.slice(at, at + (this.window?.part ?? PART));
			this.window?.went(data.length, performance.now());
			this.say({ kind: "data", format, serial, data });
			at += data.length;
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
