// The last picture stays in sight while the way to the session is gone: browsers blacken a video whose track has ended, and what lay
// above it goes with the link.

export class Still {
	private canvas: HTMLCanvasElement | null = null;

	/** `root` holds the video, and the canvases above it. */
	constructor(
		private readonly root: HTMLElement,
		private readonly video: HTMLVideoElement,
	) {}

	/** Keeps what is on show now. */
	hold(): void {
		const { video } = this;
		if (this.canvas !== null || video.hidden || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
		const canvas = document.createElement("canvas");
		const above = [...this.root.querySelectorAll<HTMLCanvasElement>("canvas.exact")].filter(
			(c) => c.style.visibility !== "hidden",
		);
		// The canvas has all of the screen's pixels, where the video may have fewer.
		canvas.width = above[0]?.width ?? video.videoWidth;
		canvas.height = above[0]?.height ?? video.videoHeight;
		const context = canvas.getContext("2d");
		if (context === null) return;
		for (const part of [video, ...above]) context.drawImage(part, 0, 0, canvas.width, canvas.height);
		canvas.className = "still";
		this.root.append(canvas);
		this.canvas = canvas;
	}

	/** Another picture is on show, or none is wanted. */
	release(): void {
		this.canvas?.remove();
		this.canvas = null;
	}
}
