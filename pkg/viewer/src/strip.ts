// The tool strip at the top edge and the stats overlay. It hides by itself; Ctrl+Alt+Shift or the handle shows it.

import { byId } from "./elements";
import type { Quality } from "./link/control";
import type { Path } from "./state";
import { rows } from "./stats/overlay";
import type { Snapshot } from "./stats/stats";
import { Toolbar } from "./toolbar";

export interface StripHost {
	quality(value: Quality): void;
	capture(on: boolean): void;
	/** The sound goes on or off. */
	sound(): void;
	/** The artist asks for what was copied on the other side. */
	clipboard(): void;
	/** The stats overlay was opened or closed. */
	overlay(on: boolean): void;
	end(): void;
	/** The picture should have the keyboard again. */
	leave(): void;
}

/** A pointer that rests this long (ms) at the very top edge wants the strip. */
const DWELL = 300;
/** The strip goes this long (ms) after the pointer left it. */
const LINGER = 1200;
/** A finger cannot rest on the strip, to keep it: so long (ms) it stays after a tap on the handle. */
const READ = 10_000;
/** The strip shows itself for this long (ms) when the session first opens. */
const GREETING = 5000;

const ways: Readonly<Record<Path | "", string>> = {
	"": "Offline",
	direct: "Direct",
	relay: "Relayed",
	vnc: "Slower fallback (VNC)",
};

type KeyboardLock = { lock?: () => Promise<void>; unlock?: () => void };

export class Strip {
	private readonly root = byId("strip", HTMLDivElement);
	private readonly handle = byId("handle", HTMLButtonElement);
	private readonly way = byId("way", HTMLSpanElement);
	private readonly sure = byId("sure", HTMLSpanElement);
	private readonly fullscreen = byId("fullscreen", HTMLButtonElement);
	private readonly quality = byId("quality", HTMLSelectElement);
	private readonly capture = byId("capture", HTMLButtonElement);
	private readonly sound = byId("hear", HTMLButtonElement);
	private readonly clipboard = byId("clipboard", HTMLButtonElement);
	private readonly figures = byId("figures", HTMLButtonElement);
	private readonly end = byId("end", HTMLButtonElement);
	private readonly overlay = byId("overlay", HTMLElement);
	private readonly rows = byId("rows", HTMLDListElement);
	private readonly confirm = byId("confirm", HTMLDialogElement);
	private readonly stop = new AbortController();
	private readonly tools = new Toolbar(this.root, this.stop.signal);
	private hiding: ReturnType<typeof setTimeout> | null = null;
	private dwelling: ReturnType<typeof setTimeout> | null = null;
	private available = false;
	/** What in it the pointer was pressed on, since the last key. */
	private pointing: EventTarget | null = null;

	/** `enabled` is false where nothing may lie over the picture: then the strip never shows. */
	constructor(
		private readonly enabled: boolean,
		private readonly host: StripHost,
	) {
		const signal = this.stop.signal;
		this.quality.value = storedQuality();
		this.quality.addEventListener("change", () => this.qualityChosen(), { signal });
		this.handle.addEventListener("click", this.handled, { signal });
		this.fullscreen.addEventListener("click", () => void this.toggleFullscreen(), { signal });
		this.capture.addEventListener("click", () => this.toggleCapture(), { signal });
		this.sound.addEventListener("click", () => this.host.sound(), { signal });
		this.clipboard.addEventListener("click", () => this.host.clipboard(), { signal });
		this.figures.addEventListener("click", () => this.toggleOverlay(), { signal });
		this.end.addEventListener("click", () => this.confirm.showModal(), { signal });
		this.wireConfirm(signal);
		this.root.addEventListener("keydown", this.key, { signal });
		this.root.addEventListener("pointerdown", this.pointed, { signal });
		this.root.addEventListener("click", this.clicked, { signal });
		this.root.addEventListener("change", this.picked, { signal });
		this.root.addEventListener("pointerleave", () => this.hideSoon(LINGER), { signal });
		this.root.addEventListener("pointerenter", () => this.stay(), { signal });
		this.root.addEventListener("focusout", () => this.hideSoon(LINGER), { signal });
		document.addEventListener("fullscreenchange", () => this.fullscreenChanged(), { signal });
		if (!enabled) return;
		document.addEventListener("pointermove", this.edge, { signal, passive: true });
		byId("screen", HTMLDivElement).addEventListener("pointerdown", () => this.root.hidden || this.hide(), {
			signal,
			passive: true,
		});
	}

	/** The quality to ask the node for. */
	get chosen(): Quality {
		return this.quality.value as Quality;
	}

	/** There is a picture to have tools for, coming this way. The first time, the strip shows itself. */
	open(path: Path): void {
		this.way.textContent = ways[path];
		this.way.dataset.way = path;
		if (!this.enabled || this.available) return;
		this.available = true;
		this.handle.hidden = false;
		this.show(false);
		this.hideSoon(GREETING);
	}

	/** Whether every pixel on show is proven to be the remote screen's. Once it was so, its place is kept. */
	exact(on: boolean): void {
		if (on) this.sure.hidden = false;
		this.sure.dataset.is = on ? "yes" : "no";
	}

	/** Whether there is sound, and whether it is on. */
	sounds(available: boolean, on: boolean): void {
		this.sound.hidden = !available;
		this.sound.setAttribute("aria-pressed", String(on));
	}

	/** Whether the clipboard crosses. */
	exchanges(is: boolean): void {
		this.clipboard.hidden = !is;
	}

	/** The picture's way is gone for now. */
	offline(): void {
		this.sure.hidden = true;
		this.way.textContent = ways[""];
		this.way.dataset.way = "";
	}

	/** Shows the strip; with `focus`, gives it the keyboard. */
	show(focus: boolean): void {
		if (!this.available) return;
		this.stay();
		this.root.hidden = false;
		this.handle.setAttribute("aria-expanded", "true");
		if (focus) this.tools.focus();
		else this.hideSoon(LINGER * 2);
	}

	/** Puts figures into the overlay, if it is open. */
	draw(s: Snapshot): void {
		if (this.overlay.hidden) return;
		const cells = rows(s).flatMap(([name, value]) => {
			const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
			dt.textContent = name;
			dd.textContent = value;
			return [dt, dd];
		});
		this.rows.replaceChildren(...cells);
	}

	/** The session is over: no tools are left to offer. */
	close(): void {
		this.stop.abort();
		this.stay();
		if (this.dwelling !== null) clearTimeout(this.dwelling);
		for (const e of [this.root, this.handle, this.overlay]) e.hidden = true;
		if (this.confirm.open) this.confirm.close();
	}

	private wireConfirm(signal: AbortSignal): void {
		const yes = byId("confirm-yes", HTMLButtonElement);
		const no = byId("confirm-no", HTMLButtonElement);
		no.addEventListener("click", () => this.confirm.close(), { signal });
		const sure = (): void => {
			this.confirm.close();
			this.host.end();
		};
		yes.addEventListener("click", sure, { signal });
		this.confirm.addEventListener("close", () => this.host.leave(), { signal });
	}

	private qualityChosen(): void {
		try {
			localStorage.setItem(QUALITY, this.quality.value);
		} catch {
			// Storage may be off; the choice then lasts as long as the page.
		}
		this.host.quality(this.chosen);
	}

	private async toggleFullscreen(): Promise<void> {
		// Refused where the page may not: the button then stays as it was.
		if (document.fullscreenElement) await document.exitFullscreen().catch(() => {});
		else await document.documentElement.requestFullscreen({ navigationUI: "hide" }).catch(() => {});
	}

	private fullscreenChanged(): void {
		this.fullscreen.setAttribute("aria-pressed", String(document.fullscreenElement !== null));
		this.lockKeyboard();
	}

	private toggleCapture(): void {
		const on = this.capture.getAttribute("aria-pressed") !== "true";
		this.capture.setAttribute("aria-pressed", String(on));
		this.host.capture(on);
		this.lockKeyboard();
	}

	// In full screen Chromium can give the page Escape, Alt+Tab and the like; elsewhere nobody does.
	private lockKeyboard(): void {
		const keyboard = (navigator as Navigator & { keyboard?: KeyboardLock }).keyboard;
		const captured = this.capture.getAttribute("aria-pressed") === "true";
		if (captured && document.fullscreenElement) keyboard?.lock?.().catch(() => {});
		else keyboard?.unlock?.();
	}

	private toggleOverlay(): void {
		this.overlay.hidden = !this.overlay.hidden;
		this.figures.setAttribute("aria-pressed", String(!this.overlay.hidden));
		this.host.overlay(!this.overlay.hidden);
	}

	private stay(): void {
		if (this.hiding !== null) clearTimeout(this.hiding);
		this.hiding = null;
	}

	private hideSoon(ms: number): void {
		this.stay();
		this.hiding = setTimeout(() => this.hideUnlessUsed(), ms);
	}

	private hideUnlessUsed(): void {
		this.hiding = null;
		const used = this.root.matches(":hover") || this.root.contains(document.activeElement) || this.confirm.open;
		if (used) this.hideSoon(LINGER);
		else this.hide();
	}

	private hide(): void {
		this.root.hidden = true;
		this.handle.setAttribute("aria-expanded", "false");
	}

	// What is used by pointer gives the keyboard back to the picture, whoever's tool it is; what is used by keyboard keeps it in the strip.
	private readonly pointed = (e: PointerEvent): void => {
		this.pointing = e.target;
	};

	private readonly clicked = (e: MouseEvent): void => {
		if (e.detail > 0 && e.target instanceof Element && e.target.closest("button")) this.host.leave();
	};

	private readonly picked = (e: Event): void => {
		if (e.target === this.pointing) this.host.leave();
	};

	private readonly handled = (e: MouseEvent): void => {
		this.show(e.detail === 0);
		if (e.detail > 0) this.host.leave();
		if ((e as PointerEvent).pointerType === "touch") this.hideSoon(READ);
	};

	private readonly key = (e: KeyboardEvent): void => {
		this.pointing = null;
		if (e.key !== "Escape") return;
		e.preventDefault();
		this.hide();
		this.host.leave();
	};

	private readonly edge = (e: PointerEvent): void => {
		if (e.clientY <= 1 && e.buttons === 0 && e.pointerType === "mouse") {
			this.dwelling ??= setTimeout(() => {
				this.dwelling = null;
				this.show(false);
			}, DWELL);
		} else if (this.dwelling !== null) {
			clearTimeout(this.dwelling);
			this.dwelling = null;
		}
	};
}

const QUALITY = "easel.quality";

function storedQuality(): Quality {
	let stored: string | null = null;
	try {
		stored = localStorage.getItem(QUALITY);
	} catch {
		// Storage may be off.
	}
	return stored === "sharp" || stored === "fast" ? stored : "auto";
}
