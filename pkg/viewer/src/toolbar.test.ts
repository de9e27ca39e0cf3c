import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Toolbar } from "./toolbar";

let root: HTMLElement;
let toolbar: Toolbar;
let stop: AbortController;

beforeEach(() => {
	stop = new AbortController();
	root = document.createElement("div");
	root.innerHTML =
		'<button id="a"></button><button id="b" hidden></button><select id="c"><option>1</option><option>2</option></select><button id="d" disabled></button><button id="e"></button>';
	document.body.append(root);
	toolbar = new Toolbar(root, stop.signal);
});
afterEach(() => {
	stop.abort();
	root.remove();
});

const press = (key: string, init: KeyboardEventInit = {}): boolean =>
	(document.activeElement as HTMLElement).dispatchEvent(
		new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...init }),
	);
const at = (): string => document.activeElement?.id ?? "";
const stops = (): string[] =>
	[...root.querySelectorAll<HTMLElement>("button, select")].filter((t) => t.tabIndex === 0).map((t) => t.id);

describe("Toolbar", () => {
	it("goes from tool to tool that is there, and around", () => {
		toolbar.focus();
		const way = ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "Home", "End"].map((key) => {
			press(key);
			return at();
		});
		expect(way).toEqual(["c", "e", "a", "e", "c", "a", "e"]);
	});

	it("is one stop of Tab, at the tool that had the keyboard last", () => {
		expect(stops()).toEqual(["a"]);
		toolbar.focus();
		press("ArrowRight");
		expect(stops()).toEqual(["c"]);
		(document.activeElement as HTMLElement).blur();
		toolbar.focus();
		expect(at()).toBe("c");
		root.querySelector<HTMLElement>("#c")?.toggleAttribute("hidden", true);
		toolbar.focus();
		expect(at()).toBe("a");
	});

	it("leaves other keys, and those with a modifier, alone", () => {
		toolbar.focus();
		for (const key of ["ArrowDown", "Enter", "x"]) expect(press(key)).toBe(true);
		expect(press("ArrowRight", { ctrlKey: true })).toBe(true);
		expect(at()).toBe("a");
		expect(press("ArrowRight")).toBe(false);
	});
});
