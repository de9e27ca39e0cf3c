// Keys → keysyms for the hand. Keys arrive at a hidden text field, so that dead keys and input methods compose there as
// in any other application; what they compose goes over as text.

import { evdevOf } from "./evdev";
import { isChar, Keysym, keysymOf } from "./keysym";
import type { Hand } from "./sender";

export type Platform = "mac" | "windows" | "other";

export interface KeyboardHost {
	/** Where keys go now; null while there is no connection (or another client has the keyboard). */
	hand(): Hand | null;
	/** Ctrl+Alt+Shift was pressed and let go with nothing else: the artist wants the tool strip. */
	escape(): void;
	/** The keyboard was taken away: every key and button must go up, here (reset) and remotely. */
	letGo(): void;
	/** A key that pastes goes down. True: the browser pastes too, which brings what is on its clipboard. */
	pastes(shift: boolean): boolean;
	/** An input method begins to compose: a chance to put the field where its window should open. */
	composing(): void;
}

interface Held {
	keysym: number;
	code: number;
}

/** Windows reports AltGr as a ControlLeft it made up and, within this time (ms), the AltGr. */
const FAKE_CONTROL = 50;

/** A key goes down again no sooner (ms) after it went up: what comes sooner is told late. */
const LATE = 50;

export class Keyboard {
	/** Keys that are down remotely, by KeyboardEvent.code: a key goes up as what it went down as. */
	private readonly held = new Map<string, Held>();
	/** When keys went up of which nobody had said that they are down. */
	private readonly ups = new Map<string, number>();
	/** A ControlLeft that may turn out to be half of an AltGr. */
	private control: { event: KeyboardEvent; timer: ReturnType<typeof setTimeout> } | null = null;
	/** Ctrl, Alt and Shift were together, and nothing else has been since. */
	private chord = false;
	/** Modifiers that the key bar holds for the next key, and who is told when they go. */
	private readonly stuck = new Map<number, () => void>();
	/** The field loses the keyboard for a moment, and gets it back. */
	private quiet = false;
	/** What is composed was taken as a key already. */
	private taken = false;
	private composing = false;
	/** What the field holds is about to be selected. */
	private selecting: ReturnType<typeof setTimeout> | null = null;
	/** Everything goes to the remote application, the browser's own shortcuts too. */
	private everything = false;
	private readonly stop = new AbortController();

	constructor(
		private readonly field: HTMLTextAreaElement,
		private readonly host: KeyboardHost,
		private readonly platform: Platform,
		/** What the field holds, selected, while nothing is typed. */
		private readonly rest = "",
	) {
		const signal = this.stop.signal;
		this.empty();
		field.addEventListener("keydown", this.down, { signal });
		field.addEventListener("keyup", this.up, { signal });
		field.addEventListener("compositionstart", this.begins, { signal });
		field.addEventListener("compositionupdate", this.composes, { signal });
		field.addEventListener("compositionend", this.composed, { signal });
		field.addEventListener("input", this.typed as EventListener, { signal });
		for (const kind of ["copy", "cut", "paste", "drop"] as const)
			field.addEventListener(kind, (e) => e.preventDefault(), { signal });
		field.addEventListener("focus", () => this.empty(), { signal });
		field.addEventListener("blur", this.left, { signal });
	}

	/** With capture the browser keeps no shortcut that it can be asked to give up. */
	set capture(on: boolean) {
		this.everything = on;
	}

	focus(): void {
		if (document.activeElement !== this.field) this.field.focus({ preventScroll: true });
	}

	/** Brings up or puts away the screen's own keyboard, where the system has one. */
	set onScreen(on: boolean) {
		this.field.inputMode = on ? "text" : "none";
		// Browsers show and hide it as the field gets the keyboard.
		this.silently(() => this.field.blur());
		this.focus();
	}

	/** Presses and lifts a key that no keyboard has told. */
	tap(keysym: number): void {
		const hand = this.host.hand();
		if (hand) tap(hand, keysym);
		this.unstick();
	}

	/** Holds a modifier until the next key or stroke is done, or it is asked for again; `gone` is told then. */
	stick(keysym: number, gone: () => void): void {
		const hand = this.host.hand();
		if (!hand) return;
		if (this.stuck.has(keysym)) {
			hand.key(false, 0, keysym, 0);
			this.stuck.delete(keysym);
			gone();
		} else {
			hand.key(true, 0, keysym, 0);
			this.stuck.set(keysym, gone);
		}
	}

	/** The key or stroke that modifiers were held for is done. */
	unstick(): void {
		for (const keysym of this.stuck.keys()) this.host.hand()?.key(false, 0, keysym, 0);
		this.forgetStuck();
	}

	/** Forgets what is down. */
	reset(): void {
		this.forgetStuck();
		if (this.control) clearTimeout(this.control.timer);
		this.control = null;
		this.held.clear();
		this.chord = false;
	}

	close(): void {
		this.reset();
		this.deselect();
		this.stop.abort();
	}

	holdsControl(): boolean {
		this.flush();
		return this.holds(Keysym.ControlL, Keysym.ControlR);
	}

	/** Runs `act` with Ctrl held remotely, whether or not the artist holds one. */
	withControl(act: () => void): void {
		const hand = this.host.hand();
		if (!hand) return;
		if (this.holdsControl()) {
			act();
			return;
		}
		hand.key(true, 0, Keysym.ControlL, 0);
		act();
		hand.key(false, 0, Keysym.ControlL, 0);
	}

	/** Lets go of modifiers that this event says are up: the system kept their keyup (a window switcher, a screenshot). */
	modifiers(e: MouseEvent | KeyboardEvent): void {
		this.flush();
		const control = this.platform === "mac" ? e.ctrlKey || e.metaKey : e.ctrlKey;
		if (!e.shiftKey) this.letGo(Keysym.ShiftL, Keysym.ShiftR);
		if (!control) this.letGo(Keysym.ControlL, Keysym.ControlR);
		if (!e.altKey) this.letGo(Keysym.AltL, Keysym.AltR);
		if (!e.metaKey) this.letGo(Keysym.SuperL, Keysym.SuperR);
	}

	private readonly down = (e: KeyboardEvent): void => {
		const hand = this.host.hand();
		if (!hand) return;
		this.watchChord(e);
		// The input method has it, or the first half of an accented letter: its result comes as a key or as text.
		if (e.isComposing || e.key === "Process" || e.key === "Dead" || e.keyCode === 229) return;
		if (this.leftToBrowser(e)) return;
		const keysym = this.keysym(e);
		if (keysym === 0) return;
		const pastes = this.pasteKey(e);
		if (pastes) this.modifiers(e); // what is told of them goes before the key, which waits
		if (!(pastes && this.host.pastes(e.shiftKey && e.key !== "Insert"))) e.preventDefault();
		if (this.waitForAltGr(e)) return;
		if (!isModifier(keysym)) this.modifiers(e);
		// A held key repeats in the X server.
		if (e.repeat && this.held.has(e.code)) return;
		this.press(hand, e, keysym);
		if (!isModifier(keysym) && e.code === "") this.unstick();
	};

	private readonly up = (e: KeyboardEvent): void => {
		const hand = this.host.hand();
		if (!hand) return;
		this.flush();
		const held = this.held.get(e.code);
		if (held) {
			e.preventDefault();
			this.held.delete(e.code);
			hand.key(false, locks(e), held.keysym, held.code);
			if (!isModifier(held.keysym)) this.unstick();
		} else {
			this.ups.set(e.code, e.timeStamp);
		}
		if (this.chord && (e.key === "Control" || e.key === "Alt" || e.key === "Shift")) {
			this.chord = false;
			this.host.letGo();
			this.host.escape();
		}
	};

	private press(hand: Hand, e: KeyboardEvent, keysym: number): void {
		const code = evdevOf(e.code);
		const typed = (): void => {
			hand.key(true, locks(e), keysym, code);
			hand.key(false, locks(e), keysym, code);
		};
		// macOS reports no keyup while Command is down, and virtual keyboards have no physical key to wait for.
		const mac = this.platform === "mac";
		if (e.code === "" || this.isUp(e, keysym) || (mac && e.metaKey && !isModifier(keysym))) {
			typed();
		} else if (mac && e.altKey && isChar(e.key) && e.key > "~") {
			// Option+letter is what it types, not Alt with it: Alt steps aside.
			this.withoutAlt(hand, typed);
		} else {
			this.hold(hand, e.code, { keysym, code }, locks(e));
		}
	}

	// Of a key that an input method looked at and handed back (IBus does) browsers tell after they have told that it is up: Chromium with the time of the
	// press, Firefox with that of its telling. Not so a modifier: the next event tells whether it is up, and the artist may press one again at once that the
	// page had let go of.
	private isUp(e: KeyboardEvent, keysym: number): boolean {
		const up = this.ups.get(e.code);
		this.ups.delete(e.code);
		return up !== undefined && e.timeStamp < up + LATE && !isModifier(keysym);
	}

	private hold(hand: Hand, key: string, held: Held, locks: number): void {
		const before = this.held.get(key);
		if (before && before.keysym !== held.keysym) hand.key(false, locks, before.keysym, before.code);
		this.held.set(key, held);
		hand.key(true, locks, held.keysym, held.code);
	}

	private keysym(e: KeyboardEvent): number {
		// Command is to a Mac what Ctrl is to GIMP.
		if (this.platform === "mac" && e.key === "Meta") return e.location === 2 ? Keysym.ControlR : Keysym.ControlL;
		return keysymOf(e.key, e.location);
	}

	private waitForAltGr(e: KeyboardEvent): boolean {
		if (this.platform !== "windows") return false;
		const waiting = this.control;
		if (e.code === "ControlLeft" && !e.repeat && !waiting) {
			this.control = { event: e, timer: setTimeout(() => this.flush(), FAKE_CONTROL) };
			return true;
		}
		if (!waiting) return false;
		if (e.code === "AltRight" && e.timeStamp - waiting.event.timeStamp < FAKE_CONTROL) {
			clearTimeout(waiting.timer);
			this.control = null;
			const hand = this.host.hand();
			if (hand) this.hold(hand, e.code, { keysym: Keysym.Level3Shift, code: evdevOf(e.code) }, locks(e));
			return true;
		}
		this.flush();
		return e.repeat && e.code === "ControlLeft";
	}

	// The waiting Ctrl was a real one.
	private flush(): void {
		const waiting = this.control;
		if (!waiting) return;
		clearTimeout(waiting.timer);
		this.control = null;
		const hand = this.host.hand();
		if (hand) this.press(hand, waiting.event, Keysym.ControlL);
	}

	// Without capture: reload, full screen and the browser's own tools.
	private leftToBrowser(e: KeyboardEvent): boolean {
		if (this.everything) return false;
		if (e.key === "F11" || e.key === "F12") return true;
		const command = this.platform === "mac" ? e.metaKey : e.ctrlKey;
		// AltGr looks like Ctrl+Alt on Windows.
		if (!command || e.altKey) return false;
		const key = e.key.toLowerCase();
		return key === "r" || (e.shiftKey && (key === "i" || key === "j"));
	}

	private pasteKey(e: KeyboardEvent): boolean {
		if (e.repeat || e.altKey) return false;
		const command = this.platform === "mac" ? e.metaKey : e.ctrlKey;
		return (command && (e.code === "KeyV" || e.key.toLowerCase() === "v")) || (e.shiftKey && e.key === "Insert");
	}

	private watchChord(e: KeyboardEvent): void {
		const modifier = e.key === "Control" || e.key === "Alt" || e.key === "Shift";
		// Shift pressed after Alt is called Meta by some X layouts.
		this.chord =
			(modifier || e.key === "Meta") && e.ctrlKey && e.altKey && e.shiftKey && !e.getModifierState("AltGraph");
	}

	private readonly begins = (): void => {
		this.composing = true;
		this.host.composing();
	};

	private readonly left = (): void => {
		this.deselect();
		if (!this.quiet) this.host.letGo();
	};

	// With a modifier held, a screen's keyboard that composes words means a shortcut by the first letter.
	private readonly composes = (e: CompositionEvent): void => {
		if (this.stuck.size === 0 || this.taken || e.data === "") return;
		this.taken = true;
		this.shortcut(e.data);
	};

	private shortcut(text: string): void {
		const keysym = keysymOf([...text].at(-1) ?? "", 0);
		if (keysym !== 0) this.tap(keysym);
	}

	private readonly composed = (e: CompositionEvent): void => {
		if (e.data && !this.taken) this.host.hand()?.text(e.data);
		this.taken = false;
		this.composing = false;
		queueMicrotask(() => this.empty());
	};

	// Text without a key that told it: virtual keyboards, emoji pickers, handwriting.
	private readonly typed = (e: InputEvent): void => {
		if (e.isComposing || e.inputType === "insertCompositionText") return;
		const hand = this.host.hand();
		if (hand && e.inputType === "insertText" && e.data && this.stuck.size > 0) this.shortcut(e.data);
		else if (hand && e.inputType === "insertText" && e.data) hand.text(e.data);
		else if (hand && e.inputType === "insertLineBreak") tap(hand, Keysym.Return);
		else if (hand && e.inputType === "deleteContentBackward") tap(hand, Keysym.BackSpace);
		else if (hand && e.inputType === "deleteContentForward") tap(hand, Keysym.Delete);
		this.empty();
	};

	private forgetStuck(): void {
		const told = [...this.stuck.values()];
		this.stuck.clear();
		for (const gone of told) gone();
	}

	private silently(act: () => void): void {
		this.quiet = true;
		act();
		this.quiet = false;
	}

	private empty(): void {
		if (this.field.value !== this.rest) this.field.value = "";
		if (this.rest !== "") this.selecting ??= setTimeout(this.select);
	}

	// Not while an input is handled: what is selected then is, on Linux, what the middle button pastes anywhere. Focus would select it again. And not
	// before it is selected: the next syllable of Korean may begin at once, and would stand beside it.
	private readonly select = (): void => {
		this.selecting = null;
		if (this.composing || document.activeElement !== this.field) return;
		if (this.field.value !== this.rest) this.field.value = this.rest;
		this.field.select();
	};

	private deselect(): void {
		if (this.selecting !== null) clearTimeout(this.selecting);
		this.selecting = null;
		this.field.setSelectionRange(0, 0);
	}

	private withoutAlt(hand: Hand, act: () => void): void {
		const alts = [...this.held.values()].filter((h) => h.keysym === Keysym.AltL || h.keysym === Keysym.AltR);
		for (const a of alts) hand.key(false, 0, a.keysym, a.code);
		act();
		for (const a of alts) hand.key(true, 0, a.keysym, a.code);
	}

	private holds(...keysyms: number[]): boolean {
		const down = [...[...this.held.values()].map((h) => h.keysym), ...this.stuck.keys()];
		return down.some((k) => keysyms.includes(k));
	}

	private letGo(...keysyms: number[]): void {
		for (const [code, h] of this.held) {
			if (!keysyms.includes(h.keysym)) continue;
			this.held.delete(code);
			this.host.hand()?.key(false, 0, h.keysym, h.code);
		}
	}
}

/** What kind of keyboard behaviour to expect, from navigator. */
export function platformOf(name: string): Platform {
	if (/mac|iphone|ipad/i.test(name)) return "mac";
	return /win/i.test(name) ? "windows" : "other";
}

function tap(hand: Hand, keysym: number): void {
	hand.key(true, 0, keysym, 0);
	hand.key(false, 0, keysym, 0);
}

function isModifier(keysym: number): boolean {
	return (keysym >= Keysym.ShiftL && keysym <= 0xffee) || keysym === Keysym.Level3Shift;
}

function locks(e: KeyboardEvent): number {
	return (e.getModifierState("CapsLock") ? 1 : 0) | (e.getModifierState("NumLock") ? 2 : 0);
}
