// The session's sound: a stream of its own beside the picture, so that the browser holds neither back for the other. It begins with the
// artist's first gesture, as browsers want it, and costs nothing while it is off.

import { byId } from "./elements";

/** A link's sound. */
export interface SoundLink {
	readonly track: MediaStreamTrack;
	/** Whether the node says that there is sound to be heard. */
	available: boolean;
	/** Whether the node should send it. */
	listen(on: boolean): void;
}

const STORED = "easel.sound";

export class Sound {
	private readonly element = byId("sound", HTMLAudioElement);
	private link: SoundLink | null = null;
	private off = stored();
	/** Waits for a gesture, which the browser wants before anything may be heard. */
	private waiting: AbortController | null = null;

	/** `changed` is told whether there is sound, and whether it is on. */
	constructor(private readonly changed: (available: boolean, on: boolean) => void) {}

	/** The sound comes from this link from now on; null while there is none. */
	attach(link: SoundLink | null): void {
		if (this.link === link) return;
		this.link = link;
		this.update();
	}

	/** The artist turns it off or on. */
	toggle(): void {
		this.off = !this.off;
		try {
			localStorage.setItem(STORED, this.off ? "off" : "on");
		} catch {
			// Storage may be off; the choice then lasts as long as the page.
		}
		this.update();
	}

	close(): void {
		this.attach(null);
	}

	/** Brings what is heard in line with what may be, and is wished for. */
	update(): void {
		const { link } = this;
		this.changed(link?.available === true, !this.off);
		this.waiting?.abort();
		this.waiting = null;
		if (!link?.available || this.off) {
			link?.listen(false);
			this.element.pause();
			this.element.srcObject = null;
			return;
		}
		this.element.srcObject = new MediaStream([link.track]);
		this.element.play().then(
			() => this.link === link && !this.off && link.listen(true),
			(why: unknown) => {
				if (why instanceof DOMException && why.name === "NotAllowedError") this.wait();
			},
		);
	}

	private wait(): void {
		const waiting = new AbortController();
		this.waiting = waiting;
		for (const gesture of ["pointerdown", "keydown"] as const)
			window.addEventListener(gesture, () => this.update(), { signal: waiting.signal, capture: true, passive: true });
	}
}

/** An offer that takes stereo: Chromium would make one channel of two, unless its own description says otherwise. */
export function stereo(sdp: string): string {
	const opus = /^a=rtpmap:(\d+) opus\/48000\/2/im.exec(sdp)?.[1];
	if (opus === undefined) return sdp;
	return sdp.replace(new RegExp(`^a=fmtp:${opus} (?!.*stereo=1).*$`, "m"), (line) => `${line};stereo=1`);
}

/** Makes the connection's next offer. */
export async function makeOffer(pc: RTCPeerConnection, options: RTCOfferOptions = {}): Promise<void> {
	const { type, sdp = "" } = await pc.createOffer(options);
	await pc.setLocalDescription({ type, sdp: stereo(sdp) });
}

function stored(): boolean {
	try {
		return localStorage.getItem(STORED) === "off";
	} catch {
		return false;
	}
}
