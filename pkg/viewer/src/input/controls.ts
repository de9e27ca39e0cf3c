// What the artist's hands have, joined to each other and to the picture: keyboard, pointer, fingers, and ink under the nib.

import { byId } from "../elements";
import type { Options } from "../options";
import type { Point } from "../screen/geometry";
import type { Screen } from "../screen/screen";
import { gimpScroll } from "../touch/gesture";
import { TouchTools } from "../touch/tools";
import { Composition } from "./composition";
import { Ink } from "./ink";
import { Keyboard, type KeyboardHost, platformOf } from "./keyboard";
import { Pointer } from "./pointer";

export interface ControlsHost extends Omit<KeyboardHost, "composing"> {
	screen(): Screen;
	/** A pointer that a finger moves is here. */
	draw(at: Point | null): void;
}

export class Controls {
	readonly keyboard: Keyboard;
	private readonly pointer: Pointer;
	private readonly ink: Ink;
	private readonly touch: TouchTools;

	/** Keys arrive in `field`, pointers on `root`. */
	constructor(
		root: HTMLElement,
		field: HTMLTextAreaElement,
		options: Pick<Options, "chrome" | "ink">,
		host: ControlsHost,
		signal: AbortSignal,
	) {
		// A touch screen's keyboard would cover the picture at every tap.
		if (window.matchMedia("(pointer: coarse)").matches) field.inputMode = "none";
		const { userAgentData } = navigator as Navigator & { userAgentData?: { platform?: string; mobile: boolean } };
		// Chromium's caret, seen or not, has the page make frames twice a second, which get in the way of the picture. Where something is selected
		// it has none. A phone would show that as a selection.
		const rest = userAgentData?.mobile === false ? " " : "";
		const keys = { ...host, composing: () => this.pointer.follow(field) };
		const keyboard = new Keyboard(field, keys, platformOf(userAgentData?.platform || navigator.platform), rest);
		this.keyboard = keyboard;
		new Composition(field, signal);
		this.pointer = new Pointer(root, {
			hand: host.hand,
			toRemote: (x, y) => host.screen().toRemote(x, y),
			pressed: () => keyboard.focus(),
			modifiers: (e) => keyboard.modifiers(e),
			holdsControl: () => keyboard.holdsControl(),
			withControl: (act) => keyboard.withControl(act),
			scroll: () => {
				const screen = host.screen();
				return gimpScroll(screen.size, screen.ask().scale, screen.density);
			},
			trackpad: () => this.touch.trackpad,
			done: () => keyboard.unstick(),
		});
		this.ink = new Ink(root, byId("ink", HTMLButtonElement), options.ink);
		this.touch = new TouchTools(options.chrome, { keys: keyboard, screen: host.screen, draw: host.draw }, signal);
	}

	/** A picture shows what was done up to this time. */
	pictured(time: number): void {
		this.ink.pictured(time);
	}

	/** Forgets what is down: it goes up elsewhere. */
	reset(): void {
		this.pointer.reset();
		this.keyboard.reset();
	}

	close(): void {
		this.pointer.close();
		this.keyboard.close();
		this.ink.close();
	}
}
