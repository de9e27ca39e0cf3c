// A way between this page and the remote screen. Peer (WebRTC) is the real one, Vnc the fallback.

import type { SoundLink } from "../audio";
import type { ClipboardChannel } from "../clipboard/channel";
import type { Way } from "../input/steady";
import type { Notice } from "../notice";
import type { Size } from "../options";
import type { Company } from "../share/company";
import type { Path } from "../state";
import type { Stage } from "../stats/latency";
import type { OffBeatCounts } from "../tiles/off-beat";
import type { CursorShape, Gimp, Quality } from "./control";

/** Why a link ended. */
export type Ending =
	/** Nothing had come for `quiet` ms. */
	| { kind: "lost"; why: string; quiet: number }
	/** Another window took over. */
	| { kind: "replaced" }
	/** The node said goodbye: its status tells what became of the session. */
	| { kind: "bye"; reason: string }
	| { kind: "closed" };

/** How much of the picture is exact, bit by bit, by the node's hashes. */
export interface Tiles {
	all: number;
	exact: number;
	/** How soon changes by tiles were shown. */
	offBeat: OffBeatCounts;
}

export interface Link extends Way {
	readonly path: Path;
	/** The way of the clipboard; null where the link has none (VNC). */
	readonly clipboard: ClipboardChannel | null;
	/** The session's sound; null where the link has none (VNC). */
	readonly sound: SoundLink | null;
	/** Tiles of the screen, and how many are shown exactly; null where the link has none. */
	readonly tiles: Tiles | null;
	/** Latency of each stage from the hand to the picture, as far as is known. */
	readonly stages: Record<string, Stage>;
	/** Resolves once, when the link is over for whatever reason. */
	readonly ended: Promise<Ending>;
	/** Asks for a remote size. `scale` is the display's, in per cent. */
	resize(size: Size, scale: number): void;
	quality(value: Quality): void;
	/** Whether the node's figures should come, once a second. */
	watch(on: boolean): void;
	/** The browser's own figures. */
	figures(): Promise<Partial<Figures>>;
	/** Ends the link and frees all it holds. May be called twice. */
	close(): void;
}

/** What a link reports while it lives. */
export interface LinkHost {
	/** The remote screen has this size, and the video which shows it that one, if not the same. */
	screen(size: Size, video?: Size): void;
	cursor(id: string, shape: CursorShape | null): void;
	gimp(gimp: Gimp): void;
	/** What the node has to say to the artist; null takes it back. */
	notice(notice: Notice | null): void;
	/** Which way files may cross has changed. */
	files(): void;
	/** The node told whether there is sound to be heard. */
	sound(): void;
	/** Whether the whole picture is exact now. */
	exact(on: boolean): void;
	/** Nothing comes at the moment, and why; null when it does again. */
	held(why: string | null): void;
	/** The picture is about to go, though nobody wanted that. */
	going(): void;
	/** What the hand did until then (the page's time) is on show. */
	pictured(time: number): void;
	/** The picture takes another way now. */
	path(path: Path): void;
	/** Who is there, and who has the hand. */
	company(company: Company): void;
	/** The node's figures came. */
	stats(stats: Record<string, unknown>): void;
}

/** What the browser itself can tell of a link. */
export interface Figures {
	codec: string;
	profile: string;
	chroma: string;
	/** Bytes of video received. */
	bytes: number;
	/** Frames decoded. */
	frames: number;
	fps: number;
	/** Milliseconds. */
	rtt: number;
	/** Milliseconds a frame, on average since the link came up. */
	decode: number;
	jitterBuffer: number;
	packetsLost: number;
	keyFrames: number;
	width: number;
	height: number;
	path: Path;
}

/** The way cannot carry a picture here, though the node answers: another way may. */
export class LinkError extends Error {
	override readonly name = "LinkError";
}
