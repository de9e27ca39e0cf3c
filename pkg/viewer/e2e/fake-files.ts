// The files' part of the fake node: uploads and a home in memory, which break off when the test says so.

import type { IncomingMessage, ServerResponse } from "node:http";

export interface FakeEntry {
	id: string;
	name: string;
	kind: "file" | "folder";
	size: number;
	modified: number;
}

const UPLOAD = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const TAG = '"1-2-3"';

export class FakeFiles {
	allowed = { in: true, out: true, most: 1 << 30 };
	/** What is in the folders, by their ids; the home's is "". */
	folders: Record<string, FakeEntry[]> = { "": [] };
	content: Record<string, Buffer> = {};
	/** The next so many pieces, or downloads, break off half way. */
	cuts = 0;
	/** The next pieces wait until this resolves. */
	gate: Promise<void> | null = null;
	/** What a new upload is refused with. */
	refusal: { status: number; detail: string } | null = null;
	readonly arrived: Buffer[] = [];
	readonly ranges: (string | undefined)[] = [];
	finished: unknown = null;
	cancelled = 0;
	private size = 0;
	private seq = 0;
	private news: FakeEntry[] = [];
	private readonly waiting = new Set<() => void>();

	/** GIMP saved a file. */
	save(e: FakeEntry): void {
		this.news.push(e);
		this.seq++;
		for (const wake of this.waiting) wake();
	}

	close(): void {
		for (const wake of this.waiting) wake();
	}

	/** `path` is what follows `/s/ID/files/`. */
	async answer(q: IncomingMessage, r: ServerResponse, path: string, query: URLSearchParams): Promise<void> {
		const at = `${q.method} ${path.replace(/^(content|uploads)\/[^/]+/, "$1/ID")}`;
		if (at === "GET list") return json(r, { entries: this.list(query), more: false });
		if (at === "GET saved") return this.saved(r, query);
		if (at === "POST uploads") return this.begin(q, r);
		if (at === "GET uploads/ID") return json(r, this.at());
		if (at === "PATCH uploads/ID") return this.append(q, r);
		if (at === "POST uploads/ID/finish") return this.finish(q, r);
		if (at === "GET content/ID" || at === "HEAD content/ID") return this.download(q, r, path.slice("content/".length));
		if (at === "DELETE uploads/ID") this.cancelled++;
		r.writeHead(204).end();
	}

	private list(query: URLSearchParams): FakeEntry[] {
		const find = query.get("find");
		if (find === null) return this.folders[query.get("folder") ?? ""] ?? [];
		return Object.values(this.folders)
			.flat()
			.filter((e) => e.name.includes(find));
	}

	private async saved(r: ServerResponse, query: URLSearchParams): Promise<void> {
		const after = query.get("watch") === null ? this.seq : Number(query.get("after"));
		if (after === this.seq && query.get("watch") !== null)
			await new Promise<void>((resolve) => {
				const wake = (): void => {
					this.waiting.delete(wake);
					resolve();
				};
				this.waiting.add(wake);
				r.on("close", wake);
			});
		json(r, { watch: UPLOAD, seq: this.seq, files: this.news.slice(after) });
	}

	private async begin(q: IncomingMessage, r: ServerResponse): Promise<void> {
		this.size = (JSON.parse((await body(q)).toString()) as { size: number }).size;
		if (this.refusal === null) return json(r, this.at());
		const { status, detail } = this.refusal;
		r.writeHead(status, { "Content-Type": "application/problem+json" }).end(JSON.stringify({ title: "No", detail }));
	}

	private at(): unknown {
		return { id: `${UPLOAD}-${this.size}`, offset: Buffer.concat(this.arrived).length, size: this.size };
	}

	private async append(q: IncomingMessage, r: ServerResponse): Promise<void> {
		const { offset } = this.at() as { offset: number };
		if (Number(q.headers["upload-offset"]) !== offset) {
			r.writeHead(409, { "Content-Type": "application/problem+json" }).end("{}");
			return;
		}
		await this.gate;
		const piece = await body(q);
		if (this.cuts > 0) {
			this.cuts--;
			this.arrived.push(piece.subarray(0, piece.length >> 1));
			q.socket.destroy();
			return;
		}
		this.arrived.push(piece);
		json(r, this.at());
	}

	private async finish(q: IncomingMessage, r: ServerResponse): Promise<void> {
		this.finished = JSON.parse((await body(q)).toString());
		const { name } = this.finished as { name: string };
		json(r, { file: { id: "YQ", name, kind: "file", size: this.size, modified: 1 }, opened: true });
	}

	// As the node does: one range, and a tag.
	private download(q: IncomingMessage, r: ServerResponse, id: string): void {
		const all = this.content[id];
		if (all === undefined) {
			r.writeHead(404, { "Content-Type": "application/problem+json" }).end("{}");
			return;
		}
		if (q.method === "GET") this.ranges.push(q.headers.range);
		const from = Number(/^bytes=(\d+)-/.exec(q.headers.range ?? "")?.[1] ?? 0);
		const part = all.subarray(from);
		const headers: Record<string, string | number> = {
			"Content-Type": "application/octet-stream",
			"Content-Disposition": "attachment; filename*=UTF-8''%E7%8C%AB.png",
			"Content-Length": part.length,
			"Accept-Ranges": "bytes",
			"Cache-Control": "no-store",
			ETag: TAG,
		};
		if (from > 0) headers["Content-Range"] = `bytes ${from}-${all.length - 1}/${all.length}`;
		r.writeHead(from > 0 ? 206 : 200, headers);
		if (q.method === "HEAD") r.end();
		else if (this.cuts > 0) {
			this.cuts--;
			r.write(part.subarray(0, part.length >> 1), () => setImmediate(() => q.socket.destroy()));
		} else r.end(part);
	}
}

async function body(q: IncomingMessage): Promise<Buffer> {
	const parts: Buffer[] = [];
	for await (const p of q) parts.push(p as Buffer);
	return Buffer.concat(parts);
}

function json(r: ServerResponse, v: unknown): void {
	r.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(v));
}
