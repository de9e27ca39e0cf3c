import { beforeEach, describe, expect, it, vi } from "vitest";
import { Sound, type SoundLink, stereo } from "./audio";

let element: HTMLAudioElement;
let listened: boolean[];
let shown: [boolean, boolean][];
let refuse: boolean;
const link = (): SoundLink => ({
	track: {} as MediaStreamTrack,
	available: true,
	listen: (on) => void listened.push(on),
});
const settled = () => new Promise((r) => setTimeout(r));

beforeEach(() => {
	localStorage.clear();
	document.body.replaceChildren();
	element = document.createElement("audio");
	element.id = "sound";
	document.body.append(element);
	listened = [];
	shown = [];
	refuse = false;
	vi.stubGlobal("MediaStream", class {});
	Object.defineProperty(element, "srcObject", { value: null, writable: true });
	element.play = async () => {
		if (refuse) throw new DOMException("no gesture yet", "NotAllowedError");
	};
	element.pause = () => {};
});

const start = (): Sound => new Sound((available, on) => void shown.push([available, on]));

describe("Sound", () => {
	it("is asked for when there is some and the page may play it", async () => {
		const sound = start();
		const from = { ...link(), available: false };
		sound.attach(from);
		await settled();
		expect(listened).not.toContain(true);
		from.available = true;
		sound.update();
		await settled();
		expect(listened.at(-1)).toBe(true);
		expect(shown.at(-1)).toEqual([true, true]);
		from.available = false;
		sound.update();
		expect(listened.at(-1)).toBe(false);
		expect(shown.at(-1)).toEqual([false, true]);
	});

	it("waits for the artist's first gesture where the browser wants one", async () => {
		refuse = true;
		const sound = start();
		sound.attach(link());
		await settled();
		expect(listened).not.toContain(true);
		refuse = false;
		window.dispatchEvent(new Event("pointerdown"));
		await settled();
		expect(listened.at(-1)).toBe(true);
	});

	it("stays off once it was turned off, and is not sent", async () => {
		const sound = start();
		sound.attach(link());
		await settled();
		sound.toggle();
		expect(listened.at(-1)).toBe(false);
		expect(element.srcObject).toBeNull();
		listened = [];
		const again = start();
		again.attach(link());
		await settled();
		expect(listened).not.toContain(true);
		expect(shown.at(-1)).toEqual([true, false]);
		again.toggle();
		await settled();
		expect(listened.at(-1)).toBe(true);
	});

	it("is nobody's when the link is gone", async () => {
		const sound = start();
		sound.attach(link());
		sound.attach(null);
		await settled();
		expect(listened).not.toContain(true);
		expect(shown.at(-1)).toEqual([false, true]);
	});
});

describe("stereo", () => {
	const offer = (fmtp: string) =>
		`m=audio 9\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 ${fmtp}\r\na=fmtp:63 111/111\r\n`;
	it("is asked for once", () => {
		expect(stereo(offer("minptime=10;useinbandfec=1"))).toBe(offer("minptime=10;useinbandfec=1;stereo=1"));
		expect(stereo(offer("stereo=1;useinbandfec=1"))).toBe(offer("stereo=1;useinbandfec=1"));
		expect(stereo("m=video 9\r\n")).toBe("m=video 9\r\n");
	});
});
