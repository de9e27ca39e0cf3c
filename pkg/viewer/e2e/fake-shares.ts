// The sharing part of the fake node: links in memory, and the cookies of who came by them.

import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";

interface Share {
	id: string;
	role: string;
	name: string;
	expires: string | null;
	secret: string;
}

/** Who asks: the owner, or somebody by a link. */
export interface Caller {
	id: string;
	role: string;
	name: string;
}

const COOKIE = /easel_guest_[a-z0-9]+=([a-z0-9]+)\.([^;]*)/;
const GONE = "the link by which you came to this session is no longer good: ask its owner for another";

export class FakeShares {
	/** Whether this node's sessions are shared. */
	allowed = true;
	links: Share[] = [];
	/** What the owner asked for. */
	readonly wished: unknown[] = [];
	/** What a new link is refused with. */
	refusal: { status: number; detail: string } | null = null;

	/** Takes a link's secret for a guest's cookie, as `/auth` does. */
	welcome(r: ServerResponse, session: string, secret: string, name: string): void {
		const link = this.links.find((l) => l.secret === secret && this.lives(l));
		if (!link)
			return problem(r, 401, "this link to a session is not good, or no longer: ask the session's owner for another");
		const cookie = `easel_guest_${session}=${link.id}.${encodeURIComponent(name || "Guest")}`;
		r.setHeader("Set-Cookie", `${cookie}; Path=/s/${session}; HttpOnly; SameSite=Strict`);
		r.writeHead(204).end();
	}

	/** Who a guest's cookie is of: "gone" when its link is, undefined where there is none. */
	guest(q: IncomingMessage): Caller | "gone" | undefined {
		const [, id, name] = COOKIE.exec(q.headers.cookie ?? "") ?? [];
		if (id === undefined) return undefined;
		const link = this.links.find((l) => l.id === id && this.lives(l));
		return link ? { id: `${id}.g`, role: link.role, name: decodeURIComponent(name ?? "") } : "gone";
	}

	refuse(r: ServerResponse): void {
		problem(r, 401, GONE);
	}

	/** `path` is what follows `/s/ID/shares`, for the owner. */
	answer(q: IncomingMessage, r: ServerResponse, origin: string, path: string, body: string): void {
		if (q.method === "GET") return json(r, 200, { shares: this.links.filter((l) => this.lives(l)).map(told) });
		if (q.method === "DELETE") {
			const before = this.links.length;
			this.links = this.links.filter((l) => `/${l.id}` !== path);
			if (this.links.length === before) return problem(r, 404, "the session has no such link");
			r.writeHead(204).end();
			return;
		}
		const wish = JSON.parse(body) as { role: string; name: string; expires: number };
		this.wished.push(wish);
		if (this.refusal) return problem(r, this.refusal.status, this.refusal.detail);
		const expires = wish.expires ? new Date(Date.now() + wish.expires * 1000).toISOString() : null;
		const link = { id: hex(), role: wish.role, name: wish.name, expires, secret: hex() };
		this.links.push(link);
		json(r, 201, { ...told(link), url: `${origin}#share=${link.secret}` });
	}

	private lives(l: Share): boolean {
		return this.allowed && (l.expires === null || Date.parse(l.expires) > Date.now());
	}
}

const hex = (): string => randomBytes(8).toString("hex");

function told({ secret: _, ...link }: Share): Omit<Share, "secret"> {
	return link;
}

function json(r: ServerResponse, status: number, v: unknown): void {
	r.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(v));
}

function problem(r: ServerResponse, status: number, detail: string): void {
	r.writeHead(status, { "Content-Type": "application/problem+json" }).end(JSON.stringify({ title: "Refused", detail }));
}
