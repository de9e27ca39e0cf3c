// How a pen leans, as finely as the browser tells.

export interface Tilt {
	/** Degrees, -90 to 90, right and towards the hand positive. */
	tiltX: number;
	tiltY: number;
}

/** What a PointerEvent says of a pen's lean; altitude and azimuth (radians) are newer, and not in every browser. */
export interface Lean extends Tilt {
	altitudeAngle?: number;
	azimuthAngle?: number;
}

const degrees = (radians: number): number => (radians * 180) / Math.PI;

/** The tilt, from altitude and azimuth where they agree with the whole degrees that tiltX and tiltY are. */
export function tiltOf({ tiltX, tiltY, altitudeAngle: altitude, azimuthAngle: azimuth }: Lean): Tilt {
	if (altitude === undefined || azimuth === undefined) return { tiltX, tiltY };
	const fine = tiltFrom(altitude, azimuth);
	// An event that a script made, or a browser that fills only one pair, leaves the other at rest.
	const told = tiltX !== 0 || tiltY !== 0;
	const agree = Math.abs(fine.tiltX - tiltX) <= 1 && Math.abs(fine.tiltY - tiltY) <= 1;
	return Number.isFinite(fine.tiltX + fine.tiltY) && (agree || !told) ? fine : { tiltX, tiltY };
}

/** The planes' angles for a pen at an altitude above the surface, pointing to an azimuth (Pointer Events, "Converting between…"). */
export function tiltFrom(altitude: number, azimuth: number): Tilt {
	if (altitude <= 0) {
		// Flat on the surface: only the direction is left.
		const [x, y] = [Math.cos(azimuth), Math.sin(azimuth)];
		const lean = (v: number): number => (Math.abs(v) < 1e-9 ? 0 : Math.sign(v) * 90);
		return { tiltX: lean(x), tiltY: lean(y) };
	}
	const steep = Math.tan(altitude);
	return { tiltX: degrees(Math.atan(Math.cos(azimuth) / steep)), tiltY: degrees(Math.atan(Math.sin(azimuth) / steep)) };
}
