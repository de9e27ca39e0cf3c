import { describe, expect, it } from "vitest";
import { evdevOf } from "./evdev";
import { isChar, keysymOf } from "./keysym";

describe("keysymOf", () => {
	it.each([
		["a", 0, 0x61],
		["A", 0, 0x41],
		[" ", 0, 0x20],
		["~", 0, 0x7e],
		["é", 0, 0xe9],
		["ß", 0, 0xdf],
		["ÿ", 0, 0xff],
		["ő", 0, 0x01000151],
		["€", 0, 0x010020ac],
		["Ж", 0, 0x01000416],
		["λ", 0, 0x010003bb],
		["א", 0, 0x010005d0],
		["あ", 0, 0x01003042],
		["한", 0, 0x0100d55c],
		["🎨", 0, 0x0101f3a8],
		["Enter", 0, 0xff0d],
		["Enter", 3, 0xff8d],
		["7", 0, 0x37],
		["7", 3, 0xffb7],
		["Home", 3, 0xff95],
		[",", 3, 0xffac],
		[".", 3, 0xffae],
		["F1", 0, 0xffbe],
		["F12", 0, 0xffc9],
		["F35", 0, 0xffe0],
		["Shift", 1, 0xffe1],
		["Shift", 2, 0xffe2],
		["Control", 2, 0xffe4],
		["Alt", 1, 0xffe9],
		["Meta", 1, 0xffeb],
		["AltGraph", 2, 0xfe03],
		["ArrowLeft", 0, 0xff51],
		["Delete", 0, 0xffff],
		["Insert", 0, 0xff63],
	])("%s at location %i is the keysym an X keyboard of that layout gives", (key, location, keysym) => {
		expect(keysymOf(key, location)).toBe(keysym);
	});

	it.each([
		"Dead",
		"Process",
		"Unidentified",
		"F36",
		"AudioVolumeUp",
		"CapsLock",
		"NumLock",
		"",
		"constructor",
		"\u0007",
		"\ud83c",
	])("leaves %j to the browser", (key) => {
		expect(keysymOf(key, 0)).toBe(0);
	});

	it("tells characters from names", () => {
		expect(["a", "é", "🎨"].every(isChar)).toBe(true);
		expect(["Enter", "F1", ""].some(isChar)).toBe(false);
	});
});

describe("evdevOf", () => {
	it.each([
		["KeyA", 30],
		["Semicolon", 39],
		["AltRight", 100],
		["Numpad7", 71],
		["IntlBackslash", 86],
		["F24", 194],
		["", 0],
		["constructor", 0],
	])("%s is %i", (code, evdev) => {
		expect(evdevOf(code)).toBe(evdev);
	});
});
