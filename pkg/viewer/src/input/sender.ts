// Numbers what the hand does and sends it: motion on the channel that may lose, with the last samples repeated, and those of a
// stroke until the node has them; what must not be lost on the other. ARCHITECTURE.md, "Data channels", is the contract.

import { Backlog, buttonOf, type Doing } from "./backlog";
import { Journal, MOST_REPEATED, MOST_SAMPLES, type Run, repeats } from "./journal";
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
	MOST_TURNS,
	type Sample,
	splitText,
} from "./wire";

/** What pointer and keyboard tell; Sender is the real one. */
export interface Hand {
	/** The pointer moved through these samples, oldest first. */
	move(device: Device, samples: readonly Sample[]): void;
	/** A button changed at the last of these samples (at least one). `button` is X's number. */
	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void;
	/** Turns the wheel by so many 1/120 notches, and again until it has `times` times (once if nothing is said). */
	wheel(x: number, y: number, dx: number, dy: number, times?: number): void;
	key(down: boolean, locks: number, keysym: number, code: number): void;
	text(text: string): void;
	/** Every key and button goes up. */
	release(): void;
	proximity(device: Device, near: boolean): void;
}

/** Who keeps when an input was made, until a picture follows. */
export interface Diary {
	sampled(first: number, samples: readonly Sample[]): void;
	said(rseq: number, time: number): void;
}

/** The part of an RTCDataChannel that Sender needs. */
export interface Channel {
	readonly readyState: RTCDataChannelState;
	readonly bufferedAmount: number;
	send(data: ArrayBuffer): void;
}

/** Bytes waiting in the motion channel above which nothing is added: what waits there is old. A stroke's samples go later and together; others not at all. */
const BEHIND = 3000;
/** Bytes waiting in the other channel above which no more of a stroke is put there. */
const MOST_BEHIND = 512 << 10;
/** Quiet after which the last motion is sent once more, in milliseconds: nothing follows that would repeat it. */
const ECHO_AFTER = 40;
/** The journal is looked through by itself no more often than this (ms). */
const LEAST_PAUSE = 5;

export class Sender implements Hand {
	/** Number of the last reliable message that went by this connection, or that the node had taken before. */
	private rseq: number;
	private device: Device = 0;
	private recent: Sample[] = [];
	private readonly journal = new Journal();
	/** Samples of strokes that could not be brought to the node. */
	lost = 0;
	private echo: ReturnType<typeof setTimeout> | null = null;
	private echoDue = 0;
	private resend: ReturnType<typeof setTimeout> | null = null;
	private resendAt = 0;

	constructor(
		private readonly input: Channel,
		private readonly motion: Channel,
		private readonly diary: Diary | null = null,
		private readonly now: () => number = () => performance.now(),
		/** Where connections before this one left off. While a button is down there, no sample may be lost. */
		private readonly backlog = new Backlog(),
	) {
		this.rseq = backlog.rseq;
	}

	/**
	 * Says again what was said before this connection and comes after this message and this sample, in its order. False: that is not
	 * all there any more, and none of it is said.
	 */
	takeUp(rseq: number, sample: number): boolean {
		this.rseq = rseq;
		const missing = this.backlog.after(rseq, sample, this.now());
		if (missing === null) {
			this.backlog.forget();
			return false;
		}
		for (const m of missing) {
			if ("run" in m)
				for (const p of cut([m.run], MOST_SAMPLES))
					this.input.send(encodeStroke(p.device, this.rseq, p.first, p.samples));
			else {
				this.input.send(m.message);
				this.rseq = m.rseq;
			}
		}
		return true;
	}

	/** The node knows nothing of this page: numbers begin anew. */
	begin(): void {
		this.backlog.restart();
		this.rseq = 0;
	}

	move(device: Device, samples: readonly Sample[]): void {
		if (this.motion.readyState !== "open" || samples.length === 0) return;
		if (this.backlog.down.size > 0) this.stroke(device, samples);
		else this.hover(device, samples);
	}

	button(device: Device, button: number, down: boolean, samples: readonly Sample[]): void {
		this.turnTo(device);
		// What was only sent unreliably goes along, so that the path to here is whole and in order.
		const { backlog } = this;
		const before = backlog.sampled;
		this.number(samples);
		const earlier = backlog.down.size > 0 ? this.journal.takeAll() : [this.run(device, before, this.recent)];
		const own = this.run(device, backlog.sampled, samples);
		const parts = cut([...earlier, own], MOST_SAMPLES);
		const last = parts.pop();
		for (const p of parts) this.strokes(p);
		if (samples.length > MOST_SAMPLES) backlog.ran(own, this.now());
		if (last)
			this.reliable(
				(rseq) => encodeButton(device, button, down, rseq, last.first, last.samples),
				{ button: buttonOf(device, button), down },
				samples.at(-1)?.time,
			);
		backlog.button(device, button, down);
		this.recent = [];
	}

	/** The node told how far a stroke has come. */
	acknowledged({ applied, next }: Ack): void {
		this.journal.acknowledge(applied, next, this.now());
		this.backlog.acknowledge(applied);
		this.pump();
	}

	wheel(x: number, y: number, dx: number, dy: number, times = 1): void {
		for (let left = times; left > 0; left -= MOST_TURNS) {
			this.reliable((rseq) => encodeWheel(rseq, x, y, dx, dy, Math.min(left, MOST_TURNS)));
		}
	}

	key(down: boolean, locks: number, keysym: number, code: number): void {
		this.reliable((rseq) => encodeKey(down, locks, rseq, keysym, code));
		this.backlog.key(down, keysym, code);
	}

	text(text: string): void {
		for (const piece of splitText(text)) this.reliable((rseq) => encodeText(rseq, piece));
	}

	release(): void {
		this.recent = [];
		this.journal.takeAll();
		this.backlog.released();
		this.reliable(encodeRelease);
	}

	proximity(device: Device, near: boolean): void {
		this.turnTo(device);
		this.reliable((rseq) => encodeProximity(device, near, rseq), "nothing");
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

	private reliable(encode: (rseq: number) => ArrayBuffer, doing: Doing = "once", time?: number): void {
		const message = this.say(encode);
		if (message === null) return;
		this.backlog.said(this.rseq, message, doing, this.now());
		this.diary?.said(this.rseq, time ?? this.now());
	}

	private say(encode: (rseq: number) => ArrayBuffer): ArrayBuffer | null {
		if (this.input.readyState !== "open") return null;
		this.rseq = ++this.backlog.rseq;
		const message = encode(this.rseq);
		this.input.send(message);
		return message;
	}

	// A stroke's samples by the channel that loses nothing. The backlog has them already.
	private strokes({ device, first, samples }: Run): void {
		if (this.input.bufferedAmount > MOST_BEHIND) this.lost += samples.length;
		else this.say((rseq) => encodeStroke(device, rseq, first, samples));
	}

	private number(samples: readonly Sample[]): void {
		this.diary?.sampled(this.backlog.sampled + 1, samples);
		this.backlog.sampled += samples.length;
	}

	private stroke(device: Device, samples: readonly Sample[]): void {
		const now = this.now();
		this.journal.add(device, this.backlog.sampled + 1, samples, now);
		this.number(samples);
		this.backlog.ran(this.run(device, this.backlog.sampled, samples), now);
		this.pump();
	}

	// Sends what is due of a stroke, and plans for the rest.
	private pump(): void {
		if (this.motion.readyState !== "open") return;
		if (this.journal.late(this.now())) for (const p of cut(this.journal.takeAll(), MOST_SAMPLES)) this.strokes(p);
		while (this.motion.bufferedAmount <= BEHIND) {
			const run = this.journal.take(this.now());
			if (run === null) break;
			this.motion.send(encodePointer(run.device, this.rseq, run.first, run.samples));
		}
		const { due } = this.journal;
		if (due === null) return;
		const at = Math.max(due, this.now() + LEAST_PAUSE);
		if (this.resend !== null && this.resendAt <= at) return;
		if (this.resend !== null) clearTimeout(this.resend);
		this.resend = setTimeout(this.pumpLater, at - this.now());
		this.resendAt = at;
	}

	private readonly pumpLater = (): void => {
		this.resend = null;
		this.pump();
	};

	private hover(device: Device, samples: readonly Sample[]): void {
		this.turnTo(device);
		for (let at = 0; at < samples.length; at += MOST_SAMPLES - MOST_REPEATED) {
			const fresh = samples.slice(at, at + MOST_SAMPLES - MOST_REPEATED);
			this.number(fresh);
			this.recent.push(...fresh);
			this.sendRecent();
			this.recent = this.recent.slice(-repeats(fresh.length));
		}
		this.echoDue = this.now() + ECHO_AFTER;
		this.echo ??= setTimeout(this.echoLast, ECHO_AFTER);
	}

	private sendRecent(): void {
		if (this.motion.bufferedAmount > BEHIND) return;
		const first = this.backlog.sampled - this.recent.length + 1;
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
