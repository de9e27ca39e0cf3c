// Keeps a link through a change of network: ICE begins anew over the same peer, and only when that does not help in time is the link lost.

import { makeOffer } from "../audio";
import { NodeError } from "./node";

/** ICE says "disconnected" at every hiccup; after this much of it (ms) the way is sought anew. */
const PATIENCE = 500;
/** After this long (ms) the artist is told. */
const TELL = 1500;
/** Between two attempts of which the node did not hear (ms). */
const AGAIN = 1000;
/** Without a way for this long (ms) the link is lost, and sooner when the node has answered an attempt that leads nowhere. */
const GIVE_UP = 8000;
const ANSWERED = 4500;

export interface Mending {
	/** Hands the node an offer for the connection that there is, and returns its answer. */
	offer(sdp: string): Promise<string>;
	/** Nothing comes at the moment, and why; null when it does again. */
	held(why: string | null): void;
	/** It cannot be helped. */
	lost(why: string): void;
}

export class Continuity {
	private trouble: AbortController | null = null;
	private told = false;
	private stood = false;
	private restarting: Promise<void> | null = null;

	constructor(
		private readonly pc: RTCPeerConnection,
		private readonly host: Mending,
		private readonly over: AbortSignal,
	) {
		// Chromium needs seconds to notice by itself that its network is another.
		const { connection } = navigator as { connection?: EventTarget };
		const changed = (): void => {
			if (this.stood) this.restart().catch(() => {});
		};
		window.addEventListener("online", changed, { signal: over });
		connection?.addEventListener("change", changed, { signal: over });
		over.addEventListener("abort", () => this.trouble?.abort(), { once: true });
	}

	/** Takes in the connection's state. */
	follow(): void {
		switch (this.pc.connectionState) {
			case "connected":
				this.stood = true;
				this.trouble?.abort();
				this.trouble = null;
				if (this.told) this.host.held(null);
				this.told = false;
				break;
			case "disconnected":
			case "failed":
				if (this.trouble === null) {
					this.trouble = new AbortController();
					void this.mend(this.trouble.signal);
				}
				break;
			case "closed":
				this.host.lost("The stream broke off.");
		}
	}

	/** Whether a way is being sought. */
	get mending(): boolean {
		return this.trouble !== null;
	}

	private async mend(calm: AbortSignal): Promise<void> {
		const why = "The network went away.";
		const tell = setTimeout(() => {
			this.told = true;
			this.host.held(why);
		}, TELL);
		calm.addEventListener("abort", () => clearTimeout(tell), { once: true });
		const end = performance.now() + GIVE_UP;
		await pause(PATIENCE, calm);
		while (!calm.aborted && performance.now() < end) {
			try {
				await this.restart();
				await pause(ANSWERED, calm);
				break;
			} catch (e) {
				if (e instanceof NodeError && e.refusal !== "unreachable" && e.refusal !== "unavailable") break;
				await pause(AGAIN, calm);
			}
		}
		if (!calm.aborted) this.host.lost(why);
	}

	/** Begins ICE anew, one time at a time. */
	private restart(): Promise<void> {
		this.restarting ??= this.exchange().finally(() => {
			this.restarting = null;
		});
		return this.restarting;
	}

	// What the node has answered holds there: an answer is taken up even if the old way works again.
	private async exchange(): Promise<void> {
		const { pc } = this;
		if (this.over.aborted) return;
		await makeOffer(pc, { iceRestart: true });
		try {
			const sdp = await this.host.offer(pc.localDescription?.sdp ?? "");
			await pc.setRemoteDescription({ type: "answer", sdp });
		} catch (e) {
			if (pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" }).catch(() => {});
			throw e;
		}
	}
}

/** Waits, but no longer than until `stop`. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
	if (stop.aborted) return Promise.resolve();
	return new Promise((resolve) => {
		const timer = setTimeout(resolve, ms);
		stop.addEventListener(
			"abort",
			() => {
				clearTimeout(timer);
				resolve();
			},
			{ once: true },
		);
	});
}
