// The session's second screen: a browser window of its own, for another monitor.

import { byId } from "../elements";
import type { Path } from "../state";

export interface SecondScreenHost {
	say(text: string): void;
}

export class SecondScreen {
	private readonly button = byId("second", HTMLButtonElement);
	private window: Window | null = null;

	/** `id` is the session's; `screen` the one that this very page shows. */
	constructor(
		private readonly id: string,
		screen: number,
		private readonly host: SecondScreenHost,
		signal: AbortSignal,
	) {
		if (screen > 1) {
			this.button.hidden = true;
			document.title = "Easel – second screen";
		}
		this.button.addEventListener("click", () => this.open(), { signal });
	}

	/** The picture comes this way. VNC knows no screens: it shows all of them as one. */
	way(path: Path): void {
		this.button.disabled = path === "vnc";
		this.button.title =
			path === "vnc"
				? "Not over the slower fallback, which shows all screens as one"
				: "Opens a window for another monitor; GIMP's windows and docks can be moved there";
	}

	private open(): void {
		if (this.window !== null && !this.window.closed) {
			this.window.focus();
			return;
		}
		const { availWidth, availHeight } = window.screen;
		const size = `popup,width=${Math.round(availWidth * 0.8)},height=${Math.round(availHeight * 0.8)}`;
		this.window = window.open(secondAddress(window.location), `easel-${this.id}-2`, size);
		if (this.window === null)
			this.host.say("The browser blocked the second window. Allow pop-up windows for this page, then try again.");
	}
}

/** The second window's address: this page's, options and all, but for its fixed size. */
export function secondAddress(at: Pick<Location, "pathname" | "search">): string {
	const query = new URLSearchParams(at.search);
	query.delete("size");
	query.set("screen", "2");
	return `${at.pathname}?${query}`;
}
