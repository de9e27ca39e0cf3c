// What an input method composes shows while it does, as desktop programs show it, in the field that keys arrive in. GIMP only gets what comes of it.

export class Composition {
	constructor(
		private readonly field: HTMLTextAreaElement,
		signal: AbortSignal,
	) {
		field.addEventListener("compositionstart", () => this.begin(), { signal });
		field.addEventListener("input", () => this.fit(), { signal });
		field.addEventListener("compositionend", () => this.end(), { signal });
	}

	private begin(): void {
		this.field.dataset.composing = "";
		this.fit();
	}

	private end(): void {
		delete this.field.dataset.composing;
		this.field.style.width = "";
	}

	// As wide as its text, and always on the page.
	private fit(): void {
		const { field } = this;
		if (!("composing" in field.dataset)) return;
		field.style.width = "1px";
		const width = field.scrollWidth + 1;
		field.style.width = `${width}px`;
		const most = Math.max(0, window.innerWidth - width);
		if (Number.parseFloat(field.style.left) > most) field.style.left = `${most}px`;
	}
}
