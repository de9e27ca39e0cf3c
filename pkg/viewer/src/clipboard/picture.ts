// Pictures on the clipboard of the artist's computer: made PNGs where they are none, and compared.

/** Bytes of a picture as PNG. */
export async function asPNG(picture: Blob): Promise<Uint8Array<ArrayBuffer>> {
	if (picture.type === "image/png") return new Uint8Array(await picture.arrayBuffer());
	const { canvas, bitmap } = await paint(picture);
	bitmap.close();
	return new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
}

/**
 * Whether two pictures show the same. A browser writes PNGs of its own to the system's clipboard, so their bytes say nothing; where pixels with
 * transparency were rounded on that way, the same picture may look like another one, never the other way round.
 */
export async function samePicture(a: Blob, b: Blob): Promise<boolean> {
	if (a.size === 0 || b.size === 0) return a.size === b.size;
	try {
		const [x, y] = [await pixels(a), await pixels(b)];
		if (x.width !== y.width || x.height !== y.height) return false;
		const [p, q] = [new Uint32Array(x.data.buffer), new Uint32Array(y.data.buffer)];
		return p.every((v, i) => v === q[i]);
	} catch {
		return false; // one of them is none
	}
}

async function pixels(picture: Blob): Promise<ImageData> {
	const { canvas, context, bitmap } = await paint(picture);
	bitmap.close();
	return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function paint(picture: Blob): Promise<{
	canvas: OffscreenCanvas;
	context: OffscreenCanvasRenderingContext2D;
	bitmap: ImageBitmap;
}> {
	const bitmap = await createImageBitmap(picture);
	const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
	const context = canvas.getContext("2d", { willReadFrequently: true });
	if (!context) throw new Error("this browser has no canvas to read a picture with");
	context.drawImage(bitmap, 0, 0);
	return { canvas, context, bitmap };
}
