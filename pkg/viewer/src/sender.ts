// Numbers what the hand does and sends it: motion on the channel that may lose, with the last samples repeated, and those of a
// stroke until the node has them; what must not be lost on the other. ARCHITECTURE.md, "Data channels", is the contract.

import { Journal, type Run } from "./journal";
import {
	type Ack,
	type Device,
	encodeButton,
	encodeKey,
	encodePointer,
	encodeProximity,
	encodeRelease,
	encodeStroke,
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
const NEW = 36;
/** Bytes waiting in the motion channel above which no motion is sent: the link stands still. A stroke's is sent later, other motion is worthless by then. */
const MOTION_BACKLOG = 32 << 10;
/** Quiet after which the last motion is sent once more, in milliseconds: nothing follows that would repeat it. */
const ECHO_AFTER = 40;
/** The journal is looked through no more often than this (ms). */
const LEAST_PAUSE = 5;

export class Sender implements Hand {
	private rseq = 0;
	private sampled = 0;
	private device: Device = 0;
	private recent: Sample[] = [];
	private readonly journal = new Journal();
	/** Buttons that are down, by device: while there is one, no sample may be lost. */
	private readonly down = new Set<number>();
	private echo: ReturnType<typeof setTimeout> | null = null;
	private echoDue = 0;
	private resend: ReturnType<typeof setTimeout> | null = null;

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
			if (this.down.size > 0) this.journal.add(device, this.sampled - fresh.length + 1, fresh, this.now());
			this.recent.push(...fresh);
			this.sendRecent();
			this.recent = this.recent.slice(-REPEATED);
		}
		if (this.down.size > 0) this.plan();
		else this.echoSoon();
	}

	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void {
		this.turnTo(device);
		// What was only sent unreliably goes along, so that the path to here is whole and in order.
		const before = this.sampled;
		this.sampled += samples.length;
		const earlier = this.down.size > 0 ? this.journal.takeAll() : [this.run(device, before, this.recent)];
		const parts = cut([...earlier, this.run(device, this.sampled, samples)], REPEATED + NEW);
		const last = parts.pop();
		for (const p of parts) this.reliable((rseq) => encodeStroke(p.device, rseq, p.first, p.samples));
		if (last) this.reliable((rseq) => encodeButton(device, button, down, rseq, last.first, last.samples));
		const key = device * 16 + button;
		if (down) this.down.add(key);
		else this.down.delete(key);
		this.recent = [];
	}

	/** The node told how far a stroke has come. */
	acknowledged({ applied, next }: Ack): void {
		this.sendAgain(this.journal.acknowledge(applied, next, this.now()));
	}

	/** Samples of strokes that could not be brought to the node in time. */
	get lost(): number {
		return this.journal.lost;
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
		this.journal.takeAll();
		this.down.clear();
		this.reliable(encodeRelease);
	}

	proximity(device: Device, near: boolean): void {
		this.turnTo(device);
		this.reliable((rseq) => encodeProximity(device, near, rseq));
	}

	/** Stops the timers; the channels belong to whoever made them. */
	close(): void {
		if (this.echo !== null) clearTimeout(this.echo);
		this.echo = null;
		if (this.resend !== null) clearTimeout(this.resend);
		this.resend = null;
		this.recent = [];
		this.journal.takeAll();
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

	// The run of `samples` that ends with number `last`.
	private run(device: Device, last: number, samples: readonly Sample[]): Run {
		return { device, first: last - samples.length + 1, samples: [...samples] };
	}

	private plan(): void {
		if (this.resend !== null) return;
		const { due } = this.journal;
		if (due !== null) this.resend = setTimeout(this.overdue, Math.max(due - this.now(), LEAST_PAUSE));
	}

	private readonly overdue = (): void => {
		this.resend = null;
		if (this.motion.readyState !== "open") return;
		this.sendAgain(this.journal.overdue(this.now()));
		this.plan();
	};

	private sendAgain(runs: readonly Run[]): void {
		for (const p of cut(runs, REPEATED + NEW)) {
			if (this.motion.readyState !== "open" || this.motion.bufferedAmount > MOTION_BACKLOG) return;
			this.motion.send(encodePointer(p.device, this.rseq, p.first, p.samples));
		}
	}

	private echoSoon(): void {
		this.echoDue = this.now() + ECHO_AFTER;
		this.echo ??= setTimeout(this.echoLast, ECHO_AFTER);
	}

	private readonly echoLast = (): void => {
		this.echo = null;
		if (this.motion.readyState !== "open" || this.recent.length === 0) return;
		const wait = this.echoDue - this.now();
		if (wait > 1) this.echo = setTimeout(this.echoLast, wait);
		else this.sendRecent();
	};
}

// Cuts runs into pieces of at most `most` samples; neighbours of one device are joined first.
function cut(runs: readonly Run[], most: number): Run[] {
	const pieces: Run[] = [];
	for (const { device, first, samples } of runs) {
		for (const [i, sample] of samples.entries()) {
			const open = pieces.at(-1);
			const goesOn = open?.device === device && open.first + open.samples.length === first + i;
			if (goesOn && open.samples.length < most) open.samples.push(sample);
			else pieces.push({ device, first: first + i, samples: [sample] });
		}
	}
	return pieces;
}
