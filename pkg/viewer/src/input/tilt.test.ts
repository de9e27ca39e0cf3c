import { describe, expect, it } from "vitest";
import { tiltFrom, tiltOf } from "./tilt";

const rad = (d: number): number => (d * Math.PI) / 180;

describe("tilt", () => {
	it.each([
		["upright", 90, 123, 0, 0],
		["to the right", 30, 0, 60, 0],
		["to the left", 30, 180, -60, 0],
		["towards the hand", 45, 90, 0, 45],
		["away from it", 45, 270, 0, -45],
		["flat, to the right", 0, 0, 90, 0],
		["flat, right and towards", 0, 45, 90, 90],
		["between", 60, 30, 26.565, 16.102],
	])("is found %s", (_name, altitude, azimuth, x, y) => {
		const t = tiltFrom(rad(altitude), rad(azimuth));
		expect(t.tiltX).toBeCloseTo(x, 3);
		expect(t.tiltY).toBeCloseTo(y, 3);
	});

	it("is as fine as altitude and azimuth tell", () => {
		const fine = tiltOf({ tiltX: 27, tiltY: 16, altitudeAngle: rad(60), azimuthAngle: rad(30) });
		expect(fine.tiltX).toBeCloseTo(26.565, 3);
		expect(fine.tiltY).toBeCloseTo(16.102, 3);
	});

	it("is taken from altitude and azimuth where the browser has only those (Safari)", () => {
		expect(tiltOf({ tiltX: 0, tiltY: 0, altitudeAngle: rad(30), azimuthAngle: 0 }).tiltX).toBeCloseTo(60, 6);
	});

	it("is taken from the degrees where the angles say nothing", () => {
		expect(tiltOf({ tiltX: 30, tiltY: -40 })).toEqual({ tiltX: 30, tiltY: -40 });
		const still = { tiltX: 30, tiltY: -40, altitudeAngle: rad(90), azimuthAngle: 0 };
		expect(tiltOf(still)).toEqual({ tiltX: 30, tiltY: -40 });
		const none = { tiltX: 30, tiltY: -40, altitudeAngle: Number.NaN, azimuthAngle: 0 };
		expect(tiltOf(none)).toEqual({ tiltX: 30, tiltY: -40 });
	});
});
