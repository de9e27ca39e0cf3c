import { describe, expect, it } from "vitest";
import { GimpNews } from "./gimp";

describe("what the artist hears of GIMP", () => {
	it("is each end and each restart once, and nothing when all is well", () => {
		const said: string[] = [];
		const news = new GimpNews((text) => said.push(text));
		const heard = (state: "running" | "restarting" | "failed", restarts: number): string[] => {
			news.heard({ state, restarts });
			return said.splice(0).map((text) => text.slice(0, 18));
		};
		expect(heard("running", 3)).toEqual([]);
		expect(heard("restarting", 3)).toEqual(["GIMP closed. It is"]);
		expect(heard("restarting", 3)).toEqual([]);
		expect(heard("running", 4)).toEqual(["GIMP was restarted"]);
		expect(heard("running", 4)).toEqual([]);
		expect(heard("failed", 4)).toEqual(["GIMP does not star"]);
		expect(heard("failed", 4)).toEqual([]);
	});
});
