import { describe, expect, it } from "vitest";
import { h264Profile, readReport } from "./report";

const entries: [string, Record<string, unknown>][] = [
	[
		"C",
		{ id: "C", type: "codec", mimeType: "video/H264", sdpFmtpLine: "packetization-mode=1;profile-level-id=42e01f" },
	],
	[
		"V",
		{
			id: "V",
			type: "inbound-rtp",
			kind: "video",
			codecId: "C",
			framesDecoded: 200,
			totalDecodeTime: 0.7,
			jitterBufferDelay: 1,
			jitterBufferEmittedCount: 200,
			bytesReceived: 12345,
			framesPerSecond: 59,
			keyFramesDecoded: 2,
			frameWidth: 1920,
			frameHeight: 1080,
			packetsLost: 0,
		},
	],
	["T", { id: "T", type: "transport", selectedCandidatePairId: "P2" }],
	["P1", { id: "P1", type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 9 }],
	[
		"P2",
		{ id: "P2", type: "candidate-pair", currentRoundTripTime: 0.012, localCandidateId: "L", remoteCandidateId: "R" },
	],
	["L", { id: "L", type: "local-candidate", candidateType: "prflx" }],
	["R", { id: "R", type: "remote-candidate", candidateType: "host" }],
];

describe("readReport", () => {
	it("reads Chromium's report", () => {
		expect(readReport(entries)).toEqual({
			codec: "H264",
			profile: "Constrained Baseline",
			chroma: "4:2:0",
			frames: 200,
			bytes: 12345,
			fps: 59,
			packetsLost: 0,
			keyFrames: 2,
			width: 1920,
			height: 1080,
			decode: 3.5,
			jitterBuffer: 5,
			rtt: 12,
			path: "direct",
		});
	});

	it("finds the pair and the relay in Firefox's report, which has no transport", () => {
		const firefox = entries
			.filter(([id]) => id !== "T" && id !== "P2")
			.map(([id, e]): [string, unknown] => {
				if (id === "P1")
					return [id, { ...e, currentRoundTripTime: 0.03, localCandidateId: "L", remoteCandidateId: "R" }];
				return [id, id === "L" ? { ...e, candidateType: "relay" } : e];
			});
		expect(readReport(firefox)).toMatchObject({ path: "relay", rtt: 30 });
	});

	it("leaves out what is not there", () => {
		expect(readReport([])).toEqual({});
	});
});

describe("h264Profile", () => {
	it.each([
		["profile-level-id=42001f", "Baseline", "4:2:0"],
		["a=1;profile-level-id=42E01F;b=2", "Constrained Baseline", "4:2:0"],
		["profile-level-id=f4001f", "High 4:4:4 Predictive", "4:4:4"],
		["", undefined, undefined],
		["profile-level-id=zz", undefined, undefined],
	])("%s", (fmtp, profile, chroma) => {
		expect(h264Profile(fmtp)).toEqual(profile ? { profile, chroma } : {});
	});
});
