// Numbers what the hand does and sends it: motion on the channel that may lose, with the last samples repeated; what
// must not be lost on the other. ARCHITECTURE.md, "Data channels", is the contract.

import {
	type Device,
	encodeButton,
	encodeKey,
	encodePointer,
	encodeProximity,
	encodeRelease,
	encodeText,
	encodeWheel,
	type Sample,
	splitText,
} from "./wire";

/** What pointer and keyboard tell; Sender is the real one. */
export interface Hand {
	/** The pointer moved through these samples, oldest first. */
	move(device: Device, samples: readonly Sample[]): void;
	/** A button changed at the last of these samples (at least one). `button` is X's number. */
	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void;
	wheel(x: number, y: number, dx: number, dy: number): void;
	key(down: boolean, locks: number, keysym: number, code: number): void;
	text(text: string): void;
	/** Every key and button goes up. */
	release(): void;
	proximity(device: Device, near: boolean): void;
}

/** The part of an RTCDataChannel that Sender needs. */
export interface Channel {
	readonly readyState: RTCDataChannelState;
	readonly bufferedAmount: number;
	send(data: ArrayBuffer): void;
}

/** Samples repeated in each POINTER message, so that 15 lost messages in a row lose nothing. */
const REPEATED = 16;
/** New samples in one message: with the repeated ones it stays below one network packet. */
const NEW = 40;
/** Bytes waiting in the motion channel above which motion is dropped: the link stands still, and old motion is worthless. */
const MOTION_BACKLOG = 32 << 10;
/** Quiet after which the last motion is sent once more, in milliseconds: nothing follows that would repeat it. */
const ECHO_AFTER = 40;

export class Sender implements Hand {
	private rseq = 0;
	private sampled = 0;
	private device: Device = 0;
	private recent: Sample[] = [];
	private echo: ReturnType<typeof setTimeout> | null = null;
	private echoDue = 0;

	constructor(
		private readonly input: Channel,
		private readonly motion: Channel,
		private readonly now: () => number = () => performance.now(),
	) {}

	move(device: Device, samples: readonly Sample[]): void {
		if (this.motion.readyState !== "open" || samples.length === 0) return;
		this.turnTo(device);
		for (let at = 0; at < samples.length; at += NEW) {
			const fresh = samples.slice(at, at + NEW);
			this.sampled += fresh.length;
			this.recent.push(...fresh);
			this.sendRecent();
			this.recent = this.recent.slice(-REPEATED);
		}
		this.echoDue = this.now() + ECHO_AFTER;
		this.echo ??= setTimeout(this.echoLast, ECHO_AFTER);
	}

	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void {
		this.turnTo(device);
		// What was only sent unreliably goes along, so that the path to the press is whole and in order.
		const all = [...this.recent, ...samples].slice(-(REPEATED + NEW));
		this.sampled += samples.length;
		const first = this.sampled - all.length + 1;
		this.reliable((rseq) => encodeButton(device, button, down, rseq, first, all));
		this.recent = [];
	}

	wheel(x: number, y: number, dx: number, dy: number): void {
		this.reliable((rseq) => encodeWheel(rseq, x, y, dx, dy));
	}

	key(down: boolean, locks: number, keysym: number, code: number): void {
		this.reliable((rseq) => encodeKey(down, locks, rseq, keysym, code));
	}

	text(text: string): void {
		for (const piece of splitText(text)) this.reliable((rseq) => encodeText(rseq, piece));
	}

	release(): void {
		this.recent = [];
		this.reliable(encodeRelease);
	}

	proximity(device: Device, near: boolean): void {
		this.turnTo(device);
		this.reliable((rseq) => encodeProximity(device, near, rseq));
	}

	/** Stops the timer; the channels belong to whoever made them. */
	close(): void {
		if (this.echo !== null) clearTimeout(this.echo);
		this.echo = null;
		this.recent = [];
	}

	private reliable(encode: (rseq: number) => ArrayBuffer): void {
		if (this.input.readyState === "open") this.input.send(encode(++this.rseq));
	}

	private sendRecent(): void {
		if (this.motion.bufferedAmount > MOTION_BACKLOG) return;
		const first = this.sampled - this.recent.length + 1;
		this.motion.send(encodePointer(this.device, this.rseq, first, this.recent));
	}

	// A message speaks of one device: another one's samples are not repeated with it.
	private turnTo(device: Device): void {
		if (device === this.device) return;
		this.device = device;
		this.recent = [];
	}

	private readonly echoLast = (): void => {
		this.echo = null;
		if (this.motion.readyState !== "open" || this.recent.length === 0) return;
		const wait = this.echoDue - this.now();
		if (wait > 1) this.echo = setTimeout(this.echoLast, wait);
		else this.sendRecent();
	};
}
