import { describe, expect, it } from "vitest";
import { codecOf, isCodec, offersCodec, only, tellRange, whyNot } from "./codec";

const h264 = (id: string, mode = 1) => ({
	mimeType: "video/H264",
	sdpFmtpLine: `level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${id}`,
});
const chromium = [
	{ mimeType: "video/VP8" },
	{ mimeType: "video/rtx" },
	{ mimeType: "video/VP9", sdpFmtpLine: "profile-id=0" },
	{ mimeType: "video/VP9", sdpFmtpLine: "profile-id=1" },
	h264("42e01f"),
	h264("42e01f", 0),
	h264("f4001f"),
	{ mimeType: "video/AV1", sdpFmtpLine: "level-idx=5;profile=0;tier=0" },
	{ mimeType: "video/red" },
	{ mimeType: "video/ulpfec" },
	{ mimeType: "video/flexfec-03", sdpFmtpLine: "repair-window=10000000" },
];

describe("codecOf", () => {
	it.each([
		[h264("42e01f"), "h264"],
		[h264("42001F"), "h264"],
		[h264("42e01f", 0), null],
		[h264("4d001f"), null],
		[h264("f4001f"), "h264-444"],
		[{ mimeType: "video/VP9", sdpFmtpLine: "profile-id=0" }, "vp9"],
		[{ mimeType: "video/VP9", sdpFmtpLine: "max-fs=12288;max-fr=60" }, "vp9"],
		[{ mimeType: "video/vp9", sdpFmtpLine: "profile-id=1" }, "vp9-444"],
		[{ mimeType: "video/VP9", sdpFmtpLine: "profile-id=2" }, null],
		[{ mimeType: "video/AV1", sdpFmtpLine: "level-idx=5;profile=0;tier=0" }, "av1"],
		[{ mimeType: "video/AV1", sdpFmtpLine: "level-idx=5;profile=1;tier=0" }, "av1-444"],
		[{ mimeType: "video/AV1" }, "av1"],
		[{ mimeType: "video/VP8" }, null],
	])("%o is %s", (offered, want) => expect(codecOf(offered)).toBe(want));
});

describe("a codec that is asked for", () => {
	it("is one of those that there are", () => {
		expect(isCodec("vp9-444")).toBe(true);
		expect(isCodec("h265")).toBe(false);
	});

	it("is the only one in the offer, with what mends losses", () => {
		expect(only("vp9", chromium)).toEqual([chromium[1], chromium[2], chromium[8], chromium[9], chromium[10]]);
		expect(only("h264", chromium)).toContainEqual(h264("42e01f"));
		expect(only("h264", chromium)).not.toContainEqual(h264("42e01f", 0));
	});

	it("may not be had, and then it is said why", () => {
		expect(whyNot("vp9", chromium)).toBe("");
		expect(whyNot(null, [])).toBe("");
		expect(whyNot("av1-444", null)).toBe("");
		expect(whyNot("av1-444", chromium)).toBe(
			"The address asks for codec=av1-444, which this browser does not decode. It decodes vp9, vp9-444, h264, h264-444, av1.",
		);
		expect(whyNot("h264", [{ mimeType: "video/VP8" }])).toContain("It decodes none that Easel makes.");
	});
});

it("knows an offer that the node can answer", () => {
	expect(offersCodec("a=rtpmap:120 VP8/90000\r\na=rtpmap:121 VP9/90000\r\n")).toBe(true);
	expect(offersCodec("a=rtpmap:120 VP8/90000\r\n")).toBe(false);
});

it("tells the node of a browser that heeds the range of colours", () => {
	const sdp = "v=0\r\na=group:BUNDLE 0\r\nm=video 9 x\r\nm=application 9 y\r\n";
	const chromium = { userAgentData: { brands: [{ brand: "Not A Brand" }, { brand: "Chromium" }] } };
	expect(tellRange(sdp, chromium)).toBe(
		"v=0\r\na=group:BUNDLE 0\r\na=x-easel-range:told\r\nm=video 9 x\r\nm=application 9 y\r\n",
	);
	expect(tellRange(sdp, {})).toBe(sdp);
});
