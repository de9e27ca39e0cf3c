import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { watchForms } from "./forms";

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
