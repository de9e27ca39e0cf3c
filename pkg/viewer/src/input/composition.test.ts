import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Composition } from "./composition";

let field: HTMLTextAreaElement;
let stop: AbortController;
let wide: number;

beforeEach(() => {
	stop = new AbortController();
	field = document.createElement("textarea");
	document.body.append(field);
	wide = 40;
	Object.defineProperty(field, "scrollWidth", { get: () => wide });
	new Composition(field, stop.signal);
});
afterEach(() => {
	stop.abort();
	field.remove();
});

const happens = (type: string): unknown => field.dispatchEvent(new Event(type));
const shows = (): boolean => "composing" in field.dataset;

describe("Composition", () => {
	it("shows the field while something is composed, as wide as that", () => {
		expect(shows()).toBe(false);
		happens("compositionstart");
		expect(shows()).toBe(true);
		wide = 90;
		happens("input");
		expect(field.style.width).toBe("91px");
		happens("compositionend");
		expect(shows()).toBe(false);
		expect(field.style.width).toBe("");
	});

	it("leaves the field alone while keys are typed", () => {
		happens("input");
		expect(field.style.width).toBe("");
	});

	it("keeps what is composed on the page", () => {
		field.style.left = `${window.innerWidth - 10}px`;
		happens("compositionstart");
		expect(field.style.left).toBe(`${window.innerWidth - 41}px`);
		happens("compositionend");
	});
});
