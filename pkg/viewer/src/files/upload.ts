// One file on its way into the session: piece by piece, going on by itself where a connection was lost.

import { Backoff, sleep } from "../link/backoff";
import { type Again, type At, FilesError, type Finished } from "./api";

/** Bytes of a piece: small enough that a deadline makes sense for each, large enough that asking for more is no cost. */
export const PIECE = 8 << 20;

/** What an upload needs of the node. */
export interface UploadApi {
	begin(size: number, signal: AbortSignal): Promise<At>;
	at(id: string, signal: AbortSignal): Promise<At>;
	append(id: string, offset: number, piece: Blob, sent: (bytes: number) => void, signal: AbortSignal): Promise<At>;
	finish(id: string, name: string, open: boolean, signal: AbortSignal): Promise<Finished>;
	cancel(id: string): void;
}

export type UploadState = "waiting" | "sending" | "interrupted" | "finishing" | "done" | "failed" | "cancelled";

export class Upload {
	state: UploadState = "waiting";
	/** Bytes that have gone. */
	sent = 0;
	/** Why it failed, or was interrupted; once it is done, why it was not opened. */
	why = "";
	opened = false;
	/** The name that the file has in the home, once it is done. */
	name: string;
	private id = "";
	private readonly stop = new AbortController();
	private readonly backoff = new Backoff();
	private nap = new AbortController();

	constructor(
		private readonly api: UploadApi,
		private readonly file: File,
		private readonly changed: () => void,
	) {
		// A lone surrogate has no UTF-8.
		this.name = file.name.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
	}

	get size(): number {
		return this.file.size;
	}

	get over(): boolean {
		return this.state === "done" || this.state === "failed" || this.state === "cancelled";
	}

	/** Sends the file; returns when it is done, failed or cancelled. */
	async run(): Promise<void> {
		if (this.over) return;
		this.become("sending");
		try {
			this.id = (await this.patiently(() => this.api.begin(this.size, this.stop.signal))).id;
			let done: Finished | null = null;
			while (done === null) {
				while (this.sent < this.size) await this.piece();
				this.become("finishing");
				done = await this.finish();
			}
			this.name = done.file.name;
			this.opened = done.opened;
			this.why = done.opened ? "" : done.why;
			this.become("done");
		} catch (e) {
			this.drop();
			if (this.stop.signal.aborted) return this.become("cancelled");
			this.fail(e instanceof Error ? e.message : String(e));
		}
	}

	/** Ends it; nothing of it stays. */
	cancel(): void {
		if (this.over) return;
		this.stop.abort();
		if (this.state === "waiting") this.become("cancelled");
	}

	/** It cannot be sent. */
	fail(why: string): void {
		this.why = why;
		this.become("failed");
	}

	/** The network is back: who waits goes on at once. */
	wake(): void {
		this.nap.abort();
		this.nap = new AbortController();
	}

	private async piece(): Promise<void> {
		const from = this.sent;
		const piece = this.file.slice(from, from + PIECE);
		this.become("sending");
		try {
			const progress = (bytes: number): void => {
				this.sent = Math.min(this.size, from + bytes);
				this.changed();
			};
			this.sent = (await this.api.append(this.id, from, piece, progress, this.stop.signal)).offset;
			this.backoff.reset();
		} catch (e) {
			if (!(e instanceof FilesError) || e.again === "never" || this.stop.signal.aborted) throw e;
			await this.readable(from);
			await this.resume(e);
		}
	}

	/** Null: not all of it is there after all. Whose answer was lost is asked again: it does nothing twice. */
	private async finish(): Promise<Finished | null> {
		try {
			return await this.patiently(() => this.api.finish(this.id, this.name, true, this.stop.signal), "elsewhere");
		} catch (e) {
			if (!(e instanceof FilesError) || e.again !== "elsewhere" || this.stop.signal.aborted) throw e;
			await this.resume(e);
			return null;
		}
	}

	/** Waits a moment, then goes on from where the node says that it is. */
	private async resume(e: FilesError): Promise<void> {
		await this.interrupted(e);
		this.sent = (await this.patiently(() => this.api.at(this.id, this.stop.signal))).offset;
	}

	/** A file that changed on its disk looks like a connection that is lost, again and again. */
	private async readable(from: number): Promise<void> {
		try {
			await this.file.slice(from, from + 1).arrayBuffer();
		} catch {
			throw new Error("The file cannot be read: it was changed, moved or deleted on your machine.");
		}
	}

	/** Does it until it works, or is refused in a way that asking again does not help. */
	private async patiently<T>(act: () => Promise<T>, but?: Again): Promise<T> {
		for (;;) {
			try {
				return await act();
			} catch (e) {
				if (!(e instanceof FilesError) || e.again === "never" || e.again === but || this.stop.signal.aborted) throw e;
				await this.interrupted(e);
			}
		}
	}

	private async interrupted(e: FilesError): Promise<void> {
		this.why = e.message;
		this.become("interrupted");
		await sleep(this.backoff.next(), AbortSignal.any([this.stop.signal, this.nap.signal]));
		this.stop.signal.throwIfAborted();
	}

	private drop(): void {
		if (this.id !== "") this.api.cancel(this.id);
	}

	private become(state: UploadState): void {
		this.state = state;
		if (state === "sending" || state === "finishing") this.why = "";
		this.changed();
	}
}
