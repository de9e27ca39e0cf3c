import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Contact } from "./contact";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("Contact", () => {
	it("says that the node is lost after eight seconds of silence, and again while it lasts", () => {
		const lost = vi.fn();
		const contact = new Contact(lost);
		contact.silent();
		contact.silent();
		vi.advanceTimersByTime(7900);
		expect(lost).not.toHaveBeenCalled();
		vi.advanceTimersByTime(200);
		expect(lost).toHaveBeenCalledTimes(1);
		vi.advanceTimersByTime(4000);
		expect(lost).toHaveBeenCalledTimes(2);
		contact.close();
		vi.advanceTimersByTime(60_000);
		expect(lost).toHaveBeenCalledTimes(2);
	});

	it("counts a silence from when it began", () => {
		const lost = vi.fn();
		new Contact(lost).silent(5000);
		vi.advanceTimersByTime(3000);
		expect(lost).toHaveBeenCalledTimes(1);
	});

	it("forgets a silence that an answer ended", () => {
		const lost = vi.fn();
		const contact = new Contact(lost);
		contact.silent();
		vi.advanceTimersByTime(7000);
		contact.heard();
		contact.silent();
		vi.advanceTimersByTime(7000);
		expect(lost).not.toHaveBeenCalled();
	});
});
