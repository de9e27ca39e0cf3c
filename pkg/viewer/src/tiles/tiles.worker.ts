// Where the `tiles` channel ends. On the page itself, Chromium holds messages until the next frame once a frame was asked for
// after an input event, which is always while somebody paints.

import { TileReader } from "./reader";
import { Ring, Word } from "./ring";
import { writeReport } from "./wire";

export interface Start {
	channel: RTCDataChannel;
	memory: SharedArrayBuffer;
}

const scope = self as unknown as {
	onmessage: ((e: MessageEvent<Start | 0>) => void) | null;
	postMessage(m: "wake" | "closed"): void;
};

function start({ channel, memory }: Start): void {
	const ring = new Ring(memory);
	const reader = new TileReader(ring);
	const { control } = ring;
	const went = (well: boolean): void => {
		if (!well) return channel.close();
		if (Atomics.exchange(control, Word.woken, 1) === 0) scope.postMessage("wake");
	};
	channel.binaryType = "arraybuffer";
	channel.onmessage = ({ data }) => went(data instanceof ArrayBuffer && reader.take(data));
	channel.onclose = () => scope.postMessage("closed");
	// The page has shown something, and says so in shared memory.
	scope.onmessage = () => {
		const word = (at: number): number => Atomics.load(control, at) >>> 0;
		const report = {
			n: word(Word.n),
			shown: word(Word.shown),
			bad: word(Word.bad),
			video: word(Word.video),
			tile: word(Word.tile),
			cell: word(Word.decode) + word(Word.draw),
		};
		if (channel.readyState === "open") channel.send(writeReport(report));
		went(reader.resume());
	};
}

scope.onmessage = ({ data }) => {
	if (data !== 0) start(data);
};
