// The portal's script: it keeps the list of sessions fresh, asks before something is lost, and shows
// times as this browser's clock has them. Every page works without it.
import { showCopyable, submitSoon, watchForms } from "./forms";
import { keepFresh } from "./fresh";
import { measureNearest } from "./nearest";
import { showTimes } from "./times";

showTimes(document, Date.now());
watchForms(document, (text) => window.confirm(text));
showCopyable(document);
submitSoon(document);

const wanted = document.querySelector<HTMLFormElement>("form[data-route]");
if (wanted) {
	void measureNearest({
		form: wanted,
		fetch: (url, init) => window.fetch(url, init),
		now: () => performance.now(),
	});
}

const list = document.querySelector<HTMLElement>("[data-fragment]");
if (list) {
	keepFresh({
		list,
		announce: document.querySelector<HTMLElement>("#announce"),
		fetch: (url, init) => window.fetch(url, init),
		signedOut: () => window.location.assign("/signin"),
		updated: () => {
			showTimes(list, Date.now());
		},
	});
}
