// Finds a way to the session's picture: the direct stream, or VNC where the network or the browser has none. While on VNC, the direct one is
// tried again.

import type { Backlog } from "../input/backlog";
import type { Options, Size } from "../options";
import type { Codec } from "./codec";
import { type Ending, type Link, LinkError, type LinkHost } from "./link";
import { type Ice, type Node, NodeError } from "./node";
import { Peer } from "./peer";
import { relayChanged } from "./relay";
import { streamerChanged } from "./streamer";
import { Vnc } from "./vnc";

/** A direct stream opens within this time (ms) or the fallback is taken. */
const DIRECT_WITHIN = 5000;
const FALLBACK_WITHIN = 10_000;
/** While on the fallback, the direct stream is tried again after these times (ms), the last one over and over. */
const DIRECT_AGAIN = [15_000, 30_000, 60_000, 120_000] as const;
/** How the relay is used must be known within this time (ms), or the picture starts without it. */
const RELAY_WITHIN = 2000;

export interface DialerHost {
	/** What a direct link tells, and what one by VNC does. */
	link: LinkHost;
	overVnc: LinkHost;
	/** The remote size to ask for, and the interface's scale in per cent. */
	ask(): { size: Size; scale: number };
	guest(): boolean;
	/** The link that there is will be replaced by another: what is done until then waits. */
	between(): void;
	/** What the hand did by links before. */
	readonly backlog: Backlog;
	/** The direct stream was tried again, in vain. */
	tried(fallback: string): void;
	/** Waits, unless there is a reason to go on now. */
	pause(ms: number): Promise<void>;
}

/** Where pictures are shown. */
export interface Surfaces {
	video: HTMLVideoElement;
	root: HTMLElement;
	vnc: HTMLDivElement;
}

export class Dialer {
	/** Why the picture comes by VNC; "" while it does not. */
	fallback = "";
	/** The answer to who asked for the relay ahead of time. */
	private ice: Promise<Ice | null> | null = null;

	/** `codec` is the one that the picture may come in; null leaves it to the node. */
	constructor(
		private readonly node: Node,
		private readonly options: Pick<Options, "screen" | "vnc" | "relay">,
		private readonly codec: Codec | null,
		private readonly on: Surfaces,
		private readonly host: DialerHost,
		private readonly stop: AbortSignal,
	) {}

	/** Asks ahead for what dial will need. */
	prepare(): void {
		this.ice = this.askForRelay();
	}

	/** Opens a link; throws LinkError or NodeError. */
	async dial(): Promise<Link> {
		// VNC shows all screens as one: that is the first window's to show.
		// Guests have none: nobody could tell whose hand is on it.
		if (this.options.screen > 1 || this.host.guest()) return this.direct();
		if (this.options.vnc) this.fallback = "the address asks for it.";
		// Who just needed the fallback gets it at once; the direct stream is tried from there.
		if (this.fallback !== "") return this.overVnc();
		try {
			return await this.direct();
		} catch (e) {
			if (!(e instanceof LinkError)) throw e;
			this.fallback = e.message;
			return this.overVnc();
		}
	}

	/** Waits until the link ends, or a better one is there. */
	async stay(link: Link): Promise<Ending | Link> {
		if (link instanceof Peer) return this.stayDirect(link);
		if (this.options.vnc) return link.ended;
		for (let tries = 0; ; tries++) {
			const wait = DIRECT_AGAIN[Math.min(tries, DIRECT_AGAIN.length - 1)] ?? 0;
			const ending = await Promise.race([link.ended, this.host.pause(wait).then(() => null)]);
			if (ending !== null || this.stop.aborted) return ending ?? link.ended;
			try {
				return await this.direct();
			} catch (e) {
				if (!(e instanceof LinkError || e instanceof NodeError)) throw e;
				this.host.tried(this.fallback);
			}
		}
	}

	/** Waits until the link ends. One that came through a relay which is gone is replaced at once, one of a streamer which is gone is lost. */
	private async stayDirect(link: Peer): Promise<Ending | Link> {
		const stop = new AbortController();
		const signal = AbortSignal.any([this.stop, stop.signal]);
		void streamerChanged(this.node, signal).then((changed) => changed && link.orphaned());
		const gone = link.relayed.then(() => relayChanged(this.node, link.relay, signal));
		const ending = await Promise.race([link.ended, gone.then((changed) => (changed ? null : link.ended))]);
		// It may have found a direct way meanwhile.
		if (ending === null && link.path !== "relay") return link.ended.finally(() => stop.abort());
		stop.abort();
		if (ending !== null) return ending;
		this.host.between();
		try {
			return await this.direct();
		} catch (e) {
			if (!(e instanceof LinkError || e instanceof NodeError)) throw e;
			link.close();
			return { kind: "lost", why: e.message, quiet: 0 };
		}
	}

	private async direct(): Promise<Link> {
		const late = AbortSignal.timeout(DIRECT_WITHIN);
		let peer: Peer;
		try {
			const way = {
				ice: await this.relay(),
				onlyRelay: this.options.relay,
				codec: this.codec,
				backlog: this.host.backlog,
			};
			peer = await Peer.dial(this.node, this.on, this.host.link, way, AbortSignal.any([this.stop, late]));
		} catch (e) {
			if (late.aborted) throw new LinkError(`No direct stream within ${DIRECT_WITHIN / 1000} seconds.`);
			throw e;
		}
		// The first picture may need to know the size.
		const { size, scale } = this.host.ask();
		peer.resize(size, scale);
		try {
			await peer.picture();
			this.fallback = "";
			return peer;
		} catch (e) {
			peer.close();
			throw e;
		}
	}

	/** How the relay is used, which is no reason to fail: most go direct. */
	private async relay(): Promise<Ice> {
		const asked = await this.ice;
		this.ice = null;
		return asked ?? (await this.askForRelay()) ?? { servers: [], relay: "" };
	}

	private askForRelay(): Promise<Ice | null> {
		const signal = AbortSignal.any([this.stop, AbortSignal.timeout(RELAY_WITHIN)]);
		return this.node.ice(signal).catch(() => null);
	}

	private async overVnc(): Promise<Link> {
		const late = AbortSignal.timeout(FALLBACK_WITHIN);
		try {
			const vnc = await Vnc.dial(this.node, this.on.vnc, this.host.overVnc, AbortSignal.any([this.stop, late]));
			const { size, scale } = this.host.ask();
			vnc.resize(size, scale);
			return vnc;
		} catch (e) {
			// The next try starts with the direct stream again.
			this.fallback = "";
			throw e;
		}
	}
}
