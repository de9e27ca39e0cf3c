// A hand for tests: it notes what it is told to do.

import type { Hand } from "./sender";

/** What was done, and with what. */
export type Note = [what: keyof Hand, ...how: unknown[]];

export class HandNotes {
	readonly notes: Note[] = [];
	readonly hand: Hand;

	constructor() {
		const note =
			(what: keyof Hand) =>
			(...how: unknown[]): void =>
				void this.notes.push([what, ...how]);
		this.hand = {
			move: note("move"),
			button: note("button"),
			wheel: note("wheel"),
			key: note("key"),
			text: note("text"),
			release: note("release"),
			proximity: note("proximity"),
		};
	}

	/** What was done, whatever with. */
	get did(): (keyof Hand)[] {
		return this.notes.map(([what]) => what);
	}
}
