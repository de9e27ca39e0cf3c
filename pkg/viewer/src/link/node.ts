// The node's HTTP face, as far as the page needs it (ARCHITECTURE.md, "Browser ⇄ node").

import { type Allowed, parseAllowed } from "../files/api";
import { type Notice, parseNotice } from "../notice";
import type { Size } from "../options";
import { parseLinks, parseMade, parseVisitor, type ShareLink, type ShareWish, type Visitor } from "../share/api";

/** Why the node did not do what was asked. */
export type Refusal =
	/** No sign-in, or one for something else. */
	| "denied"
	/** There is no such session (any more). */
	| "gone"
	/** The node answers, but cannot now. */
	| "unavailable"
	/** Nothing answers. */
	| "unreachable"
	/** The node understood and refused this request for good. */
	| "refused";

export class NodeError extends Error {
	constructor(
		readonly refusal: Refusal,
		message: string,
		/** The portal's address for this session, where the node told it. */
		readonly portal: string | null = null,
	) {
		super(message);
		this.name = "NodeError";
	}
}

export interface Status {
	state: string;
	reason: string;
	gimp: { state: string; restarts: number } | null;
	portal: string | null;
	/** What the node has to say to the artist. */
	notice: Notice | null;
	/** Which start of the node's relay this is; empty when it has none. */
	relay: string;
	/** Which way files may cross. */
	files: Allowed;
	/** Who asked. */
	visitor: Visitor;
}

/** How the node's relay is used, for this session alone. No servers: it has none. */
export interface Ice {
	servers: RTCIceServer[];
	/** Which start of the relay they belong to. */
	relay: string;
}

export interface Answer {
	sdp: string;
	/** Where to DELETE this peer; null when the node did not say. */
	peer: string | null;
}

const QUICK = 10_000;
/** The node holds a waiting status up to 20 s. */
const LONG_POLL = 30_000;
/** And the question for another streamer up to 5 min. */
const LONGER_POLL = 330_000;

export class Node {
	/** Called whenever the node answers anything. */
	answered: () => void = () => {};
	private readonly screen: string;

	/** `base` is the session's address, `/s/ID`; `screen` is the one of its screens that offers and figures are about. */
	constructor(
		readonly base: string,
		screen = 1,
	) {
		this.screen = screen > 1 ? `?screen=${screen}` : "";
	}

	/** Trades the token of the address for the session's cookie. */
	async signIn(token: string, signal: AbortSignal): Promise<void> {
		const body = JSON.stringify({ token });
		await this.ask("sign in", "auth", signal, QUICK, { method: "POST", body, headers: json });
	}

	/** Trades a link's secret for a guest's cookie. */
	async signInAsGuest(share: string, name: string, signal: AbortSignal): Promise<void> {
		const body = JSON.stringify({ share, name });
		await this.ask("come in", "auth", signal, QUICK, { method: "POST", body, headers: json });
	}

	/** The links by which guests come. */
	async links(signal: AbortSignal): Promise<ShareLink[]> {
		const r = await this.ask("list the links", "shares", signal, QUICK, {});
		return parseLinks(await r.json().catch(() => null));
	}

	/** Makes a link, and returns its address. */
	async makeLink(wish: ShareWish, signal: AbortSignal): Promise<string> {
		const body = JSON.stringify(wish);
		const r = await this.ask("make a link", "shares", signal, QUICK, { method: "POST", body, headers: json });
		const url = parseMade(await r.json().catch(() => null));
		if (url === null) throw new NodeError("unavailable", "The node made a link and did not say which: revoke it.");
		return url;
	}

	/** Ends a link, and who came by it. */
	async revokeLink(id: string, signal: AbortSignal): Promise<void> {
		await this.ask("revoke the link", `shares/${id}`, signal, QUICK, { method: "DELETE" });
	}

	/** The session's status; with `not`, waits (≤ 20 s) until the state is another, or with `relay` the relay too. */
	async status(signal: AbortSignal, not?: string, relay = ""): Promise<Status> {
		const asked = new URLSearchParams();
		if (not !== undefined) asked.set("wait", not);
		if (relay !== "") asked.set("relay", relay);
		const query = asked.size === 0 ? "" : `?${asked}`;
		const limit = not === undefined ? QUICK : LONG_POLL;
		const r = await this.ask("ask for the session's state", `status${query}`, signal, limit, {});
		return parseStatus(await r.json().catch(() => null));
	}

	/** Which of its streamers the session has; with `not` waits (≤ 5 min) for another. */
	async streamer(signal: AbortSignal, not: number | null): Promise<number> {
		const [query, limit] = not === null ? ["", QUICK] : [`?is=${not}`, LONGER_POLL];
		const r = await this.ask("ask for the session's streamer", `streamer${query}`, signal, limit, {});
		const v: unknown = await r.json().catch(() => null);
		return isObject(v) && typeof v.streamer === "number" ? v.streamer : 0;
	}

	/** The way through the node's relay. */
	async ice(signal: AbortSignal): Promise<Ice> {
		const r = await this.ask("ask for the relay", "ice", signal, QUICK, {});
		return parseIce(await r.json().catch(() => null));
	}

	/** Offers a connection: a new one, or that of `peer` anew. */
	async offer(sdp: string, signal: AbortSignal, peer: string | null = null): Promise<Answer> {
		const headers = { "Content-Type": "application/sdp" };
		const path = peer === null ? `whep${this.screen}` : `whep/${peer.slice(peer.lastIndexOf("/") + 1)}`;
		const r = await this.ask("start the picture", path, signal, QUICK, { method: "POST", body: sdp, headers });
		const location = r.headers.get("Location");
		const at = location === null ? null : new URL(location, new URL(`${this.base}/`, window.location.href));
		const mine = at?.origin === window.location.origin && at.pathname.startsWith(`${this.base}/whep/`);
		return { sdp: await r.text(), peer: mine ? at.pathname : null };
	}

	/** Ends a peer; sent even while the page goes away, and not waited for. */
	hangUp(peer: string): void {
		void fetch(peer, { method: "DELETE", keepalive: true }).catch(() => {});
	}

	/** Sets the remote size where there is no control channel. */
	async resize(size: Size, scale: number, signal: AbortSignal): Promise<void> {
		const body = JSON.stringify({ width: size.w, height: size.h, scale });
		await this.ask("set the screen's size", "screen", signal, QUICK, { method: "POST", body, headers: json });
	}

	/** The streamer's own figures. */
	async stats(signal: AbortSignal): Promise<Record<string, unknown>> {
		const r = await this.ask("ask for figures", `stats${this.screen}`, signal, QUICK, {});
		const v: unknown = await r.json().catch(() => null);
		return isObject(v) ? v : {};
	}

	/** Ends the session. */
	async end(signal: AbortSignal): Promise<void> {
		await this.ask("end the session", "", signal, QUICK, { method: "DELETE" });
	}

	vncAddress(): string {
		const at = new URL(`${this.base}/vnc`, window.location.href);
		at.protocol = at.protocol === "https:" ? "wss:" : "ws:";
		return at.href;
	}

	private async ask(
		doing: string,
		path: string,
		signal: AbortSignal,
		limit: number,
		init: RequestInit,
	): Promise<Response> {
		const url = path === "" ? this.base : `${this.base}/${path}`;
		let r: Response;
		try {
			r = await fetch(url, { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(limit)]) });
		} catch (e) {
			if (signal.aborted) throw e;
			throw new NodeError("unreachable", `Could not ${doing}: the node does not answer.`);
		}
		if (kindOf(r.status) !== "unreachable") this.answered();
		if (r.ok) return r;
		throw await refusal(doing, r);
	}
}

const json = { "Content-Type": "application/json" };

async function refusal(doing: string, r: Response): Promise<NodeError> {
	const problem: unknown = await r.json().catch(() => null);
	const p = isObject(problem) ? problem : {};
	const said = [p.detail, p.title].find((v): v is string => typeof v === "string" && v !== "");
	const message = sentence(said?.slice(0, 500) ?? "") || `Could not ${doing}: the node answered ${r.status}.`;
	return new NodeError(kindOf(r.status), message, portalOf(r) ?? link(p.portal));
}

// Link: <https://portal.example/>; rel="portal"
function portalOf(r: Response): string | null {
	const m = /<([^>]*)>\s*;\s*rel="?portal"?/.exec(r.headers.get("Link") ?? "");
	return link(m?.[1]);
}

function kindOf(status: number): Refusal {
	if (status === 401 || status === 403) return "denied";
	if (status === 404 || status === 410) return "gone";
	// A proxy's words for a node that is not there.
	if (status === 502 || status === 504) return "unreachable";
	return status >= 500 || status === 429 || status === 409 || status === 425 ? "unavailable" : "refused";
}

/** What the node says of itself as people read it: it begins small, and ends without a stop, as errors do. */
export function sentence(said: string): string {
	const text = said.trim();
	if (text === "") return "";
	const first = String.fromCodePoint(text.codePointAt(0) ?? 0);
	return first.toLocaleUpperCase("en") + text.slice(first.length) + (/[.!?…]$/.test(text) ? "" : ".");
}

/** Reads a status document; what is missing or malformed is empty. */
export function parseStatus(v: unknown): Status {
	const o = isObject(v) ? v : {};
	const text = (f: unknown): string => (typeof f === "string" ? f.slice(0, 500) : "");
	const g = isObject(o.gimp) ? o.gimp : null;
	return {
		state: text(o.state),
		reason: sentence(text(o.reason)),
		gimp: g && { state: text(g.state), restarts: typeof g.restarts === "number" ? g.restarts : 0 },
		portal: link(o.portal),
		notice: parseNotice(o.notice),
		relay: text(o.relay),
		files: parseAllowed(o.files),
		visitor: parseVisitor(o),
	};
}

/** Reads the relay's document; a server that is malformed is left out, or the browser would refuse them all. */
export function parseIce(v: unknown): Ice {
	const o = isObject(v) ? v : {};
	const servers = (Array.isArray(o.iceServers) ? o.iceServers : []).flatMap((s: unknown): RTCIceServer[] => {
		if (!isObject(s) || typeof s.username !== "string" || typeof s.credential !== "string") return [];
		const urls = Array.isArray(s.urls) ? s.urls.filter((u): u is string => /^turns?:/.test(String(u))) : [];
		return urls.length === 0 ? [] : [{ urls, username: s.username, credential: s.credential }];
	});
	return { servers, relay: typeof o.relay === "string" ? o.relay : "" };
}

/** An address that is safe to link to. */
export function link(v: unknown): string | null {
	if (typeof v !== "string" || !URL.canParse(v)) return null;
	const { protocol, href } = new URL(v);
	return protocol === "https:" || protocol === "http:" ? href : null;
}

function isObject(v: unknown): v is Record<string, unknown> {
	return typeof v === "object" && v !== null && !Array.isArray(v);
}
