// What the artist reads when there is no picture, or when something happened to it.

import { byId } from "./elements";
import type { Phase, State } from "./state";

interface Words {
	title: string;
	/** Where the state itself has no detail. */
	detail?: string;
	busy?: boolean;
	action?: string;
	/** Text of the link to the portal. */
	link?: string;
}

const words: Readonly<Record<Exclude<Phase, "connected">, Words>> = {
	connecting: { title: "Connecting…", busy: true },
	starting: { title: "Starting your session…", busy: true },
	reconnecting: { title: "Reconnecting…", busy: true, action: "Try now" },
	replaced: {
		title: "Open in another window",
		detail: "Your session moved to another window or device. It goes on there.",
		action: "Take it back",
	},
	ended: { title: "Session ended", detail: "Your files are in your home folder.", link: "To my sessions" },
	failed: { title: "This session cannot go on", link: "To my sessions" },
	"signed-out": {
		title: "Sign in",
		detail: "Open the session from the portal: its link is good once, for a minute.",
		link: "Sign in at the portal",
	},
};

/** What a guest reads, who has no portal and no home here. */
const guestWords: Partial<typeof words> = {
	ended: { title: "Session ended" },
	"signed-out": { title: "Not shared any more", detail: "Ask the session's owner for another link." },
};

/** How long a toast stays (ms). */
const TOAST = 7000;

export class Panel {
	private readonly root = byId("panel", HTMLElement);
	private readonly title = byId("panel-title", HTMLHeadingElement);
	private readonly detail = byId("panel-detail", HTMLParagraphElement);
	private readonly spinner = byId("spinner", HTMLDivElement);
	private readonly action = byId("panel-action", HTMLButtonElement);
	private readonly link = byId("panel-link", HTMLAnchorElement);
	private readonly toast = byId("toast", HTMLDivElement);
	private readonly fallback = byId("fallback", HTMLDivElement);
	private readonly fallbackText = byId("fallback-text", HTMLSpanElement);
	/** Who looks at the page came by a link. */
	guest = false;
	private toasting: ReturnType<typeof setTimeout> | null = null;

	/** `chrome`: things may lie over the picture. `acted`: the panel's button; `direct`: try the direct stream again. */
	constructor(
		private readonly chrome: boolean,
		acted: () => void,
		direct: () => void,
	) {
		this.action.addEventListener("click", acted);
		byId("retry-direct", HTMLButtonElement).addEventListener("click", direct);
		byId("fallback-close", HTMLButtonElement).addEventListener("click", () => {
			this.fallback.hidden = true;
		});
	}

	/** `pictured`: a picture is on show that the panel should leave in sight. `portal` is where the link goes. */
	show(state: State, pictured: boolean, portal: string | null): void {
		document.documentElement.dataset.state = state.phase;
		if (state.phase === "connected") {
			this.root.hidden = true;
			return;
		}
		const w = (this.guest && guestWords[state.phase]) || words[state.phase];
		const over = pictured && w.busy === true;
		this.root.hidden = over && !this.chrome;
		this.root.dataset.over = over ? "picture" : "";
		this.title.textContent = w.title;
		this.detail.textContent = state.detail || (w.detail ?? "");
		this.spinner.hidden = !w.busy;
		this.action.hidden = w.action === undefined;
		this.action.textContent = w.action ?? "";
		this.link.hidden = w.link === undefined || portal === null;
		this.link.textContent = w.link ?? "";
		if (portal !== null) this.link.href = portal;
		if (state.phase === "replaced") this.action.focus();
	}

	/** A passing remark. */
	say(text: string): void {
		// The text stays for screen readers that come late; only its box goes.
		this.toast.textContent = text;
		this.toast.hidden = !this.chrome;
		if (this.toasting !== null) clearTimeout(this.toasting);
		this.toasting = setTimeout(() => {
			this.toast.hidden = true;
		}, TOAST);
	}

	/** The picture comes by the fallback, because of `why`; null: it does not (any more). `retry`: the other way may be tried. */
	showFallback(why: string | null, retry = true): void {
		this.fallback.hidden = why === null || !this.chrome;
		if (why !== null) this.fallbackText.textContent = `Using the slower fallback (VNC): ${why}`;
		byId("retry-direct", HTMLButtonElement).hidden = !retry;
	}

	close(): void {
		if (this.toasting !== null) clearTimeout(this.toasting);
	}
}
