import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { askBeforeLeaving } from "./leaving";

describe("leaving the page", () => {
	let stop: AbortController;
	let painting: boolean;
	const say = vi.fn();
	const letGo = vi.fn();

	const key = (type: "keydown" | "keyup", key: string, init: KeyboardEventInit = {}) =>
		window.dispatchEvent(new KeyboardEvent(type, { key, ...init }));
	/** Whether the browser would ask. */
	const asks = (): boolean => !window.dispatchEvent(new Event("beforeunload", { cancelable: true }));

	beforeEach(() => {
		vi.useFakeTimers();
		say.mockClear();
		letGo.mockClear();
		painting = true;
		stop = new AbortController();
		askBeforeLeaving({ painting: () => painting, letGo, say }, stop.signal);
	});
	afterEach(() => {
		stop.abort();
		vi.useRealTimers();
	});

	it("is asked about while Ctrl is held, once, and the artist who stays is told why", () => {
		expect(asks()).toBe(false);
		key("keydown", "Control", { ctrlKey: true });
		expect(asks()).toBe(true);
		vi.runAllTimers();
		expect(say).toHaveBeenCalledOnce();
		expect(letGo).toHaveBeenCalledOnce();
		expect(asks()).toBe(false);
	});

	it("is asked about with Command held, and after another shortcut with the same Ctrl", () => {
		key("keydown", "Meta", { metaKey: true });
		expect(asks()).toBe(true);
		key("keydown", "Control", { ctrlKey: true });
		key("keydown", "s", { ctrlKey: true });
		key("keyup", "s", { ctrlKey: true });
		expect(asks()).toBe(true);
	});

	it("is nobody's question when it is meant", () => {
		key("keydown", "Control", { ctrlKey: true });
		key("keyup", "Control");
		expect(asks()).toBe(false);
		key("keydown", "Control", { ctrlKey: true });
		key("keydown", "r", { ctrlKey: true });
		expect(asks()).toBe(false);
		key("keydown", "Control", { ctrlKey: true });
		window.dispatchEvent(new Event("blur"));
		expect(asks()).toBe(false);
		key("keydown", "AltGraph", { ctrlKey: true, altKey: true });
		expect(asks()).toBe(false);
		expect(say).not.toHaveBeenCalled();
	});

	it("is nobody's question where the keys are not GIMP's, or the session is over", () => {
		key("keydown", "Control", { ctrlKey: true });
		painting = false;
		expect(asks()).toBe(false);
		painting = true;
		stop.abort();
		expect(asks()).toBe(false);
	});
});
