import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { submitSoon, watchForms } from "./forms";

const confirm = vi.fn<(text: string) => boolean>();

beforeAll(() => watchForms(document, (text) => confirm(text)));
beforeEach(() => confirm.mockReset());

function submit(html: string): { form: HTMLFormElement; press: () => boolean } {
	document.body.innerHTML = html;
	const form = document.querySelector("form") as HTMLFormElement;
	return { form, press: () => form.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true })) };
}

describe("forms", () => {
	it("are sent once, however often they are pressed", () => {
		const { form, press } = submit('<form data-busy="Starting…"><button>New session</button></form>');
		expect(press()).toBe(true);
		expect(press()).toBe(false);
		expect(form.querySelector("button")?.textContent).toBe("Starting…");
		expect(form.querySelector("button")?.getAttribute("aria-disabled")).toBe("true");
	});

	it("ask first where something would be lost", () => {
		const { press } = submit('<form data-confirm="End it?"><button>End</button></form>');
		confirm.mockReturnValueOnce(false);
		expect(press()).toBe(false);
		confirm.mockReturnValueOnce(true);
		expect(press()).toBe(true);
		expect(confirm).toHaveBeenCalledWith("End it?");
	});
});

describe("a form that submits itself", () => {
	beforeEach(() => void vi.useFakeTimers());
	afterEach(() => void vi.useRealTimers());
	const html = '<form data-auto="3"><button>Open a new session<span class="auto"></span></button></form>';

	it("counts down first, and does so once", () => {
		const { form } = submit(html);
		const sent = vi.spyOn(form, "requestSubmit").mockImplementation(() => {});
		submitSoon(document);
		expect(form.textContent).toBe("Open a new session (3)");
		vi.advanceTimersByTime(2500);
		expect(form.textContent).toBe("Open a new session (1)");
		expect(sent).not.toHaveBeenCalled();
		vi.advanceTimersByTime(60_000);
		expect(sent).toHaveBeenCalledTimes(1);
	});

	it("leaves it to who presses before", () => {
		const { form, press } = submit(html);
		const sent = vi.spyOn(form, "requestSubmit").mockImplementation(() => {});
		submitSoon(document);
		press();
		vi.advanceTimersByTime(60_000);
		expect(sent).not.toHaveBeenCalled();
	});
});
