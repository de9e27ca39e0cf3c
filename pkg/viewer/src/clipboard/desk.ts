// The clipboard of the artist's computer, as far as the browser lets a page have it: by the event of a paste, which needs no
// permission, and by the Clipboard API where that may be used.

import type { Contents } from "./channel";
import { asPNG, samePicture } from "./picture";
import type { Format } from "./wire";
import { TYPES } from "./wire";

/** What is on the clipboard, or was put there by us. */
export interface Content {
	text: string | null;
	html: string | null;
	picture: Blob | null;
}

/** What a paste brings. */
export function pasted(data: DataTransfer): Content {
	const picture = [...data.files].find((f) => f.type.startsWith("image/")) ?? null;
	return { text: data.getData("text/plain") || null, html: data.getData("text/html") || null, picture };
}

/** Reads the clipboard by the API, pictures beside texts; throws what the browser says when it may not. */
export async function readDesk(): Promise<Content> {
	const content: Content = { text: null, html: null, picture: null };
	for (const item of await navigator.clipboard.read()) {
		const text = async (type: string): Promise<string | null> =>
			item.types.includes(type) ? (await item.getType(type)).text() : null;
		content.text ??= await text("text/plain");
		content.html ??= await text("text/html");
		if (item.types.includes("image/png")) content.picture ??= await item.getType("image/png");
	}
	return content;
}

/** Whether the API may read without asking the artist. */
export async function mayRead(): Promise<boolean> {
	try {
		return (await navigator.permissions.query({ name: "clipboard-read" as PermissionName })).state === "granted";
	} catch {
		return false; // a browser that does not know of it asks each time
	}
}

export const canRead = (): boolean => typeof navigator.clipboard?.read === "function";
const canWrite = (): boolean =>
	typeof navigator.clipboard?.write === "function" && typeof ClipboardItem !== "undefined";

/** Puts contents on the clipboard; throws what the browser says when it may not at this moment. */
export async function writeDesk(blobs: ReadonlyMap<Format, Blob>): Promise<void> {
	const text = blobs.get("text");
	if (!canWrite()) {
		if (!text || !navigator.clipboard) throw new Error("this browser lets no page write pictures to the clipboard");
		return navigator.clipboard.writeText(await text.text());
	}
	const item: Record<string, Blob> = {};
	for (const [format, blob] of blobs) item[TYPES[format]] = new Blob([blob], { type: TYPES[format] });
	await navigator.clipboard.write([new ClipboardItem(item)]);
}

/** What the session may fetch of a content. */
export function contentsOf(c: Content): Contents {
	const all = new Map<Format, () => Promise<Blob>>();
	const { text, html, picture } = c;
	if (text !== null) all.set("text", async () => new Blob([text.replaceAll("\r\n", "\n")]));
	if (html !== null) all.set("html", async () => new Blob([html]));
	if (picture !== null) all.set("png", () => asPNG(picture));
	return all;
}

/** Whether two contents are the same to an artist. HTML is left aside: browsers rewrite it. A paste may leave out the picture beside a text. */
export async function sameContent(a: Content, b: Content): Promise<boolean> {
	const text = (c: Content): string => (c.text ?? "").replaceAll("\r\n", "\n");
	if (text(a) !== text(b)) return false;
	if (a.picture && b.picture) return samePicture(a.picture, b.picture);
	return text(a) !== "" || (a.picture === b.picture && a.html === b.html);
}
