// Pictures on the clipboard of the artist's computer: made PNGs where they are none, and compared.

/** A picture as PNG. */
export async function asPNG(picture: Blob): Promise<Blob> {
	if (picture.type === "image/png") return picture;
	const canvas = await paint(picture);
	return canvas.convertToBlob({ type: "image/png" });
}

/**
 * Whether two pictures show the same. A browser writes PNGs of its own to the system's clipboard, so their bytes say nothing; where pixels with
 * transparency were rounded on that way, the same picture may look like another one, never the other way round.
 */
export async function samePicture(a: Blob, b: Blob): Promise<boolean> {
	if (a.size === 0 || b.size === 0) return a.size === b.size;
	const [m, n] = [await measured(a), await measured(b)];
	if (m !== null && n !== null && m !== n) return false;
	const bitmaps: ImageBitmap[] = [];
	try {
		for (const picture of [a, b]) bitmaps.push(await createImageBitmap(picture));
		const [x, y] = bitmaps as [ImageBitmap, ImageBitmap];
		if (x.width !== y.width || x.height !== y.height) return false;
		const rows = Math.ceil(STRIP / x.width);
		const [left, right] = [stripOf(x, rows), stripOf(y, rows)];
		for (let top = 0; top < x.height; top += rows) {
			const [p, q] = [left(top), right(top)];
			if (!p.every((v, i) => v === q[i])) return false;
			// The hand goes by this page as well.
			await new Promise((resolve) => setTimeout(resolve));
		}
		return true;
	} catch {
		return false; // one of them is none
	} finally {
		for (const bitmap of bitmaps) bitmap.close();
	}
}

/** A PNG's width and height as its first bytes have them, null of anything else: large ones take long to decode. */
async function measured(picture: Blob): Promise<string | null> {
	const head = new Uint8Array(await picture.slice(0, PNG.length + 16).arrayBuffer());
	return PNG.every((v, i) => v === head[i]) ? head.slice(PNG.length + 8).join() : null;
}

const PNG = [137, 80, 78, 71, 13, 10, 26, 10] as const;

/** Pixels that are compared at once: some milliseconds' work. */
const STRIP = 1 << 18;

/** Reads rows of a bitmap from a place on, as many each time. */
function stripOf(bitmap: ImageBitmap, rows: number): (top: number) => Uint32Array {
	const canvas = new OffscreenCanvas(bitmap.width, rows);
	const context = contextOf(canvas);
	return (top) => {
		context.clearRect(0, 0, canvas.width, rows);
		context.drawImage(bitmap, 0, -top);
		return new Uint32Array(context.getImageData(0, 0, canvas.width, rows).data.buffer);
	};
}

function contextOf(canvas: OffscreenCanvas): OffscreenCanvasRenderingContext2D {
	const context = canvas.getContext("2d", { willReadFrequently: true });
	if (!context) throw new Error("this browser has no canvas to read a picture with");
	return context;
}

async function paint(picture: Blob): Promise<OffscreenCanvas> {
	const bitmap = await createImageBitmap(picture);
	const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
	contextOf(canvas).drawImage(bitmap, 0, 0);
	bitmap.close();
	return canvas;
}
