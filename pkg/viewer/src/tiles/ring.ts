// A ring in shared memory that carries decoded tiles from the worker, which the browser never keeps waiting, to the page.
// One writer, one reader, no lock: each moves its own end.

/** Words of the control block, beside the reports that the page leaves for the worker. */
export const Word = {
	head: 0,
	tail: 1,
	/** The page was woken and has not looked yet. */
	woken: 2,
	bad: 3,
	/** 1/10 µs to decode one tile, as measured last. */
	decode: 4,
	n: 5,
	shown: 6,
	video: 7,
	tile: 8,
	draw: 9,
} as const;

const CONTROL = 16;
const SKIP = -1;
/** The words of an entry before its body: length, kind, n, gen, whether there is an `after`, after, count, when it came, runs of one colour, whether
 * something moves, whether all of it is only kept. */
export const ENTRY = 11;
export const Field = {
	length: 0,
	kind: 1,
	n: 2,
	gen: 3,
	held: 4,
	after: 5,
	count: 6,
	came: 7,
	runs: 8,
	shifts: 9,
	keeps: 10,
} as const;
/** The words of a run of cells of one colour: the first, how many, the colour. */
export const RUN = 3;
/** The words of what moves: x, y, w, h, dx, dy. */
export const SHIFT = 6;

const RING_WORDS = 1 << 21;

export class Ring {
	readonly control: Int32Array<ArrayBufferLike>;
	readonly data: Int32Array<ArrayBufferLike>;

	constructor(readonly memory: ArrayBufferLike) {
		this.control = new Int32Array(memory, 0, CONTROL);
		this.data = new Int32Array(memory, CONTROL * 4);
	}

	static bytes(words = RING_WORDS): number {
		return (CONTROL + words) * 4;
	}

	/** The longest entry that is sure to fit once the ring is empty. */
	get longest(): number {
		return this.data.length >> 1;
	}

	/** Writer: where an entry of so many words can lie; -1 while there is no room. */
	reserve(words: number): number {
		const { data, control } = this;
		let head = Atomics.load(control, Word.head);
		const used = (head - Atomics.load(control, Word.tail)) | 0;
		let at = head & (data.length - 1);
		const rest = data.length - at;
		const skip = rest < words ? rest : 0;
		if (used + skip + words > data.length) return -1;
		if (skip > 0) {
			data[at] = SKIP;
			head = (head + skip) | 0;
			Atomics.store(control, Word.head, head);
			at = 0;
		}
		return at;
	}

	/** Writer: the entry that was reserved is there. */
	publish(words: number): void {
		Atomics.store(this.control, Word.head, (Atomics.load(this.control, Word.head) + words) | 0);
	}

	/** Reader: where the oldest entry lies; -1 when there is none. */
	peek(): number {
		const { data, control } = this;
		for (;;) {
			const tail = Atomics.load(control, Word.tail);
			if (tail === Atomics.load(control, Word.head)) return -1;
			const at = tail & (data.length - 1);
			if (data[at] !== SKIP) return at;
			Atomics.store(control, Word.tail, (tail + data.length - at) | 0);
		}
	}

	/** Reader: nothing has come after an entry. */
	newest(at: number): boolean {
		const { data, control } = this;
		const tail = Atomics.load(control, Word.tail);
		return ((Atomics.load(control, Word.head) - tail) | 0) === data[at + Field.length];
	}

	/** Reader: the oldest entry is done with. */
	release(at: number): void {
		const words = this.data[at + Field.length] as number;
		Atomics.store(this.control, Word.tail, (Atomics.load(this.control, Word.tail) + words) | 0);
	}
}
