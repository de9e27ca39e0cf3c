// Starts the viewer on the page. `window.easel` is the page's contract with tools and tests.

import { Node } from "./link/node";
import { parseOptions, type Size, sessionBase } from "./options";
import type { Snapshot } from "./stats/stats";
import { Viewer } from "./viewer";

declare global {
	interface Window {
		easel: {
			/** What the viewer is doing: connecting, starting, connected, reconnecting, replaced, ended, failed or signed-out. */
			readonly state: string;
			/** What the stats overlay shows. */
			stats(): Snapshot;
			/** Since when, in performance.now()'s time, the whole picture has been exact; null while it is not. Asking costs nothing, as stats() does. */
			readonly exactSince: number | null;
			/** The remote screen's size in its pixels, as the picture on show has it; null before there is one. The video may have fewer. */
			readonly screen: Size | null;
		};
	}
}

function start(): void {
	const options = parseOptions(window.location.search, window.location.hash);
	if (options.token !== null || options.share !== null) {
		const fragment = options.fragment === "" ? "" : `#${options.fragment}`;
		window.history.replaceState(null, "", `${window.location.pathname}${window.location.search}${fragment}`);
	}
	for (const p of options.problems) console.warn(p);
	const base = sessionBase(window.location.pathname);
	if (base === null) throw new Error("this page shows a session, and its address (/s/ID) names none");
	const viewer = new Viewer(new Node(base, options.screen), options, base.slice(base.lastIndexOf("/") + 1));
	window.easel = {
		get state() {
			return viewer.phase;
		},
		stats: () => viewer.figures(),
		get exactSince() {
			return viewer.exactSince;
		},
		get screen() {
			return viewer.screen.shown;
		},
	};
	void viewer.run();
}

start();
