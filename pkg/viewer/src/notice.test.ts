// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NoticeBar, parseNotice, timeLeft } from "./notice";

describe("parseNotice", () => {
	it("reads text and the time that is left", () => {
		const until = "2026-01-02T03:04:05Z";
		expect(parseNotice({ text: "Save", until, left_ms: 90_000 })).toEqual({ text: "Save", left: 90_000 });
		expect(parseNotice({ text: "Save", left_ms: 0 })).toEqual({ text: "Save", left: null });
	});

	it.each([
		["no object", "x"],
		["nothing", null],
		["no text", { until: "x", left_ms: 1 }],
		["an empty text, which takes the one before back", { text: "" }],
	])("finds none in %s", (_, v) => {
		expect(parseNotice(v)).toBeNull();
	});
});

describe("timeLeft", () => {
	it.each([
		[3_900_000, "1 h 05 min"],
		[1_799_000, "30 min"],
		[599_000, "9:59"],
		[42_000, "0:42"],
		[-5, "0:00"],
	])("says %i ms as %s", (ms, text) => {
		expect(timeLeft(ms)).toBe(text);
	});
});

describe("NoticeBar", () => {
	beforeEach(() => {
		vi.useFakeTimers();
		document.body.innerHTML =
			'<div id="notice" hidden><span id="notice-text"></span><b id="notice-left"></b><button id="notice-close"></button></div>';
	});
	afterEach(() => void vi.useRealTimers());
	const bar = (): HTMLElement => document.getElementById("notice") as HTMLElement;

	it("counts down, hides when asked, and comes back for the last minute", () => {
		const notice = new NoticeBar(true);
		notice.show({ text: "Save your work", left: 120_000 });
		expect(bar().hidden).toBe(false);
		vi.advanceTimersByTime(30_000);
		expect(document.getElementById("notice-left")?.textContent).toBe("1:30");
		document.getElementById("notice-close")?.click();
		expect(bar().hidden).toBe(true);
		notice.show({ text: "Save your work", left: 80_000 });
		expect(bar().hidden).toBe(true);
		vi.advanceTimersByTime(20_000);
		expect(bar().hidden).toBe(false);
		expect(bar().dataset.urgent).toBe("yes");
		notice.show(null);
		expect(bar().hidden).toBe(true);
	});

	it("lies over nothing where nothing may", () => {
		const notice = new NoticeBar(false);
		notice.show({ text: "Save your work", left: 1000 });
		expect(bar().hidden).toBe(true);
		notice.close();
	});
});
