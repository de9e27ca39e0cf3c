import { describe, expect, it } from "vitest";
import { secondAddress } from "./second-screen";

describe("the second window's address", () => {
	it.each([
		["", "/s/sabc?screen=2"],
		["?path=relay&size=800x600", "/s/sabc?path=relay&screen=2"],
		["?screen=1", "/s/sabc?screen=2"],
	])("of %s", (search, address) => {
		expect(secondAddress({ pathname: "/s/sabc", search })).toBe(address);
	});
});
