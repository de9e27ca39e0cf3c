// The keyboard's way along a toolbar (WAI-ARIA's pattern): Tab comes to it once; arrows, Home and End go from tool to tool.

export class Toolbar {
	constructor(
		private readonly root: HTMLElement,
		signal: AbortSignal,
	) {
		root.addEventListener("keydown", this.key, { signal });
		root.addEventListener("focusin", (e) => this.stopAt(e.target), { signal });
		this.stopAt(this.tools()[0]);
	}

	/** Gives the keyboard to the tool that had it last, or to the first. */
	focus(): void {
		const tools = this.tools();
		(tools.find((t) => t.tabIndex === 0) ?? tools[0])?.focus();
	}

	/** The tools that are there at present. */
	private tools(): HTMLElement[] {
		const all = [...this.root.querySelectorAll<HTMLButtonElement | HTMLSelectElement>("button, select")];
		return all.filter((t) => !t.disabled && !t.hidden);
	}

	// Tab comes to this one. A hidden tool keeps its place for when it shows.
	private stopAt(tool: EventTarget | null | undefined): void {
		if (!tool) return;
		for (const t of this.root.querySelectorAll<HTMLElement>("button, select")) t.tabIndex = t === tool ? 0 : -1;
	}

	private readonly key = (e: KeyboardEvent): void => {
		if (e.ctrlKey || e.altKey || e.metaKey || e.shiftKey) return;
		const tools = this.tools();
		const at = tools.indexOf(e.target as HTMLElement);
		const to = at < 0 ? undefined : tools[next(e.key, at, tools.length)];
		if (!to) return;
		e.preventDefault(); // Left and Right would choose in a list: Up and Down do
		to.focus();
	};
}

function next(key: string, at: number, n: number): number {
	switch (key) {
		case "ArrowRight":
			return (at + 1) % n;
		case "ArrowLeft":
			return (at + n - 1) % n;
		case "Home":
			return 0;
		case "End":
			return n - 1;
		default:
			return -1;
	}
}
