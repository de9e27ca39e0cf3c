// When the display's beats come, seen from the node: it tells the node which frames would be ready right at one, and how many fell between the
// same two as the next and were never seen, so that none do.

/** Of so many frames, one message is made: two a second at most. */
const FRAMES = 32;
/** After this long (ms) without a frame the picture does not move. */
const PAUSE = 200;
/** Beats that are not in these bounds (ms) are none. */
const SHORTEST = 4;
const LONGEST = 50;
/** Frames that come so much (a part of a beat) sooner or later than most do not count, if there are so many others. */
const ODD = 0.12;
const ENOUGH = 24;
const TICKS = 90;
const TURN = 2 * Math.PI;

export interface Beat {
	/** A frame of this timestamp would have been ready `wait` ms before a beat. */
	rtp: number;
	wait: number;
	period: number;
	/** By how much (ms, standard deviation) frames come sooner or later than that. */
	spread: number;
	/** How many frames shared a beat with the next, and were never seen. */
	missed: number;
}

interface Seen {
	beat: number;
	ready: number;
	rtp: number;
	/** How many frames the browser has presented so far. */
	count: number;
}

const MOST_MISSED = 255;

export class Beats {
	private readonly frames: Seen[] = [];

	/** A frame that was ready at some time is shown by this beat (ms). Now and then, that tells more. */
	shown(frame: Seen): Beat | null {
		const last = this.frames.at(-1);
		if (last !== undefined && !(frame.beat - last.beat < PAUSE)) this.frames.length = 0;
		if (this.frames.push(frame) < FRAMES) return null;
		const beat = judge(this.frames);
		this.frames.length = 0;
		return beat;
	}
}

function judge(frames: readonly Seen[]): Beat | null {
	const first = frames[0] as Seen;
	const last = frames[frames.length - 1] as Seen;
	const period = periodOf(frames);
	if (!(period >= SHORTEST && period <= LONGEST)) return null;
	// When each would have had to be captured to be ready at its beat, from the first one's capture on, in turns.
	const all = frames.map(({ beat, ready, rtp }) => (((rtp - first.rtp) | 0) / TICKS + (beat - ready)) / period);
	const rough = mean(all);
	const most = all.filter((at) => Math.abs(at - rough - Math.round(at - rough)) < ODD);
	const those = most.length < ENOUGH ? all : most;
	const at = mean(those);
	const spread = Math.sqrt(those.reduce((sum, x) => sum + (x - at - Math.round(x - at)) ** 2, 0) / those.length);
	const wait = at - ((last.rtp - first.rtp) | 0) / TICKS / period;
	const missed = last.count - first.count - (frames.length - 1);
	return {
		rtp: last.rtp,
		wait: (wait - Math.floor(wait)) * period,
		period,
		spread: spread * period,
		missed: Math.min(Math.max(missed, 0), MOST_MISSED),
	};
}

/** The mean of directions, in turns. */
function mean(turns: readonly number[]): number {
	const sum = (f: (x: number) => number): number => turns.reduce((s, t) => s + f(t * TURN), 0);
	return Math.atan2(sum(Math.sin), sum(Math.cos)) / TURN;
}

/** The time from a beat to the next: frames are a whole number of them apart. */
function periodOf(frames: readonly Seen[]): number {
	let least = Number.POSITIVE_INFINITY;
	for (let i = 1; i < frames.length; i++) {
		const apart = (frames[i] as Seen).beat - (frames[i - 1] as Seen).beat;
		// Two frames may be told of by the same beat.
		if (apart > SHORTEST) least = Math.min(least, apart);
	}
	const all = (frames[frames.length - 1] as Seen).beat - (frames[0] as Seen).beat;
	return all / Math.round(all / least);
}
