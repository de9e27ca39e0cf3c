// The tools of a touch screen: its own keyboard with the keys that it lacks, and trackpad mode.

import { byId } from "../elements";
import { Keysym } from "../input/keysym";
import { Trackpad, type TrackpadHost } from "./trackpad";

export interface TouchToolsHost extends TrackpadHost {
	keys: {
		/** Presses and lifts a key. */
		tap(keysym: number): void;
		/** Holds a modifier until the next key or stroke, or lets it go; `gone` is told when it goes. */
		stick(keysym: number, gone: () => void): void;
		/** Brings up or puts away the screen's own keyboard. */
		onScreen: boolean;
	};
}

const KEY = "easel.trackpad";

const modifiers = { Ctrl: Keysym.ControlL, Shift: Keysym.ShiftL, Alt: Keysym.AltL } as const;
const keys = [
	["Esc", 0xff1b, "Escape"],
	["Tab", 0xff09, "Tab"],
	["Del", 0xffff, "Delete"],
	["←", 0xff51, "Left"],
	["↑", 0xff52, "Up"],
	["↓", 0xff54, "Down"],
	["→", 0xff53, "Right"],
	["Enter", Keysym.Return, "Enter"],
] as const;

export class TouchTools {
	private readonly keyboard = byId("onscreen", HTMLButtonElement);
	/** Pressed in trackpad mode. */
	private readonly pad = byId("trackpad", HTMLButtonElement);
	private readonly bar = byId("keybar", HTMLDivElement);
	private readonly pointer: Trackpad;

	/** `enabled` is false where nothing may lie over the picture. */
	constructor(
		enabled: boolean,
		private readonly host: TouchToolsHost,
		private readonly signal: AbortSignal,
	) {
		this.pointer = new Trackpad(host);
		if (!enabled || navigator.maxTouchPoints === 0) return;
		this.keyboard.hidden = false;
		this.pad.hidden = false;
		this.keyboard.addEventListener("click", () => this.toggleKeyboard(), { signal });
		this.pad.addEventListener("click", () => this.setTrackpad(!pressed(this.pad)), { signal });
		signal.addEventListener("abort", () => this.close(), { once: true });
		for (const type of ["resize", "scroll"]) window.visualViewport?.addEventListener(type, this.uncover, { signal });
		for (const [name, keysym] of Object.entries(modifiers)) this.addModifier(name, keysym);
		for (const [name, keysym, label] of keys) this.button(name, label).onclick = () => host.keys.tap(keysym);
		if (stored()) this.setTrackpad(true);
	}

	/** Moves the remote pointer by a finger; null where a finger paints. */
	get trackpad(): Trackpad | null {
		return pressed(this.pad) ? this.pointer : null;
	}

	private addModifier(name: string, keysym: number): void {
		const b = this.button(name, name);
		b.setAttribute("aria-pressed", "false");
		b.onclick = () => {
			b.setAttribute("aria-pressed", "true");
			this.host.keys.stick(keysym, () => b.setAttribute("aria-pressed", "false"));
		};
	}

	private button(name: string, label: string): HTMLButtonElement {
		const b = document.createElement("button");
		b.type = "button";
		b.textContent = name;
		b.setAttribute("aria-label", label);
		// The field that the keyboard types into keeps it.
		b.addEventListener("pointerdown", (e) => e.preventDefault(), { signal: this.signal });
		b.addEventListener("mousedown", (e) => e.preventDefault(), { signal: this.signal });
		this.bar.append(b);
		return b;
	}

	private toggleKeyboard(): void {
		const on = !pressed(this.keyboard);
		this.keyboard.setAttribute("aria-pressed", String(on));
		this.bar.hidden = !on;
		this.host.keys.onScreen = on;
		this.uncover();
	}

	// Where the keyboard covers the page's lower end, and does not make the page smaller as asked (Safari), the bar lies above it.
	private readonly uncover = (): void => {
		const seen = window.visualViewport;
		const covered = seen ? document.documentElement.clientHeight - seen.offsetTop - seen.height : 0;
		document.documentElement.style.setProperty("--covered", `${Math.max(0, Math.round(covered))}px`);
	};

	private setTrackpad(on: boolean): void {
		this.pad.setAttribute("aria-pressed", String(on));
		if (on) this.pointer.show();
		else this.pointer.hide();
		try {
			localStorage.setItem(KEY, on ? "1" : "0");
		} catch {
			// Storage may be off; the choice then lasts as long as the page.
		}
	}

	private close(): void {
		for (const e of [this.keyboard, this.pad, this.bar]) e.hidden = true;
	}
}

function pressed(b: HTMLButtonElement): boolean {
	return b.getAttribute("aria-pressed") === "true";
}

function stored(): boolean {
	try {
		return localStorage.getItem(KEY) === "1";
	} catch {
		return false;
	}
}
