// How large GIMP's interface is: as the display's pixels ask for, or as the artist says.

import { byId } from "../elements";

const KEY = "easel.interface";

export class InterfaceSize {
	private readonly select = byId("interface", HTMLSelectElement);

	/** `changed` is told when the artist chose another. `here` is false where another window decides. */
	constructor(here: boolean, changed: () => void, signal: AbortSignal) {
		this.select.value = stored(this.select);
		const field = this.select.closest("label");
		if (field) field.hidden = !here;
		const chosen = (): void => {
			try {
				localStorage.setItem(KEY, this.select.value);
			} catch {
				// Storage may be off; the choice then lasts as long as the page.
			}
			changed();
		};
		this.select.addEventListener("change", chosen, { signal });
	}

	/** The interface's scale in per cent; null follows the display. */
	get chosen(): number | null {
		return this.select.value === "auto" ? null : Number(this.select.value);
	}
}

function stored(select: HTMLSelectElement): string {
	let value: string | null = null;
	try {
		value = localStorage.getItem(KEY);
	} catch {
		// Storage may be off.
	}
	return [...select.options].find((o) => o.value === value)?.value ?? "auto";
}
