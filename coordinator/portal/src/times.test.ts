import { expect, it } from "vitest";
import { describe as say, showTimes } from "./times";

const now = Date.UTC(2026, 0, 2, 12, 0, 0);

it.each([
	[0, "now"],
	[-9, "now"],
	[-45, "45 seconds ago"],
	[-300, "5 minutes ago"],
	[-7200, "2 hours ago"],
	[-86_400, "yesterday"],
	[600, "in 10 minutes"],
])("says %i s as %s", (seconds, text) => {
	expect(say(now + seconds * 1000, now, "en")).toBe(text);
});

it("says a date beyond a week", () => {
	expect(say(now - 30 * 86_400_000, now, "en")).toMatch(/Dec 3, 2025/);
});

it("rewrites time elements and leaves broken ones alone", () => {
	document.body.innerHTML = '<time datetime="2026-01-02T11:00:00Z">11:00 UTC</time><time datetime="soon">soon</time>';
	showTimes(document, now);
	const [good, broken] = [...document.querySelectorAll("time")];
	expect(good?.textContent).toMatch(/1|hour/);
	expect(good?.title).toMatch(/2026/);
	expect(broken?.textContent).toBe("soon");
});
