// What the node has to say about the session, such as that it ends soon: a bar with the time that is left.

import { byId } from "./elements";

export interface Notice {
	text: string;
	/** Milliseconds until it happens, when it came; null when at no time. */
	left: number | null;
}

/** A hidden bar comes back when so much (ms) is left. */
const LAST_CALL = 60_000;
const MAX_TEXT = 1000;

/** Reads a notice of the control channel or of a status; null for none. `until` decides whether time is left at all. */
export function parseNotice(v: unknown): Notice | null {
	if (typeof v !== "object" || v === null) return null;
	const { text, until, left_ms: left } = v as Record<string, unknown>;
	if (typeof text !== "string" || text === "") return null;
	const timed = typeof until === "string" && typeof left === "number" && left >= 0;
	return { text: text.slice(0, MAX_TEXT), left: timed ? left : null };
}

/** The time that is left as people read it: 1 h 05 min, 12 min, 0:42. */
export function timeLeft(ms: number): string {
	const seconds = Math.max(0, Math.ceil(ms / 1000));
	if (seconds >= 3600) {
		const minutes = String(Math.floor((seconds % 3600) / 60)).padStart(2, "0");
		return `${Math.floor(seconds / 3600)} h ${minutes} min`;
	}
	if (seconds >= 600) return `${Math.ceil(seconds / 60)} min`;
	return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export class NoticeBar {
	private readonly root = byId("notice", HTMLDivElement);
	private readonly text = byId("notice-text", HTMLSpanElement);
	private readonly clock = byId("notice-left", HTMLElement);
	private ticking: ReturnType<typeof setInterval> | null = null;
	private until: number | null = null;
	private hidden = false;

	/** `chrome`: things may lie over the picture. */
	constructor(
		private readonly chrome: boolean,
		private readonly now: () => number = () => performance.now(),
	) {
		byId("notice-close", HTMLButtonElement).addEventListener("click", () => {
			this.hidden = true;
			this.draw();
		});
	}

	/** Shows what the node says now; null takes it away. */
	show(notice: Notice | null): void {
		this.stop();
		const text = notice?.text ?? "";
		if (text !== this.text.textContent) {
			// Only other words are read aloud again.
			this.text.textContent = text;
			this.hidden = false;
		}
		this.until = notice?.left == null ? null : this.now() + notice.left;
		if (this.until !== null) this.ticking = setInterval(() => this.draw(), 1000);
		this.draw();
	}

	close(): void {
		this.show(null);
	}

	private stop(): void {
		if (this.ticking !== null) clearInterval(this.ticking);
		this.ticking = null;
	}

	private draw(): void {
		const left = this.until === null ? null : this.until - this.now();
		this.clock.textContent = left === null ? "" : timeLeft(left);
		const lastCall = left !== null && left <= LAST_CALL;
		this.root.dataset.urgent = lastCall ? "yes" : "no";
		this.root.hidden = !this.chrome || this.text.textContent === "" || (this.hidden && !lastCall);
	}
}
