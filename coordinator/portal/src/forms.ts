// What forms do more with a script: ask before something is lost, and take one press only.

/** Watches every form in root, those that come later too. */
export function watchForms(root: Document, confirm: (text: string) => boolean): void {
	root.addEventListener("submit", (event) => {
		const form = event.target;
		if (!(form instanceof HTMLFormElement)) {
			return;
		}
		const question = form.dataset.confirm;
		if (form.dataset.sent || (question && !confirm(question))) {
			event.preventDefault();
			return;
		}
		form.dataset.sent = "yes";
		for (const button of form.querySelectorAll("button")) {
			// aria-disabled, not disabled: the focus must not jump away from a pressed button.
			button.setAttribute("aria-disabled", "true");
			if (form.dataset.busy) {
				button.dataset.text = button.textContent ?? "";
				button.textContent = form.dataset.busy;
			}
		}
	});
	// A page that comes back from the browser's memory must be usable again.
	root.defaultView?.addEventListener("pageshow", (event) => {
		if (event.persisted) {
			root.defaultView?.location.reload();
		}
	});
}

/** Lets a field with data-copy select itself when it gets the focus. */
export function showCopyable(root: Document): void {
	for (const field of root.querySelectorAll<HTMLInputElement>("input[data-copy]")) {
		field.addEventListener("focus", () => field.select());
	}
}

/** Submits a form with data-auto by itself after so many seconds, which its button counts, unless somebody acts before. */
export function submitSoon(root: Document): void {
	const form = root.querySelector<HTMLFormElement>("form[data-auto]");
	let left = Number(form?.dataset.auto);
	if (!form || !(left > 0)) {
		return;
	}
	const clock = form.querySelector(".auto");
	const tick = (): void => {
		if (form.dataset.sent) {
			clearInterval(ticking);
			return;
		}
		if (left <= 0) {
			clearInterval(ticking);
			form.requestSubmit();
			return;
		}
		if (clock) {
			clock.textContent = ` (${left})`;
		}
		left--;
	};
	const ticking = setInterval(tick, 1000);
	tick();
}
