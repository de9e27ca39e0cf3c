// The fallback link: VNC by noVNC over a WebSocket of the node. noVNC is loaded only when it is needed, draws its own
// canvas and has its own mouse and keyboard, without pressure.

import type RFB from "@novnc/novnc";
import type { Size } from "../options";
import type { Quality } from "./control";
import { type Ending, type Figures, type Link, LinkError, type LinkHost } from "./link";
import type { Node } from "./node";

/** noVNC's JPEG quality and compression, 0 to 9, for each of ours. */
const levels: Readonly<Record<Quality, readonly [quality: number, compression: number]>> = {
	auto: [7, 2],
	sharp: [9, 1],
	fast: [4, 4],
};

export class Vnc implements Link {
	readonly path = "vnc";
	readonly hand = null;
	readonly tiles = null;
	readonly clipboard = null;
	readonly stages = {};
	readonly sound = null;
	readonly ended: Promise<Ending>;
	private end!: (e: Ending) => void;
	private over = false;
	private readonly stop = new AbortController();
	private readonly sizes: MutationObserver;

	private constructor(
		private readonly rfb: RFB,
		private readonly target: HTMLElement,
		private readonly node: Node,
		private readonly host: LinkHost,
	) {
		this.ended = new Promise((resolve) => {
			this.end = resolve;
		});
		// The remote size is the canvas's; noVNC has no event for it.
		this.sizes = new MutationObserver(() => this.sized());
		this.sizes.observe(target, { subtree: true, childList: true, attributeFilter: ["width", "height"] });
	}

	/** Opens a link that draws below `target`; throws LinkError when it does not open before `signal` aborts. */
	static async dial(node: Node, target: HTMLElement, host: LinkHost, signal: AbortSignal): Promise<Vnc> {
		const { default: Client } = await import("@novnc/novnc").catch(() => {
			throw new LinkError("The fallback's program could not be loaded: reload the page.");
		});
		if (signal.aborted) throw new LinkError("The fallback could not be loaded in time.");
		target.hidden = false;
		const rfb = new Client(target, node.vncAddress(), { shared: true, wsProtocols: ["binary"] });
		rfb.scaleViewport = true;
		rfb.resizeSession = false;
		rfb.background = "transparent";
		const vnc = new Vnc(rfb, target, node, host);
		try {
			await vnc.connected(signal);
			return vnc;
		} catch (e) {
			vnc.close();
			throw e;
		}
	}

	resize(size: Size, scale: number): void {
		// A size that could not be set leaves the old one, fitted to the window.
		this.node.resize(size, scale, this.stop.signal).catch(() => {});
	}

	quality(value: Quality): void {
		[this.rfb.qualityLevel, this.rfb.compressionLevel] = levels[value];
	}

	watch(on: boolean): void {
		if (on) this.node.stats(this.stop.signal).then(this.host.stats, () => {});
	}

	async figures(): Promise<Partial<Figures>> {
		const canvas = this.canvas();
		const size = canvas ? { width: canvas.width, height: canvas.height } : {};
		return { codec: "VNC", chroma: "4:4:4", path: "vnc", ...size };
	}

	/** Gives noVNC the keyboard. */
	focus(): void {
		this.rfb.focus({ preventScroll: true });
	}

	close(): void {
		this.finish({ kind: "closed" });
	}

	private connected(signal: AbortSignal): Promise<void> {
		const { rfb } = this;
		return new Promise((resolve, reject) => {
			const late = (): void => reject(new LinkError("The VNC fallback did not open in time."));
			signal.addEventListener("abort", late, { signal: this.stop.signal });
			const gone = (why: string): void => {
				reject(new LinkError(why));
				this.finish({ kind: "lost", why, quiet: 0 });
			};
			rfb.addEventListener("connect", () => resolve());
			rfb.addEventListener("securityfailure", () => gone("The VNC server refused this viewer."));
			rfb.addEventListener("credentialsrequired", () => gone("The VNC server asks for a password."));
			rfb.addEventListener("disconnect", () => gone("The VNC connection ended."));
		});
	}

	private canvas(): HTMLCanvasElement | null {
		return this.target.querySelector("canvas");
	}

	private sized(): void {
		const canvas = this.canvas();
		if (canvas && canvas.width > 1 && canvas.height > 1) this.host.screen({ w: canvas.width, h: canvas.height });
	}

	private finish(e: Ending): void {
		if (this.over) return;
		this.over = true;
		this.stop.abort();
		this.sizes.disconnect();
		this.rfb.disconnect();
		this.target.hidden = true;
		this.target.replaceChildren();
		this.end(e);
	}
}
