// Ctrl+W closes an image in GIMP and a page in a browser, which keeps the W to itself: the page hears of the Ctrl alone. Who leaves
// with that held is asked first. Nothing is lost either way, but the artist would have to come back.

export interface LeavingHost {
	/** Whether the keys are GIMP's at the moment. */
	painting(): boolean;
	/** The artist stays: the key came up while the browser asked. */
	letGo(): void;
	/** Something for the artist to read. */
	say(text: string): void;
}

/** Watches over the page until `signal` ends it. */
export function askBeforeLeaving(host: LeavingHost, signal: AbortSignal): void {
	let held = false;
	const on = { signal, capture: true, passive: true };
	const heard = (e: KeyboardEvent): void => {
		// Who reloads means it.
		const reload = e.type === "keydown" && (e.key === "F5" || e.key.toLowerCase() === "r");
		held = (e.ctrlKey || e.metaKey) && !e.altKey && !reload;
	};
	window.addEventListener("keydown", heard, on);
	window.addEventListener("keyup", heard, on);
	const left = (): void => {
		held = false;
	};
	window.addEventListener("blur", left, on);
	const leaves = (e: BeforeUnloadEvent): void => {
		if (!held || !host.painting()) return;
		e.preventDefault();
		held = false;
		// Runs if the artist stays.
		setTimeout(() => {
			host.letGo();
			host.say("That key is the browser's. In full screen, Capture keys gives it to GIMP.");
		});
	};
	window.addEventListener("beforeunload", leaves, { signal });
}
