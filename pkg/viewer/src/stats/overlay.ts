// What the overlay says, a row a figure.

import type { Snapshot } from "./stats";

/** The overlay's rows. */
export function rows(s: Snapshot): [name: string, value: string][] {
	const ms = (v: number): string => `${v.toFixed(1)} ms`;
	const all: [string, string][] = [
		["path", s.path || "none"],
		["codec", [s.codec, s.profile, s.chroma].filter((v) => v !== "").join(" · ") || "?"],
		["encoder", s.encoder || "?"],
		["OpenCL", s.opencl || "?"],
		["screen", `${s.width} × ${s.height}${s.scale < 1 ? `, video at ${s.scale}` : ""}`],
		["frames", `${s.frames} (${Math.round(s.fps)}/s)`],
		["bitrate", s.bitrate >= 1e6 ? `${(s.bitrate / 1e6).toFixed(1)} Mbit/s` : `${Math.round(s.bitrate / 1000)} kbit/s`],
		["round trip", s.rtt === null ? "?" : ms(s.rtt)],
		["lost packets", String(s.packetsLost)],
		["exact tiles", s.tiles === 0 ? "none" : s.exact ? `all ${s.tiles}` : `${s.exactTiles} of ${s.tiles}`],
	];
	const { atOnce, late } = s.offBeat;
	if (atOnce + late > 0) all.push(["changes by tiles", `${atOnce} shown at once, ${late} with the next beat`]);
	if (Object.keys(s.stages).length > 0) all.push(["latency", "p50 / p99"]);
	for (const [name, { p50, p99 }] of Object.entries(s.stages)) all.push([name, `${ms(p50)} / ${ms(p99)}`]);
	const { decode, jitterBuffer } = s.means;
	if (decode !== undefined) all.push(["decoding", `${ms(decode)}, the mean`]);
	if (jitterBuffer !== undefined) all.push(["jitter buffer", `${ms(jitterBuffer)}, the mean`]);
	if (s.fallback !== "") all.push(["fallback", s.fallback]);
	return all;
}
