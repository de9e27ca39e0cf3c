// The JSON messages of the `control` channel (ARCHITECTURE.md, "Data channels"). What comes in was partly made by a
// hostile container (cursor images, reasons), so every field is checked before anything uses it.

import type { Told } from "../input/backlog";
import { type Notice, parseNotice } from "../notice";
import { MAX_SIDE, type Size } from "../options";
import { type Company, parseCompany } from "../share/company";
import type { Beat } from "./beats";

export type Quality = "auto" | "sharp" | "fast";

export type ToNode =
	| { t: "seen"; rtp: number }
	| { t: "resize"; w: number; h: number; scale: number }
	| { t: "quality"; value: Quality }
	| { t: "ping"; id: number }
	| ({ t: "beat" } & Beat)
	| { t: "watch"; on: boolean }
	| { t: "hand"; to: string }
	| ({ t: "resume" } & Told)
	| { t: "audio"; on: boolean }
	| { t: "client"; stats: Record<string, unknown> }
	| { t: "latency"; stages: Record<string, { n: number[]; ms: number }> };

/** A cursor image; x and y are its hot spot. All in remote pixels. */
export interface CursorShape extends Size {
	x: number;
	y: number;
	/** The PNG's bytes; empty when the cursor is invisible. */
	png: Uint8Array<ArrayBuffer>;
}

export interface Gimp {
	state: string;
	restarts: number;
}

export type FromNode =
	| ({ t: "screen"; video: Size } & Size)
	| { t: "cursor"; id: string; shape: CursorShape | null }
	| ({ t: "gimp" } & Gimp)
	| { t: "stats"; stats: Record<string, unknown> }
	| { t: "pong"; id: number; at: number | null }
	| { t: "notice"; notice: Notice | null }
	| { t: "people"; company: Company }
	| { t: "audio"; on: boolean }
	| { t: "resumed"; known: boolean; rseq: number; sample: number }
	| { t: "files" }
	| { t: "replaced" }
	| { t: "bye"; reason: string };

/** A message's longest text: a large cursor fits, a flood does not. */
const MAX_MESSAGE = 1 << 20;
const MAX_CURSOR = 512;
const MAX_REASON = 300;
const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

type Fields = Record<string, unknown>;

/** Reads one message. Unknown types and malformed fields give null: a newer node may say more than this page knows. */
export function parseControl(data: unknown): FromNode | null {
	if (typeof data !== "string" || data.length > MAX_MESSAGE) return null;
	let m: Fields;
	try {
		m = JSON.parse(data) as Fields;
	} catch {
		return null;
	}
	if (typeof m !== "object" || m === null || Array.isArray(m)) return null;
	switch (m.t) {
		case "screen":
			return screen(m);
		case "cursor":
			return cursor(m);
		case "gimp":
			return typeof m.state === "string"
				? { t: "gimp", state: m.state, restarts: isInt(m.restarts, 0, 1e9) ? m.restarts : 0 }
				: null;
		case "stats": {
			const { t: _, ...stats } = m;
			return { t: "stats", stats };
		}
		case "pong":
			return isInt(m.id, 0, Number.MAX_SAFE_INTEGER) ? { t: "pong", id: m.id, at: time(m.at) } : null;
		case "notice":
			return { t: "notice", notice: parseNotice(m) };
		case "people": {
			const company = parseCompany(m);
			return company && { t: "people", company };
		}
		case "audio":
			return typeof m.on === "boolean" ? { t: "audio", on: m.on } : null;
		case "resumed": {
			const { known, rseq, sample } = m;
			const numbers = isInt(rseq, 0, 0xffffffff) && isInt(sample, 0, 0xffffffff);
			return numbers && typeof known === "boolean" ? { t: "resumed", known, rseq, sample } : null;
		}
		case "files":
		case "replaced":
			return { t: m.t };
		case "bye":
			return { t: "bye", reason: typeof m.reason === "string" ? m.reason.slice(0, MAX_REASON) : "" };
		default:
			return null;
	}
}

function size(v: unknown): Size | null {
	if (typeof v !== "object" || v === null) return null;
	const { w, h } = v as Fields;
	return isInt(w, 1, MAX_SIDE) && isInt(h, 1, MAX_SIDE) ? { w, h } : null;
}

// The video is as large as the screen, unless the node says otherwise.
function screen(m: Fields): FromNode | null {
	const all = size(m);
	const video = m.video === undefined ? all : size(m.video);
	return all && video && { t: "screen", ...all, video };
}

function time(v: unknown): number | null {
	return typeof v === "number" && Number.isFinite(v) ? v : null;
}

function isInt(v: unknown, lo: number, hi: number): v is number {
	return typeof v === "number" && Number.isInteger(v) && v >= lo && v <= hi;
}

function cursor(m: Fields): FromNode | null {
	if (typeof m.id !== "string" && typeof m.id !== "number") return null;
	const id = String(m.id);
	if (m.png === undefined) return { t: "cursor", id, shape: null };
	// The node leaves out zeros.
	const { x = 0, y = 0, w = 0, h = 0 } = m;
	if (!isInt(w, 0, MAX_CURSOR) || !isInt(h, 0, MAX_CURSOR)) return null;
	if (!isInt(x, -MAX_CURSOR, MAX_CURSOR) || !isInt(y, -MAX_CURSOR, MAX_CURSOR)) return null;
	const png = typeof m.png === "string" ? bytes(m.png) : null;
	if (!png) return null;
	if (png.length > 0 && PNG_SIGNATURE.some((b, i) => png[i] !== b)) return null;
	return { t: "cursor", id, shape: { x, y, w, h, png } };
}

function bytes(base64: string): Uint8Array<ArrayBuffer> | null {
	try {
		return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
	} catch {
		return null;
	}
}
