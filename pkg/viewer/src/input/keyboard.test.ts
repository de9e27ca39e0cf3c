import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Keyboard, type Platform, platformOf } from "./keyboard";
import { Keysym } from "./keysym";
import type { Hand } from "./sender";

let field: HTMLTextAreaElement;
let keyboard: Keyboard;
let said: string[];
let connected: boolean;
let browserPastes: boolean;
let clock: number;

function start(platform: Platform, rest?: string): void {
	keyboard?.close();
	const hand = {
		key: (down: boolean, locks: number, keysym: number, code: number) =>
			void said.push(`${down ? "+" : "-"}${keysym.toString(16)}${code ? `/${code}` : ""}${locks ? `!${locks}` : ""}`),
		text: (text: string) => void said.push(`text ${text}`),
		release: () => void said.push("release"),
	} as unknown as Hand;
	const host = {
		hand: () => (connected ? hand : null),
		escape: () => void said.push("escape"),
		pastes: (shift: boolean) => {
			said.push(shift ? "pastes shifted" : "pastes");
			return browserPastes;
		},
		composing: () => {},
		letGo: () => {
			keyboard.reset();
			hand.release();
		},
	};
	keyboard = new Keyboard(field, host, platform, rest);
}

beforeEach(() => {
	vi.useFakeTimers();
	field = document.createElement("textarea");
	document.body.append(field);
	said = [];
	connected = true;
	browserPastes = true;
	clock = 1000;
	start("other");
});
afterEach(() => {
	keyboard.close();
	field.remove();
	expect(vi.getTimerCount()).toBe(0);
	vi.useRealTimers();
});

interface Init extends KeyboardEventInit {
	on?: string[];
	at?: number;
}

function fire(type: "keydown" | "keyup", key: string, code: string, init: Init = {}): KeyboardEvent {
	const e = new KeyboardEvent(type, { key, code, bubbles: true, cancelable: true, ...init });
	Object.defineProperty(e, "timeStamp", { value: init.at ?? ++clock });
	Object.defineProperty(e, "getModifierState", { value: (m: string) => init.on?.includes(m) ?? false });
	Object.defineProperty(e, "isComposing", { value: init.isComposing ?? false });
	Object.defineProperty(e, "keyCode", { value: init.keyCode ?? 0 });
	field.dispatchEvent(e);
	return e;
}
const down = (key: string, code: string, init?: Init): KeyboardEvent => fire("keydown", key, code, init);
const up = (key: string, code: string, init?: Init): KeyboardEvent => fire("keyup", key, code, init);

describe("Keyboard", () => {
	it("sends what the browser's layout says, with the physical key beside it", () => {
		expect(down("q", "KeyA").defaultPrevented).toBe(true);
		up("q", "KeyA");
		down("Ж", "Semicolon", { on: ["CapsLock", "NumLock"] });
		up("ж", "Semicolon");
		expect(said).toEqual(["+71/30", "-71/30", "+1000416/39!3", "-1000416/39"]);
	});

	it("lifts the key it pressed, though Shift went up in between", () => {
		down("Shift", "ShiftLeft", { shiftKey: true });
		down("A", "KeyA", { shiftKey: true });
		up("Shift", "ShiftLeft");
		up("a", "KeyA");
		expect(said).toEqual(["+ffe1/42", "+41/30", "-ffe1/42", "-41/30"]);
	});

	it("leaves repeating to the X server", () => {
		down("a", "KeyA");
		down("a", "KeyA", { repeat: true });
		down("a", "KeyA", { repeat: true });
		up("a", "KeyA");
		expect(said).toEqual(["+61/30", "-61/30"]);
	});

	it("ignores a keyup whose keydown another window had", () => {
		up("Tab", "Tab");
		expect(said).toEqual([]);
	});

	it.each([
		["Chromium", 10],
		["Firefox", 15],
	])("lifts a key at once that an input method hands back when it is up, as %s tells it", (_, told) => {
		down("Process", "Space", { keyCode: 229, at: 10 });
		up(" ", "Space", { at: 12 });
		down(" ", "Space", { at: told });
		expect(said).toEqual(["+20/57", "-20/57"]);
		down(" ", "Space", { at: 90 });
		expect(said).toEqual(["+20/57", "-20/57", "+20/57"]);
		up(" ", "Space", { at: 91 });
	});

	it("holds a modifier that is pressed again as soon as it is up, after the page had let go of it", () => {
		down("Control", "ControlLeft", { ctrlKey: true, at: 10 });
		keyboard.reset();
		said = [];
		up("Control", "ControlLeft", { at: 90 });
		down("Control", "ControlLeft", { ctrlKey: true, at: 95 });
		expect(said).toEqual(["+ffe3/29"]);
	});

	it("leaves dead keys to the browser and sends what they make", () => {
		expect(down("Dead", "Quote").defaultPrevented).toBe(false);
		up("Dead", "Quote");
		down("é", "KeyE");
		up("e", "KeyE");
		expect(said).toEqual(["+e9/18", "-e9/18"]);
	});

	it("sends an input method's result once, as text", async () => {
		down("Process", "KeyA", { keyCode: 229 });
		field.dispatchEvent(new Event("compositionstart"));
		down("a", "KeyA", { isComposing: true });
		field.value = "あ";
		field.dispatchEvent(new InputEvent("input", { data: "あ", inputType: "insertCompositionText" }));
		field.dispatchEvent(Object.assign(new Event("compositionend"), { data: "あ" }));
		up("a", "KeyA");
		await Promise.resolve();
		expect(said).toEqual(["text あ"]);
		expect(field.value).toBe("");
	});

	it("keeps something selected while nothing is typed, where that is asked for: a caret has the page make frames", async () => {
		keyboard.close();
		start("other", " ");
		const selected = (): string => {
			vi.advanceTimersByTime(0);
			return field.value.slice(field.selectionStart, field.selectionEnd);
		};
		field.focus();
		// What an input selects would be pasted by the middle button.
		expect(field.selectionEnd).toBe(field.selectionStart);
		expect(selected()).toBe(" ");
		for (const text of ["あ", "い"]) {
			field.dispatchEvent(new Event("compositionstart"));
			field.value = text;
			expect(selected()).toBe("");
			field.dispatchEvent(Object.assign(new Event("compositionend"), { data: text }));
			await Promise.resolve();
			expect(field.value).toBe(""); // the next one may begin now
		}
		expect(selected()).toBe(" ");
		field.value = "";
		field.dispatchEvent(new InputEvent("input", { inputType: "deleteContentBackward" }));
		expect(selected()).toBe(" ");
		field.blur();
		expect(selected()).toBe("");
		const copied = new Event("copy", { cancelable: true });
		field.dispatchEvent(copied);
		expect(copied.defaultPrevented).toBe(true);
	});

	it("sends text that no key told, and a virtual keyboard's deletions", () => {
		down("Unidentified", "", { keyCode: 229 });
		field.dispatchEvent(new InputEvent("input", { data: "🎨", inputType: "insertText" }));
		field.dispatchEvent(new InputEvent("input", { inputType: "deleteContentBackward" }));
		expect(said).toEqual(["text 🎨", "+ff08", "-ff08"]);
	});

	it("holds the key bar's modifier for one key, whatever tells that key", () => {
		const gone = vi.fn();
		const typings: [() => void, string[]][] = [
			[
				() => {
					down("z", "KeyZ");
					up("z", "KeyZ");
				},
				["+7a/44", "-7a/44"],
			],
			[() => void down("z", ""), ["+7a", "-7a"]],
			[() => void field.dispatchEvent(new InputEvent("input", { data: "z", inputType: "insertText" })), ["+7a", "-7a"]],
			[() => keyboard.tap(Keysym.Return), ["+ff0d", "-ff0d"]],
			[
				() => {
					field.dispatchEvent(Object.assign(new Event("compositionupdate"), { data: "z" }));
					field.dispatchEvent(Object.assign(new Event("compositionupdate"), { data: "z" }));
					field.dispatchEvent(Object.assign(new Event("compositionend"), { data: "z" }));
				},
				["+7a", "-7a"],
			],
		];
		for (const [type, keys] of typings) {
			said = [];
			gone.mockClear();
			keyboard.stick(Keysym.ControlL, gone);
			expect(gone).not.toHaveBeenCalled();
			type();
			expect(said).toEqual(["+ffe3", ...keys, "-ffe3"]);
			expect(gone).toHaveBeenCalledOnce();
		}
	});

	it("lets the key bar's modifier go when it is asked for again, and forgets it with all others", () => {
		const gone = vi.fn();
		keyboard.stick(Keysym.ShiftL, gone);
		keyboard.stick(Keysym.ShiftL, gone);
		expect(said).toEqual(["+ffe1", "-ffe1"]);
		keyboard.stick(Keysym.ControlL, gone);
		expect(keyboard.holdsControl()).toBe(true);
		field.dispatchEvent(new Event("blur"));
		expect(said.at(-1)).toBe("release");
		expect(gone).toHaveBeenCalledTimes(2);
		expect(keyboard.holdsControl()).toBe(false);
	});

	it("presses and lifts at once a key without a place", () => {
		down("x", "");
		expect(said).toEqual(["+78", "-78"]);
	});

	it("lets go of everything when the field loses the keyboard, and of nothing twice", () => {
		down("Control", "ControlLeft", { ctrlKey: true });
		field.dispatchEvent(new FocusEvent("blur"));
		up("Control", "ControlLeft");
		expect(said).toEqual(["+ffe3/29", "release"]);
	});

	it("lets go of a modifier whose keyup the system kept", () => {
		down("Alt", "AltLeft", { altKey: true });
		down("a", "KeyA");
		expect(said).toEqual(["+ffe9/56", "-ffe9/56", "+61/30"]);
		down("Shift", "ShiftLeft", { shiftKey: true });
		keyboard.modifiers(new MouseEvent("pointerdown"));
		expect(said.slice(3)).toEqual(["+ffe1/42", "-ffe1/42"]);
	});

	it("goes to the tools by Ctrl+Alt+Shift, but not when that was part of a shortcut", () => {
		const all = { ctrlKey: true, altKey: true, shiftKey: true };
		down("Control", "ControlLeft", { ctrlKey: true });
		down("Alt", "AltLeft", { ctrlKey: true, altKey: true });
		down("Shift", "ShiftLeft", all);
		down("x", "KeyX", all);
		up("x", "KeyX", all);
		up("Shift", "ShiftLeft", { ctrlKey: true, altKey: true });
		expect(said).not.toContain("escape");
		down("Shift", "ShiftLeft", all);
		up("Shift", "ShiftLeft", { ctrlKey: true, altKey: true });
		expect(said.slice(-2)).toEqual(["release", "escape"]);
	});

	it("keeps reload and full screen the browser's, unless captured", () => {
		const reload = { ctrlKey: true };
		down("Control", "ControlLeft", reload);
		expect(down("r", "KeyR", reload).defaultPrevented).toBe(false);
		expect(down("F11", "F11", reload).defaultPrevented).toBe(false);
		expect(down("s", "KeyS", reload).defaultPrevented).toBe(true);
		keyboard.capture = true;
		expect(down("r", "KeyR", reload).defaultPrevented).toBe(true);
		expect(said).toEqual(["+ffe3/29", "+73/31", "+72/19"]);
	});

	it("sends AltGr alone on Windows, without the Ctrl that Windows makes up", () => {
		start("windows");
		down("Control", "ControlLeft", { ctrlKey: true, at: 5000 });
		down("AltGraph", "AltRight", { ctrlKey: true, altKey: true, at: 5000, on: ["AltGraph"] });
		down("@", "KeyQ", { ctrlKey: true, altKey: true, on: ["AltGraph"] });
		up("@", "KeyQ");
		up("Control", "ControlLeft");
		up("AltGraph", "AltRight");
		expect(said).toEqual(["+fe03/100", "+40/16", "-40/16", "-fe03/100"]);
	});

	it.each([
		["another key", () => void down("s", "KeyS", { ctrlKey: true }), "+73/31"],
		["time", () => void vi.advanceTimersByTime(60), undefined],
		["its own keyup", () => void up("Control", "ControlLeft"), "-ffe3/29"],
	])("finds a real Ctrl on Windows by %s", (_by, act, then) => {
		start("windows");
		down("Control", "ControlLeft", { ctrlKey: true });
		expect(said).toEqual([]);
		act();
		expect(said).toEqual(["+ffe3/29", ...(then ? [then] : [])]);
	});

	it("holds Ctrl before a click that needs it on Windows", () => {
		start("windows");
		down("Control", "ControlLeft", { ctrlKey: true });
		keyboard.modifiers(new MouseEvent("pointerdown", { ctrlKey: true }));
		expect(said).toEqual(["+ffe3/29"]);
	});

	it("makes a Mac's Command into Ctrl, and lifts keys whose keyup macOS keeps", () => {
		start("mac");
		down("Meta", "MetaLeft", { metaKey: true, location: 1 });
		down("z", "KeyZ", { metaKey: true });
		up("Meta", "MetaLeft");
		expect(said).toEqual(["+ffe3/125", "+7a/44", "-7a/44", "-ffe3/125"]);
	});

	it("types what a Mac's Option makes without Alt", () => {
		start("mac");
		down("Alt", "AltLeft", { altKey: true, location: 1 });
		down("å", "KeyA", { altKey: true });
		expect(said).toEqual(["+ffe9/56", "-ffe9/56", "+e5/30", "-e5/30", "+ffe9/56"]);
	});

	it("holds Ctrl around a pinch only if nobody does", () => {
		keyboard.withControl(() => said.push("turn"));
		expect(said).toEqual([`+${Keysym.ControlL.toString(16)}`, "turn", "-ffe3"]);
		said.length = 0;
		down("Control", "ControlRight", { ctrlKey: true, location: 2 });
		keyboard.withControl(() => said.push("turn"));
		expect(said).toEqual(["+ffe4/97", "turn"]);
	});

	it("asks for the clipboard before a key that pastes, and leaves that key to the browser if the browser brings it", () => {
		fire("keydown", "Control", "ControlLeft", { ctrlKey: true });
		expect(fire("keydown", "v", "KeyV", { ctrlKey: true }).defaultPrevented).toBe(false);
		expect(said).toEqual(["+ffe3/29", "pastes", "+76/47"]);
		said = [];
		// A held key repeats in the X server, which has the clipboard by then.
		expect(fire("keydown", "v", "KeyV", { ctrlKey: true, repeat: true }).defaultPrevented).toBe(true);
		fire("keyup", "v", "KeyV", { ctrlKey: true });
		browserPastes = false;
		expect(fire("keydown", "V", "KeyV", { ctrlKey: true, shiftKey: true }).defaultPrevented).toBe(true);
		expect(said).toEqual(["-76/47", "pastes shifted", "+56/47"]);
		said = [];
		fire("keydown", "v", "KeyV");
		fire("keydown", "м", "KeyV", { ctrlKey: true, altKey: true });
		expect(said.filter((s) => s.startsWith("pastes"))).toEqual([]);
		keyboard.reset();
	});

	it("says nothing without a connection", () => {
		connected = false;
		expect(down("a", "KeyA").defaultPrevented).toBe(false);
		expect(said).toEqual([]);
	});
});

describe("platformOf", () => {
	it.each([
		["MacIntel", "mac"],
		["macOS", "mac"],
		["Win32", "windows"],
		["Windows", "windows"],
		["Linux x86_64", "other"],
		["", "other"],
	])("%s is %s", (name, platform) => {
		expect(platformOf(name)).toBe(platform);
	});
});
