// The node's face of the artist's files (ARCHITECTURE.md, "Files").

/** What became of a request that was not done. */
export type Again =
	/** It will be refused again. */
	| "never"
	/** It may work in a moment. */
	| "soon"
	/** The upload is elsewhere than was thought. */
	| "elsewhere";

export class FilesError extends Error {
	constructor(
		message: string,
		readonly again: Again,
	) {
		super(message);
		this.name = "FilesError";
	}
}

/** Which way files may cross, and how large one that comes in may be (bytes). */
export interface Allowed {
	in: boolean;
	out: boolean;
	most: number;
}

export const nothing: Allowed = { in: false, out: false, most: 0 };

export interface Entry {
	id: string;
	/** For people: the id says which it is. */
	name: string;
	folder: boolean;
	size: number;
	/** Unix milliseconds. */
	modified: number;
}

export interface Listing {
	entries: Entry[];
	more: boolean;
}

export interface Saved {
	watch: string;
	seq: number;
	files: Entry[];
}

export interface At {
	id: string;
	offset: number;
}

export interface Finished {
	file: Entry;
	opened: boolean;
	why: string;
}

const QUICK = 30_000;
const SAVED = 70_000;
const FINISH = 135_000;
/** A piece in which nothing moves for so long (ms) is given up. */
const STALLED = 30_000;

export class FilesApi {
	/** `base` is the session's address, `/s/ID`. */
	constructor(private readonly base: string) {}

	async list(folder: string, find: string, signal: AbortSignal): Promise<Listing> {
		const q = new URLSearchParams(find === "" ? { folder } : { find });
		return parseListing(await this.ask("list your files", `list?${q}`, signal, QUICK));
	}

	/** Waits until something was saved, or a while; without `after`, tells where it is. */
	async saved(after: Saved | null, signal: AbortSignal): Promise<Saved> {
		const q = after === null ? "" : `?${new URLSearchParams({ watch: after.watch, after: String(after.seq) })}`;
		return parseSaved(await this.ask("watch your files", `saved${q}`, signal, SAVED));
	}

	begin(size: number, signal: AbortSignal): Promise<At> {
		return this.ask("begin the upload", "uploads", signal, QUICK, "POST", { size }).then(parseAt);
	}

	at(id: string, signal: AbortSignal): Promise<At> {
		return this.ask("go on with the upload", `uploads/${id}`, signal, QUICK).then(parseAt);
	}

	async finish(id: string, name: string, open: boolean, signal: AbortSignal): Promise<Finished> {
		const v = await this.ask("finish the upload", `uploads/${id}/finish`, signal, FINISH, "POST", { name, open });
		return parseFinished(v);
	}

	/** Not waited for: what is left is thrown away in time. */
	cancel(id: string): void {
		void fetch(this.url(`uploads/${id}`), { method: "DELETE", keepalive: true }).catch(() => {});
	}

	/** Sends a piece of a file; `sent` hears how many bytes of it have gone. fetch would tell nothing of that. */
	append(id: string, offset: number, piece: Blob, sent: (bytes: number) => void, signal: AbortSignal): Promise<At> {
		return new Promise((resolve, reject) => {
			const x = new XMLHttpRequest();
			let stalled = setTimeout(() => x.abort(), STALLED);
			const moved = (): void => {
				clearTimeout(stalled);
				stalled = setTimeout(() => x.abort(), STALLED);
			};
			const stop = (): void => x.abort();
			const over = (act: () => void) => (): void => {
				clearTimeout(stalled);
				signal.removeEventListener("abort", stop);
				act();
			};
			const lost = over(() => reject(new FilesError("The connection was lost.", "soon")));
			x.upload.addEventListener("progress", (e) => {
				moved();
				sent(e.loaded);
			});
			x.addEventListener(
				"load",
				over(() => settle(x, resolve, reject)),
			);
			x.addEventListener("error", lost);
			x.addEventListener("abort", lost);
			signal.addEventListener("abort", stop, { once: true });
			x.open("PATCH", this.url(`uploads/${id}`));
			x.setRequestHeader("Content-Type", "application/octet-stream");
			x.setRequestHeader("Upload-Offset", String(offset));
			x.send(piece);
			if (signal.aborted) x.abort();
		});
	}

	/** Where a file can be had. */
	address(id: string): string {
		return this.url(`content/${id}`);
	}

	/** Whether a file can be had, or an error that says why not. */
	async there(id: string, signal: AbortSignal): Promise<void> {
		const r = await this.send("download it", this.address(id), signal, QUICK, { method: "HEAD" });
		if (!r.ok) throw failure("download it", r.status, r.status === 404 ? { detail: "The file is gone." } : null);
	}

	private url(path: string): string {
		return `${this.base}/files/${path}`;
	}

	private async ask(
		doing: string,
		path: string,
		signal: AbortSignal,
		limit: number,
		method = "GET",
		body?: unknown,
	): Promise<unknown> {
		const init: RequestInit = { method };
		if (body !== undefined) {
			init.body = JSON.stringify(body);
			init.headers = { "Content-Type": "application/json" };
		}
		const r = await this.send(doing, this.url(path), signal, limit, init);
		const v: unknown = await r.json().catch(() => null);
		if (!r.ok) throw failure(doing, r.status, v);
		return v;
	}

	private async send(
		doing: string,
		url: string,
		signal: AbortSignal,
		limit: number,
		init: RequestInit,
	): Promise<Response> {
		try {
			return await fetch(url, { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(limit)]) });
		} catch (e) {
			if (signal.aborted) throw e;
			throw new FilesError(`Could not ${doing}: the node does not answer.`, "soon");
		}
	}
}

function settle(x: XMLHttpRequest, resolve: (at: At) => void, reject: (e: unknown) => void): void {
	let v: unknown = null;
	try {
		v = JSON.parse(x.responseText);
	} catch {
		// A body that is no document leaves the status to say what was wrong.
	}
	try {
		if (x.status < 200 || x.status > 299) throw failure("send the file", x.status, v);
		resolve(parseAt(v));
	} catch (e) {
		reject(e);
	}
}

function failure(doing: string, status: number, v: unknown): FilesError {
	const p = object(v);
	const said = [p.detail, p.title].find((s): s is string => typeof s === "string" && s !== "");
	const message = said?.slice(0, 500) ?? `Could not ${doing}: the node answered ${status}.`;
	return new FilesError(message, againOf(status));
}

function againOf(status: number): Again {
	if (status === 409) return "elsewhere";
	// 507: the home is full, and stays so.
	return status === 429 || (status >= 500 && status !== 507) || status === 408 ? "soon" : "never";
}

/** Reads which way files may cross; what is missing or malformed may not. */
export function parseAllowed(v: unknown): Allowed {
	const o = object(v);
	return { in: o.in === true, out: o.out === true, most: count(o.most) };
}

const ID = /^[A-Za-z0-9_-]{1,5400}$/;

function parseEntry(v: unknown): Entry[] {
	const o = object(v);
	if (typeof o.id !== "string" || !ID.test(o.id) || typeof o.name !== "string") return [];
	const modified = typeof o.modified === "number" ? o.modified : 0;
	return [{ id: o.id, name: o.name.slice(0, 300), folder: o.kind === "folder", size: count(o.size), modified }];
}

function parseEntries(v: unknown): Entry[] {
	return (Array.isArray(v) ? v : []).flatMap(parseEntry);
}

export function parseListing(v: unknown): Listing {
	const o = object(v);
	return { entries: parseEntries(o.entries), more: o.more === true };
}

export function parseSaved(v: unknown): Saved {
	const o = object(v);
	if (typeof o.watch !== "string") throw new FilesError("The node tells nothing of saved files.", "soon");
	return { watch: o.watch, seq: count(o.seq), files: parseEntries(o.files) };
}

function parseAt(v: unknown): At {
	const o = object(v);
	if (typeof o.id !== "string" || !/^[A-Z2-7]{26}-\d{1,16}$/.test(o.id))
		throw new FilesError("The node's answer makes no sense.", "soon");
	return { id: o.id, offset: count(o.offset) };
}

function parseFinished(v: unknown): Finished {
	const o = object(v);
	const [file] = parseEntry(o.file);
	if (file === undefined) throw new FilesError("The node's answer makes no sense.", "soon");
	return { file, opened: o.opened === true, why: typeof o.why === "string" ? o.why.slice(0, 500) : "" };
}

function count(v: unknown): number {
	return typeof v === "number" && Number.isSafeInteger(v) && v >= 0 ? v : 0;
}

function object(v: unknown): Record<string, unknown> {
	return typeof v === "object" && v !== null && !Array.isArray(v) ? (v as Record<string, unknown>) : {};
}
