// A node small enough to see through: serves the built page with the real headers, signs in, tells a status that the
// test sets, passes offers to whoever answers them, and speaks VNC's first words.

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { type WebSocket, WebSocketServer } from "ws";
import { FakeFiles } from "./fake-files";
import { type Caller, FakeShares } from "./fake-shares";
import { serveRfb } from "./fake-vnc";

export const SESSION = "s0123456789abcdef";
const DIST = join(import.meta.dirname, "..", "dist");
const types: Record<string, string> = {
	".js": "text/javascript",
	".css": "text/css",
	".svg": "image/svg+xml",
	".html": "text/html",
};

export interface Whep {
	status: number;
	sdp?: string;
}

export class FakeNode {
	state = "ready";
	reason = "";
	gimp = { state: "running", restarts: 0 };
	notice: unknown = null;
	portal = "https://portal.example";
	/** Which streamer the session has. */
	private streamer = 0;
	/** Answers somebody's offer. */
	whep: (offer: string, who: Caller) => Promise<Whep> = async () => ({ status: 503 });
	readonly requests: string[] = [];
	readonly files = new FakeFiles();
	readonly shares = new FakeShares();
	readonly screens: unknown[] = [];
	/** Which screen each offer was for. */
	readonly offered: number[] = [];
	private readonly tokens = new Set<string>();
	private peers = 0;
	private port = 0;
	private readonly waiting = new Set<() => void>();
	private readonly sockets = new Set<WebSocket>();

	private constructor(
		private readonly server: Server,
		private readonly csp: string,
	) {}

	static async start(): Promise<FakeNode> {
		const server = createServer();
		const node = new FakeNode(server, await policy());
		server.on("request", (q, r) => void node.answer(q, r).catch((e: unknown) => r.destroy(e as Error)));
		const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "binary" });
		server.on("upgrade", (q, socket, head) => {
			node.requests.push(`WS ${q.url}`);
			if (node.caller(q)?.role !== "owner") socket.destroy();
			else
				sockets.handleUpgrade(q, socket, head, (ws) => {
					node.sockets.add(ws);
					serveRfb(ws);
				});
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		return node;
	}

	get origin(): string {
		return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
	}

	/** A session address with a fresh token. */
	url(query = "", token = `t${Math.random()}`): string {
		this.tokens.add(token);
		return `${this.origin}/s/${SESSION}${query}#token=${token}`;
	}

	/** Changes the state; whoever waits for a change hears of it. */
	become(state: string, reason = ""): void {
		this.state = state;
		this.reason = reason;
		for (const wake of this.waiting) wake();
	}

	/** The session gets another streamer; whoever waits for that hears of it. */
	restartStreamer(): void {
		this.streamer++;
		for (const wake of this.waiting) wake();
	}

	/** Answers nothing any more, as a machine that lost its power. */
	async vanish(): Promise<void> {
		this.port = (this.server.address() as AddressInfo).port;
		this.cutVnc();
		const closed = new Promise((resolve) => this.server.close(resolve));
		this.server.closeAllConnections();
		await closed;
	}

	/** Answers again, at the same address. */
	async return(): Promise<void> {
		await new Promise<void>((resolve) => this.server.listen(this.port, "127.0.0.1", resolve));
	}

	cutVnc(): void {
		for (const ws of this.sockets) ws.terminate();
		this.sockets.clear();
	}

	async close(): Promise<void> {
		this.cutVnc();
		for (const wake of this.waiting) wake();
		this.files.close();
		if (!this.server.listening) return;
		this.server.closeAllConnections();
		await new Promise((resolve) => this.server.close(resolve));
	}

	private caller(q: IncomingMessage): Caller | undefined {
		if ((q.headers.cookie ?? "").includes(`easel_${SESSION}=good`)) return { id: "owner", role: "owner", name: "" };
		const guest = this.shares.guest(q);
		return guest === "gone" ? undefined : guest;
	}

	private async answer(q: IncomingMessage, r: ServerResponse): Promise<void> {
		const { pathname, searchParams } = new URL(q.url ?? "/", "http://x");
		this.requests.push(`${q.method} ${pathname}`);
		r.setHeader("Cross-Origin-Opener-Policy", "same-origin");
		r.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
		r.setHeader("Content-Security-Policy", this.csp.replace("connect-src 'self'", `$& ${this.portal}`));
		const base = `/s/${SESSION}`;
		if (q.method === "GET" && pathname === base) return file(r, "index.html");
		if (pathname.startsWith("/assets/") || pathname === "/favicon.svg") return file(r, pathname.slice(1));
		if (!pathname.startsWith(base)) return problem(r, 404, "No such page.");
		if (pathname.startsWith(`${base}/files/`)) {
			if (this.caller(q)?.role !== "owner") return this.refuse(q, r);
			return this.files.answer(q, r, pathname.slice(base.length + "/files/".length), searchParams);
		}
		const body = await text(q);
		if (pathname === `${base}/auth`) return this.auth(r, body);
		const who = this.caller(q);
		if (who === undefined) return this.refuse(q, r);
		if (pathname === `${base}/streamer`) return this.tellStreamer(r, searchParams.get("is"));
		if (pathname === `${base}/status`) return this.status(r, who, searchParams.get("wait"));
		if (q.method === "POST" && pathname === `${base}/whep`) {
			this.offered.push(Number(searchParams.get("screen") ?? 1));
			return this.offer(r, who, body);
		}
		if (pathname === `${base}/stats`) return json(r, { encoder: "fake" });
		if (pathname.startsWith(`${base}/whep/`)) return void r.writeHead(204).end();
		if (who.role !== "owner") return problem(r, 403, "Only the session's owner may do this.");
		if (pathname.startsWith(`${base}/shares`))
			return this.shares.answer(q, r, this.origin + base, pathname.slice(`${base}/shares`.length), body);
		if (q.method === "POST" && pathname === `${base}/screen`) this.screens.push(JSON.parse(body));
		if (q.method === "DELETE" && pathname === base) this.become("stopped", "the artist ended it");
		r.writeHead(204).end();
	}

	private auth(r: ServerResponse, body: string): void {
		const { token, share, name } = JSON.parse(body) as { token?: string; share?: string; name?: string };
		if (share !== undefined) return this.shares.welcome(r, SESSION, share, name ?? "");
		if (!this.tokens.delete(token ?? "")) return this.refuse(null, r);
		r.setHeader("Set-Cookie", `easel_${SESSION}=good; Path=/s/${SESSION}; HttpOnly; SameSite=Strict`);
		r.writeHead(204).end();
	}

	private refuse(q: IncomingMessage | null, r: ServerResponse): void {
		if (q !== null && this.shares.guest(q) === "gone") return this.shares.refuse(r);
		r.setHeader("Link", `<https://portal.example/sessions/${SESSION}/open>; rel="portal"`);
		problem(r, 401, "Open the session from the portal again.");
	}

	private async status(r: ServerResponse, you: Caller, not: string | null): Promise<void> {
		if (not === this.state) await this.news(r);
		const { state, reason, gimp, notice } = this;
		const way = isOver(state) ? `${this.portal}/` : `${this.portal}/sessions/${SESSION}/open`;
		const sharing = you.role === "owner" && this.shares.allowed;
		const portal = you.role === "owner" ? way : "";
		const files = you.role === "owner" ? this.files.allowed : { in: false, out: false, most: 0 };
		const said = { id: SESSION, state, reason, gimp, portal, notice, expires: null, files };
		json(r, { ...said, you, owner: "ada", sharing });
	}

	private async tellStreamer(r: ServerResponse, is: string | null): Promise<void> {
		while (is === String(this.streamer) && !r.closed && this.server.listening) await this.news(r);
		json(r, { streamer: this.streamer });
	}

	/** Waits for something to change. */
	private async news(r: ServerResponse): Promise<void> {
		let wake = (): void => {};
		await new Promise<void>((resolve) => {
			wake = resolve;
			this.waiting.add(wake);
			r.on("close", wake);
			setTimeout(wake, 20_000).unref();
		});
		this.waiting.delete(wake);
	}

	private async offer(r: ServerResponse, who: Caller, body: string): Promise<void> {
		const { status, sdp } = await this.whep(body, who);
		if (sdp === undefined) return problem(r, status, "The stream is not there yet.");
		r.setHeader("Location", `whep/p${++this.peers}`);
		r.writeHead(201, { "Content-Type": "application/sdp" }).end(sdp);
	}
}

// The page's policy as the node's binary has it.
async function policy(): Promise<string> {
	const go = await readFile(join(import.meta.dirname, "..", "viewer.go"), "utf8");
	const m = /const ContentSecurityPolicy = ((?:"[^"]*"[\s+]*)+)/.exec(go);
	if (!m?.[1]) throw new Error("viewer.go has no ContentSecurityPolicy");
	return [...m[1].matchAll(/"([^"]*)"/g)].map((p) => p[1]).join("");
}

function isOver(state: string): boolean {
	return state === "stopping" || state === "stopped" || state === "failed";
}

async function file(r: ServerResponse, name: string): Promise<void> {
	const data = await readFile(join(DIST, name));
	r.writeHead(200, { "Content-Type": types[extname(name)] ?? "application/octet-stream" }).end(data);
}

async function text(q: IncomingMessage): Promise<string> {
	const parts: Buffer[] = [];
	for await (const p of q) parts.push(p as Buffer);
	return Buffer.concat(parts).toString();
}

function json(r: ServerResponse, v: unknown): void {
	r.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(v));
}

function problem(r: ServerResponse, status: number, detail: string): void {
	r.writeHead(status, { "Content-Type": "application/problem+json" }).end(JSON.stringify({ title: "Refused", detail }));
}
