import { describe, expect, it } from "vitest";
import { type Company, called, hasHand, news, parseCompany } from "./company";

const ann = { id: "owner", name: "ann", role: "owner", path: "direct" } as const;
const bo = { id: "l.a", name: "Bo", role: "take-part", path: "relay" } as const;
const vi = { id: "l.b", name: "", role: "view", path: "direct" } as const;

describe("who is there", () => {
	it("is read field by field", () => {
		const people = [ann, { ...bo, name: 7, path: null }, { id: "x", role: "root" }, { role: "view" }, null, "vi"];
		expect(parseCompany({ t: "people", you: "l.a", hand: "owner", people })).toEqual({
			you: "l.a",
			hand: "owner",
			people: [ann, { ...bo, name: "", path: "" }],
		});
		expect(parseCompany({ you: "a", hand: "b" })?.people).toEqual([]);
		for (const bad of [{}, { you: 1, hand: "a" }, { you: "a" }]) expect(parseCompany(bad)).toBeNull();
		const crowd = Array.from({ length: 500 }, (_, i) => ({ ...vi, id: `l.${i}`, name: "n".repeat(1000) }));
		const read = parseCompany({ you: "a", hand: "b", people: crowd });
		expect(read?.people.length).toBe(200);
		expect(read?.people[0]?.name.length).toBe(120);
	});

	it("has names", () => {
		expect([ann, bo, vi, { ...ann, name: "" }].map(called)).toEqual(["ann", "Bo", "A guest", "The owner"]);
	});
});

describe("the hand", () => {
	it("is one's own until the node says otherwise", () => {
		expect(hasHand(null)).toBe(true);
		expect(hasHand({ you: "owner", hand: "owner", people: [] })).toBe(true);
		expect(hasHand({ you: "owner", hand: "l.a", people: [] })).toBe(false);
		expect(hasHand({ you: "owner", hand: "", people: [] })).toBe(false);
	});
});

describe("news", () => {
	const company = (people: Company["people"], hand = "owner", you = "owner"): Company => ({ you, hand, people });

	it("tells who came, who left and who has the hand", () => {
		expect(news(null, company([ann, bo]))).toEqual([]);
		expect(news(company([ann]), company([ann, bo, vi]))).toEqual(["Bo joined.", "A guest joined."]);
		expect(news(company([ann, bo]), company([ann]))).toEqual(["Bo left."]);
		expect(news(company([ann, bo]), company([ann, bo], "l.a"))).toEqual(["Bo has the hand."]);
		expect(news(company([ann, bo], "owner", "l.a"), company([ann, bo], "l.a", "l.a"))).toEqual(["You have the hand."]);
		expect(news(company([ann, bo], "l.a"), company([ann], "owner"))).toEqual(["Bo left.", "You have the hand."]);
	});

	it("does not tell one's own coming, nor the moment between two hands", () => {
		expect(news(company([bo]), company([ann, bo]))).toEqual([]);
		expect(news(company([ann, bo]), company([ann, bo], ""))).toEqual([]);
		expect(news(company([ann, bo], ""), company([ann, bo], "l.a"))).toEqual([]);
	});
});
