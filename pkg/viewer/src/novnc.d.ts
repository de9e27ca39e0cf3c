// The part of noVNC's API that vnc.ts uses (its docs/API.md); the package brings no types.
declare module "@novnc/novnc" {
	interface RFBOptions {
		shared?: boolean;
		wsProtocols?: string[];
	}
	export default class RFB {
		addEventListener(type: string, listener: (e: CustomEvent) => void): void;
		constructor(target: HTMLElement, urlOrChannel: string | WebSocket, options?: RFBOptions);
		background: string;
		clipViewport: boolean;
		focusOnClick: boolean;
		qualityLevel: number;
		compressionLevel: number;
		resizeSession: boolean;
		scaleViewport: boolean;
		showDotCursor: boolean;
		viewOnly: boolean;
		disconnect(): void;
		focus(options?: FocusOptions): void;
		blur(): void;
	}
}
