// Starts the viewer on the page. `window.easel` is the page's contract with tools and tests.

import { Node } from "./node";
import { parseOptions, sessionBase } from "./options";
import type { Snapshot } from "./stats";
import { Viewer } from "./viewer";

declare global {
	interface Window {
		easel: {
			/** What the viewer is doing: connecting, starting, connected, reconnecting, replaced, ended, failed or signed-out. */
			readonly state: string;
			/** What the stats overlay shows. */
			stats(): Snapshot;
		};
	}
}

function start(): void {
	const options = parseOptions(window.location.search, window.location.hash);
	if (options.token !== null) {
		const fragment = options.fragment === "" ? "" : `#${options.fragment}`;
		window.history.replaceState(null, "", `${window.location.pathname}${window.location.search}${fragment}`);
	}
	for (const p of options.problems) console.warn(p);
	const base = sessionBase(window.location.pathname);
	if (base === null) throw new Error("this page shows a session, and its address (/s/ID) names none");
	const viewer = new Viewer(new Node(base), options, base.slice(base.lastIndexOf("/") + 1));
	window.easel = {
		get state() {
			return viewer.phase;
		},
		stats: () => viewer.figures(),
	};
	void viewer.run();
}

start();
