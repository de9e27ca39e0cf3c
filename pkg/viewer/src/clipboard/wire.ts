// The clipboard channel's messages (ARCHITECTURE.md, "Clipboard"); the node has the same in noded/stream/clipboard/wire.go.

/** Kinds of content that cross. */
const FORMATS = ["text", "html", "png"] as const;
export type Format = (typeof FORMATS)[number];

/** Limits of one content, in bytes. */
export const LIMITS: Readonly<Record<Format, number>> = { text: 1 << 20, html: 1 << 20, png: 32 << 20 };

export const TYPES: Readonly<Record<Format, string>> = { text: "text/plain", html: "text/html", png: "image/png" };

/** How a content ended. */
export type Outcome = "whole" | "gone" | "too large" | "refused" | "late" | "broken";
const OUTCOMES: readonly Outcome[] = ["whole", "gone", "too large", "refused", "late", "broken"];

const KINDS = ["offer", "taken", "fetch", "data", "end", "stop", "policy", "got", "asked", "has", "past"] as const;
const HEADER = 8;
const MAX_MESSAGE = 16 << 10;
/** Bytes of content in one message. */
export const PART = MAX_MESSAGE - HEADER;

export type Message =
	| { kind: "offer" | "taken"; formats: ReadonlySet<Format>; dear: boolean; serial: number }
	/** An application of the session's asks about what was offered, whatever for. */
	| { kind: "asked"; serial: number }
	/** One has done what a key that pastes told it; the serial is that of the key's message. */
	| { kind: "past"; serial: number }
	/** `got`: a part that was sent has come. `has`: an application of the session's has all of it. */
	| { kind: "got" | "has"; format: Format; serial: number }
	/** `number` tells one fetch of a content from the next; 0 where the node knows of none. */
	| { kind: "fetch" | "stop"; format: Format; serial: number; number: number }
	| { kind: "data"; format: Format; serial: number; number: number; data: Uint8Array<ArrayBuffer> }
	| { kind: "end"; format: Format; serial: number; number: number; outcome: Outcome }
	/** Which ways are open: `in` is to the session. The node answers each part that it is sent, and numbers fetches, or it does not. */
	| { kind: "policy"; in: boolean; out: boolean; answers: boolean; numbers: boolean };

export function encodeClip(m: Message): ArrayBuffer {
	const data = m.kind === "data" ? m.data : new Uint8Array(0);
	const b = new Uint8Array(HEADER + data.length);
	b[0] = KINDS.indexOf(m.kind) + 1;
	if (m.kind === "policy") {
		b[1] = (m.in ? 1 : 0) | (m.out ? 2 : 0);
		b[2] = (m.answers ? 1 : 0) | (m.numbers ? 2 : 0);
		return b.buffer;
	}
	new DataView(b.buffer).setUint32(4, m.serial, true);
	if (m.kind === "asked" || m.kind === "past") return b.buffer;
	if ("formats" in m) {
		for (const f of m.formats) b[1] = (b[1] ?? 0) | (1 << FORMATS.indexOf(f));
		if (m.kind === "offer" && m.dear) b[2] = 1;
	} else {
		b[1] = FORMATS.indexOf(m.format);
		if (m.kind === "end") b[2] = OUTCOMES.indexOf(m.outcome);
		if ("number" in m) b[3] = m.number;
	}
	b.set(data, HEADER);
	return b.buffer;
}

/** Reads a message of the node's; null when it is none. */
export function decodeClip(raw: unknown): Message | null {
	if (!(raw instanceof ArrayBuffer) || raw.byteLength < HEADER || raw.byteLength > MAX_MESSAGE) return null;
	const b = new Uint8Array(raw);
	const [first = 0, what = 0, how = 0, number = 0] = b;
	const kind = KINDS[first - 1];
	const serial = new DataView(raw).getUint32(4, true);
	const format = FORMATS[what];
	switch (kind) {
		case "offer":
		case "taken":
			return { kind, formats: new Set(FORMATS.filter((_, i) => what & (1 << i))), dear: (how & 1) !== 0, serial };
		case "policy":
			return { kind, in: (what & 1) !== 0, out: (what & 2) !== 0, answers: (how & 1) !== 0, numbers: (how & 2) !== 0 };
		case "asked":
		case "past":
			return { kind, serial };
		case "got":
		case "has":
			return format ? { kind, format, serial } : null;
		case "fetch":
		case "stop":
			return format ? { kind, format, serial, number } : null;
		case "data":
			return format && b.length > HEADER ? { kind, format, serial, number, data: b.slice(HEADER) } : null;
		case "end": {
			const outcome = OUTCOMES[how];
			return format && outcome ? { kind, format, serial, number, outcome } : null;
		}
		default:
			return null;
	}
}
