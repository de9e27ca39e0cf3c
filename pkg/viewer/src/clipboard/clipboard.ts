// The clipboard between the artist's computer ("desk") and the session. A paste on the picture first brings the desk's clipboard
// over, and only then does the key reach GIMP; what is copied in GIMP is put on the desk's, at once or with the next thing that the artist does.

import { byId } from "../elements";
import { type ClipboardChannel, type ClipboardHost, FetchError, type Offer } from "./channel";
import { type Content, canRead, contentsOf, mayRead, pasted, readDesk, sameContent, writeDesk } from "./desk";
import type { Format } from "./wire";

/** A key that pastes waits this long (ms) for the desk's clipboard to be on the session's; Firefox asks two other processes for it. */
const HOLD = 4000;

export interface ClipboardView {
	/** Something for the artist to read. */
	say(text: string): void;
	/** The hand's doings wait until the promise is settled, and then behind the first of them until the other one is. */
	hold(until: Promise<unknown>, behind: () => Promise<unknown>): void;
	/** The number of the last thing that the hand did, of those that must not be lost. */
	did(): number;
	/** Waits until the artist holds no button. */
	rests(): Promise<void>;
	/** Whether there is anything to exchange. */
	open(is: boolean): void;
	/** Where keys, and so pastes, arrive. */
	field: HTMLElement;
	/** Things may lie over the picture. */
	chrome: boolean;
}

interface Pending {
	offer: Offer;
	blobs: ReadonlyMap<Format, Blob> | null;
	/** The artist was elsewhere meanwhile, and may have copied something there: it is not replaced unasked. */
	old: boolean;
}

export class Clipboard implements ClipboardHost {
	private channel: ClipboardChannel | null = null;
	/** What was copied in GIMP and is not on the desk's clipboard yet; with blobs when it only waits for the browser's leave. */
	private pending: Pending | null = null;
	/** What was put on the desk's clipboard, and what the session has from there, as long as that may be what is there still. */
	private written: Content | null = null;
	private given: Content | null = null;
	/** The artist has been elsewhere since: the desk's clipboard may hold anything. */
	private away = true;
	/** The browser lets this page read the clipboard, as far as is known. */
	private readable = false;
	/** Resolves what keys that paste wait for, the first one first. */
	private awaited: ((c: Content | null) => void)[] = [];
	private readonly stop = new AbortController();
	private readonly notice = byId("copied", HTMLDivElement);
	private readonly words = byId("copied-text", HTMLSpanElement);

	constructor(private readonly view: ClipboardView) {
		const { signal } = this.stop;
		view.field.addEventListener("paste", this.pasted, { signal });
		byId("copied-take", HTMLButtonElement).addEventListener("click", () => void this.take(), { signal });
		byId("copied-close", HTMLButtonElement).addEventListener("click", () => this.forget(), { signal });
		window.addEventListener("blur", this.left, { signal });
		window.addEventListener("focus", () => void this.back(), { signal });
		document.addEventListener("visibilitychange", () => document.hidden && this.left(), { signal });
		// What the artist copies on this very page, such as a figure of the overlay.
		document.addEventListener("copy", this.left, { signal });
		for (const gesture of ["pointerdown", "keydown"] as const)
			window.addEventListener(gesture, () => this.gesture(), { signal, capture: true, passive: true });
	}

	/** Works over this link's channel from now on; null while there is none. */
	attach(channel: ClipboardChannel | null): void {
		if (this.channel) this.channel.host = null;
		this.channel = channel;
		this.given = null;
		this.forget();
		if (channel) channel.host = this;
		this.policyChanged();
	}

	private get ways(): { in: boolean; out: boolean } {
		return this.channel?.ways ?? { in: false, out: false };
	}

	policyChanged(): void {
		const { ways } = this;
		if (!ways.out) this.forget();
		if (!ways.in) this.given = null;
		if (ways.in) void this.back();
		this.view.open(ways.in || ways.out);
	}

	offered(offer: Offer): void {
		this.given = null;
		this.forget();
		// Nobody has what was copied here any more: what is on the desk may go over again.
		if (offer.formats.size === 0) this.written = null;
		if (offer.formats.size === 0 || !this.ways.out) return;
		this.pending = { offer, blobs: null, old: false };
		if (offer.dear) this.tell("A large picture was copied in GIMP.");
		else if (document.hasFocus()) void this.take();
	}

	/**
	 * A key that pastes has gone down, and is on its way to the hand already. True leaves the key to the browser too, whose paste brings the
	 * desk's clipboard; the hand is held until the session has that.
	 */
	pastes(shift: boolean): boolean {
		const { channel } = this;
		if (!channel || !this.ways.in) return false;
		const handed = (): Promise<void> => channel.handed(this.view.did());
		if (!this.stale()) {
			if (this.given) this.view.hold(Promise.resolve(), handed);
			return false;
		}
		// With Shift browsers paste text alone; who must ask the artist first does so then.
		const read = canRead() && (this.readable || shift);
		let came = (_: Content | null): void => {};
		const event = new Promise<Content | null>((resolve) => {
			came = resolve;
		});
		if (!read) this.awaited.push(came);
		const content = read ? readDesk().catch(() => null) : event;
		const late = new Promise<"late">((resolve) => setTimeout(() => resolve("late"), HOLD));
		const brought = Promise.race([content.then((c) => c && this.give(c)), late]);
		this.view.hold(brought, handed);
		void brought.then((how) => {
			if (how !== "late") return;
			// What comes later still crosses, and the artist is told to paste again.
			this.awaited = this.awaited.filter((a) => a !== came);
			this.view.say("This computer's clipboard did not reach GIMP in time.");
		});
		return !read;
	}

	/** The artist asks for the exchange: what was copied in GIMP comes, or else what is on the desk's clipboard goes over. */
	async exchange(): Promise<void> {
		if (this.pending) return this.take();
		if (!this.ways.in) return this.view.say("Nothing was copied in GIMP.");
		if (!canRead()) return this.view.say("This browser lets no page read the clipboard: paste by Ctrl+V.");
		const content = await readDesk().catch(() => null);
		if (!content) return this.view.say("The browser does not let this page read the clipboard: paste by Ctrl+V.");
		const taken = await this.give(content);
		this.view.say(
			taken ? "This computer's clipboard is in GIMP now: paste it there." : "Nothing there that GIMP can paste.",
		);
	}

	close(): void {
		this.attach(null);
		this.stop.abort();
	}

	private readonly left = (): void => {
		this.away = true;
		if (!this.pending) return;
		this.pending.old = true;
		this.tell("Copied in GIMP, and not on this computer's clipboard yet.");
	};

	// The session's clipboard, or this page, may have what the desk's holds; then nothing needs to cross.
	private stale(): boolean {
		return this.away || (this.given === null && this.written === null);
	}

	// Who let the page read the clipboard gets it into GIMP's menus without a key.
	private async back(): Promise<void> {
		if (this.pending && !this.pending.offer.dear && !this.pending.old && document.hasFocus()) await this.take();
		if (!this.channel || !this.ways.in || !canRead()) return;
		this.readable = await mayRead();
		// Chromium hands over a large picture in one go, for which this page stands still: no stroke should.
		await this.view.rests();
		if (!this.channel || !this.ways.in || !this.readable || !this.away || !document.hasFocus()) return;
		const content = await readDesk().catch(() => null);
		if (content) await this.give(content);
	}

	private readonly pasted = (e: ClipboardEvent): void => {
		e.preventDefault();
		const content = e.clipboardData ? pasted(e.clipboardData) : null;
		const awaited = this.awaited.shift();
		if (awaited) awaited(content);
		// Pasted by the browser's own menu: there is no key that would follow.
		else if (content && this.ways.in)
			void this.give(content).then((taken) => taken && this.view.say("Now paste it in GIMP."));
	};

	// Brings a content to the session's clipboard, if it is not from there. True when the session has it.
	private async give(content: Content): Promise<boolean> {
		const { channel } = this;
		if (!channel || !this.ways.in) return false;
		const contents = contentsOf(content);
		if (contents.size === 0) return false;
		for (const known of [this.written, this.given]) {
			if (known === null || !(await sameContent(known, content))) continue;
			this.away = false;
			// What GIMP itself copied is on its clipboard still, or something newer is.
			return true;
		}
		const taken = await channel.offer(contents);
		if (taken.size === 0 || this.channel !== channel) return false;
		this.given = content;
		this.written = null;
		this.away = false;
		this.forget();
		return true;
	}

	// Fetches what was copied in GIMP, and puts it on the desk's clipboard.
	private async take(): Promise<void> {
		const { channel, pending } = this;
		if (!channel || !pending) return;
		if (pending.blobs === null) {
			const { old } = pending;
			pending.blobs = await this.fetch(channel, pending.offer);
			if (this.pending !== pending) return;
			if (pending.blobs.size === 0) return this.forget();
			if (pending.old && !old) return; // it is asked for in its notice, or not
		}
		await this.write(pending.blobs);
	}

	private async fetch(channel: ClipboardChannel, offer: Offer): Promise<ReadonlyMap<Format, Blob>> {
		const blobs = new Map<Format, Blob>();
		let why: FetchError | null = null;
		for (const format of offer.formats) {
			try {
				blobs.set(format, await channel.fetch(offer, format));
			} catch (e) {
				if (!(e instanceof FetchError)) throw e;
				why = e;
			}
		}
		if (blobs.size === 0 && why?.outcome === "too large")
			this.view.say("What was copied in GIMP is too large for this computer's clipboard.");
		return blobs;
	}

	private async write(blobs: ReadonlyMap<Format, Blob>): Promise<void> {
		const { pending } = this;
		try {
			await writeDesk(blobs);
		} catch {
			// Not without the artist's doing: the next gesture tries again.
			if (this.pending === pending)
				this.tell("Copied in GIMP. Click, or press a key, to have it on this computer's clipboard.");
			return;
		}
		this.away = !document.hasFocus(); // at once: the artist may leave while the texts are read
		this.written = {
			text: (await blobs.get("text")?.text()) ?? null,
			html: (await blobs.get("html")?.text()) ?? null,
			picture: blobs.get("png") ?? null,
		};
		if (this.pending === pending) this.forget();
	}

	private gesture(): void {
		if (this.pending?.blobs && !this.pending.old) void this.write(this.pending.blobs);
	}

	private tell(text: string): void {
		this.words.textContent = text;
		this.notice.hidden = !this.view.chrome;
	}

	private forget(): void {
		this.pending = null;
		this.notice.hidden = true;
	}
}
