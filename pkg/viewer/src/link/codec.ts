// Which video codec the page's address asks for, and whether this browser decodes it.

/** Codecs with their chroma, as `?codec=` names them. The node has the same names. */
export const CODECS = ["h264", "h264-444", "vp9", "vp9-444", "av1", "av1-444"] as const;
export type Codec = (typeof CODECS)[number];

export function isCodec(v: string): v is Codec {
	return (CODECS as readonly string[]).includes(v);
}

/** What an offer tells of a codec. */
export interface Offered {
	mimeType: string;
	sdpFmtpLine?: string;
}

/** The codec that an offered one is; null for those that the node does not make. */
export function codecOf({ mimeType, sdpFmtpLine = "" }: Offered): Codec | null {
	const parameter = (key: string): string =>
		new RegExp(`(?:^|;)\\s*${key}=([^;\\s]*)`, "i").exec(sdpFmtpLine)?.[1]?.toLowerCase() ?? "";
	const chroma = <T extends Codec>(profile: string, name: T, full: T): T | null =>
		profile === "0" || profile === "" ? name : profile === "1" ? full : null;
	switch (mimeType.toLowerCase()) {
		case "video/h264": {
			if (parameter("packetization-mode") !== "1") return null;
			const profile = parameter("profile-level-id").slice(0, 4);
			if (profile === "f400") return "h264-444";
			return profile === "42e0" || profile === "4200" ? "h264" : null;
		}
		case "video/vp9":
			return chroma(parameter("profile-id"), "vp9", "vp9-444");
		case "video/av1":
			return chroma(parameter("profile"), "av1", "av1-444");
	}
	return null;
}

/** Whether an offer (SDP) has a codec that the node makes. A browser may name a decoder among its capabilities that it has yet to fetch. */
export function offersCodec(sdp: string): boolean {
	return /(?:H264|VP9|AV1)\/90000/i.test(sdp);
}

/** What the browser decodes: null where it does not tell. */
export function decodable(): readonly RTCRtpCodec[] | null {
	if (typeof RTCRtpReceiver === "undefined") return null;
	return RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? null;
}

/** Why a codec that the address asks for cannot be had here: "" when it can. */
export function whyNot(wanted: Codec | null, all: readonly Offered[] | null): string {
	if (wanted === null || all === null || all.some((c) => codecOf(c) === wanted)) return "";
	const can = [...new Set(all.map(codecOf))].filter((c) => c !== null);
	const instead = can.length === 0 ? "It decodes none that Easel makes." : `It decodes ${can.join(", ")}.`;
	return `The address asks for codec=${wanted}, which this browser does not decode. ${instead}`;
}

/** The list for setCodecPreferences that leaves the wanted codec alone, with what mends losses (RTX, FEC). */
export function only<T extends Offered>(wanted: Codec, all: readonly T[]): T[] {
	return all.filter((c) => codecOf(c) === wanted || /\/(rtx|red|ulpfec|flexfec-03)$/i.test(c.mimeType));
}

// Chromium says who it is where the page is secure, and there is no video elsewhere.
interface Brands {
	userAgentData?: { brands?: readonly { brand: string }[] };
}

/**
 * The offer with a word on colours: Chromium heeds the range that a stream tells of, so the node may use all of it. Firefox takes every
 * picture to have the short one, and of other browsers it is not known.
 */
export function tellRange(sdp: string, browser: Brands = navigator as Brands): string {
	const heeds = browser.userAgentData?.brands?.some(({ brand }) => brand === "Chromium") === true;
	return heeds ? sdp.replace(/^m=/m, "a=x-easel-range:told\r\nm=") : sdp;
}
