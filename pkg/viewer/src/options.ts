// What the page's address asks for. The fragment may hold options as well as the query, because the node's
// session address ends in `#token=…` and tools append to it; `&` and `?` both separate.

import { CODECS, type Codec, isCodec } from "./link/codec";

/** Bounds of the remote screen in pixels a side; the node has the same. */
export const MIN_SIDE = 320;
export const MAX_SIDE = 8192;

export interface Size {
	w: number;
	h: number;
}

export interface Options {
	/** Sign-in token, from the fragment alone: a query ends up in logs. */
	token: string | null;
	/** The secret of a link by which a guest comes, from the fragment alone. */
	share: string | null;
	/** One remote pixel is one CSS pixel, at the page's top left corner. */
	unscaled: boolean;
	/** The tool strip and other things over the picture. */
	chrome: boolean;
	/** A fixed remote size; null follows the window. */
	size: Size | null;
	/** Which of the session's screens this window shows: 1 or 2. */
	screen: number;
	/** Use the VNC fallback from the start and stay there. */
	vnc: boolean;
	/** Go through the node's relay even where the direct way is open. */
	relay: boolean;
	/** A line under the nib, ahead of the picture. */
	ink: boolean;
	/** The one video codec that is to be used; null leaves it to the node. */
	codec: Codec | null;
	/** What was wrong with the address, for the artist to read. */
	problems: string[];
	/** The fragment to leave in the address: without the token. */
	fragment: string;
}

function pairs(part: string): [string, string][] {
	return part
		.replace(/^[?#]/, "")
		.split(/[?&#]/)
		.filter((p) => p !== "")
		.map((p) => {
			const at = p.indexOf("=");
			return at < 0 ? [p, ""] : [p.slice(0, at), decode(p.slice(at + 1))];
		});
}

function decode(value: string): string {
	try {
		return decodeURIComponent(value);
	} catch {
		return value;
	}
}

function flag(name: string, value: string, problems: string[], otherwise: boolean): boolean {
	if (value === "1" || value === "true") return true;
	if (value === "0" || value === "false") return false;
	problems.push(`The address says ${name}=${value}: it can be 0 or 1.`);
	return otherwise;
}

function parseSize(value: string, problems: string[]): Size | null {
	const m = /^(\d{1,5})x(\d{1,5})$/.exec(value);
	const w = Number(m?.[1]);
	const h = Number(m?.[2]);
	const fits = (side: number): boolean => side >= MIN_SIDE && side <= MAX_SIDE && side % 2 === 0;
	if (m && fits(w) && fits(h)) return { w, h };
	problems.push(
		`The address says size=${value}: it must be like 1920x1080, even, and ${MIN_SIDE} to ${MAX_SIDE} a side.`,
	);
	return null;
}

function parseCodec(value: string, problems: string[]): Codec | null {
	if (isCodec(value)) return value;
	if (value !== "auto") problems.push(`The address says codec=${value}: it can be auto, ${CODECS.join(", ")}.`);
	return null;
}

/** Reads the options from location.search and location.hash. Where both name one, the fragment wins. */
export function parseOptions(search: string, hash: string): Options {
	const o: Options = {
		token: null,
		share: null,
		unscaled: false,
		chrome: true,
		size: null,
		screen: 1,
		vnc: false,
		relay: false,
		ink: false,
		codec: null,
		problems: [],
		fragment: "",
	};
	const fragment = pairs(hash);
	for (const [name, value] of [...pairs(search), ...fragment]) {
		if (name === "scale") o.unscaled = flag(name, value, o.problems, o.unscaled);
		else if (name === "chrome") o.chrome = flag(name, value, o.problems, o.chrome);
		else if (name === "ink") o.ink = flag(name, value, o.problems, o.ink);
		else if (name === "size") o.size = parseSize(value, o.problems);
		else if (name === "codec") o.codec = parseCodec(value, o.problems);
		else if (name === "screen") {
			o.screen = value === "2" ? 2 : 1;
			if (value !== "1" && value !== "2") o.problems.push(`The address says screen=${value}: it can be 1 or 2.`);
		} else if (name === "path") {
			o.relay = value === "relay";
			if (!o.relay && value !== "direct") o.problems.push(`The address says path=${value}: it can be direct or relay.`);
		} else if (name === "transport") {
			o.vnc = value === "vnc";
			if (!o.vnc && value !== "webrtc")
				o.problems.push(`The address says transport=${value}: it can be webrtc or vnc.`);
		}
	}
	if (o.vnc && o.screen > 1) {
		o.vnc = false;
		o.problems.push(
			"The address asks for the second screen over VNC, which shows all screens as one, in the first window.",
		);
	}
	for (const [name, value] of fragment) if (name === "token" && value !== "") o.token = value;
	for (const [name, value] of fragment) if (name === "share" && value !== "") o.share = value;
	const rest = fragment.filter(([name]) => name !== "token" && name !== "share");
	o.fragment = rest.map(([n, v]) => (v === "" ? n : `${n}=${encodeURIComponent(v)}`)).join("&");
	return o;
}

/** The session's address below the node, `/s/ID`, from location.pathname; null when the page lies elsewhere. */
export function sessionBase(pathname: string): string | null {
	const m = /^(.*\/s\/[a-z0-9]+)\/?$/.exec(pathname);
	return m?.[1] ?? null;
}
