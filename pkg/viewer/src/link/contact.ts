// Knows since when the node has been silent, and says when that is too long to be a restart.

/** A node that answers nothing for this long (ms) is taken for lost. */
const PATIENCE = 8000;
/** While the silence lasts it is said again this often (ms). */
const AGAIN = 4000;

export class Contact {
	private timer: ReturnType<typeof setTimeout> | null = null;

	constructor(private readonly lost: () => void) {}

	/** The node answered, whatever it said. */
	heard(): void {
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = null;
	}

	/** Nothing answers, for `quiet` ms already. Only the first word of a silence counts. */
	silent(quiet = 0): void {
		this.timer ??= setTimeout(this.over, Math.max(0, PATIENCE - quiet));
	}

	close(): void {
		this.heard();
	}

	private readonly over = (): void => {
		this.timer = setTimeout(this.over, AGAIN);
		this.lost();
	};
}
