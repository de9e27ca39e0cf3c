// Keeps a part of the page as the coordinator has it: asked again while somebody looks, and replaced only
// when it has changed.

const everyMs = 2000;
const slowestMs = 30_000;
const patienceMs = 20_000;

export interface Fresh {
	list: HTMLElement;
	announce: HTMLElement | null;
	fetch: (url: string, init: RequestInit) => Promise<Response>;
	signedOut: () => void;
	updated: () => void;
}

/** Starts refreshing `list` from the address in its data-fragment; the returned function ends it. */
export function keepFresh(at: Fresh): () => void {
	const url = at.list.dataset.fragment ?? "";
	let etag = "";
	let wait = everyMs;
	let timer: ReturnType<typeof setTimeout> | undefined;
	let asking: AbortController | undefined;

	async function ask(): Promise<void> {
		asking = new AbortController();
		const late = setTimeout(() => asking?.abort(), patienceMs);
		try {
			const answer = await at.fetch(url, {
				headers: etag ? { "If-None-Match": etag } : {},
				cache: "no-store",
				signal: asking.signal,
			});
			if (answer.status === 401) {
				stop();
				at.signedOut();
				return;
			}
			if (answer.status === 200) {
				etag = answer.headers.get("ETag") ?? "";
				replace(at, await answer.text());
			} else {
				at.updated(); // nothing new, but times go on
			}
			wait = answer.ok || answer.status === 304 ? everyMs : slower(wait);
		} catch {
			wait = slower(wait); // the coordinator is away: what is shown stays, and we ask again later
		} finally {
			clearTimeout(late);
			asking = undefined;
		}
	}

	function next(): void {
		clearTimeout(timer);
		if (!stopped && !document.hidden) {
			timer = setTimeout(() => void ask().then(next), wait);
		}
	}

	function looked(): void {
		if (!document.hidden && !asking) {
			wait = everyMs;
			clearTimeout(timer);
			void ask().then(next);
		}
	}

	let stopped = false;
	function stop(): void {
		stopped = true;
		clearTimeout(timer);
		asking?.abort();
		document.removeEventListener("visibilitychange", looked);
	}

	document.addEventListener("visibilitychange", looked);
	next();
	return stop;
}

function slower(wait: number): number {
	return Math.min(wait * 2, slowestMs);
}

/** Puts new HTML into the list, keeps the focus where it was, and says aloud what changed. */
export function replace(at: Pick<Fresh, "list" | "announce" | "updated">, html: string): void {
	const before = states(at.list);
	const focus = focused(at.list);
	at.list.innerHTML = html; // from our own coordinator, escaped there
	at.updated();
	if (focus) {
		refocus(at.list, focus);
	}
	const news = changes(before, states(at.list));
	if (at.announce && news.length > 0) {
		at.announce.textContent = `${at.list.dataset.what ?? "Sessions"}: ${news.join(", ")}.`;
	}
}

function states(list: HTMLElement): Map<string, string> {
	const all = new Map<string, string>();
	for (const session of list.querySelectorAll<HTMLElement>(".session")) {
		all.set(session.id, session.querySelector(".state")?.textContent?.trim() ?? "");
	}
	return all;
}

function changes(before: Map<string, string>, after: Map<string, string>): string[] {
	const news: string[] = [];
	for (const [id, state] of after) {
		if (before.get(id) !== state) {
			news.push(state.toLowerCase());
		}
	}
	for (const id of before.keys()) {
		if (!after.has(id)) {
			news.push("one has ended");
		}
	}
	return news;
}

interface Focus {
	session: string;
	control: number;
}

const controls = "a, button";

function focused(list: HTMLElement): Focus | undefined {
	const active = document.activeElement;
	const session = active?.closest<HTMLElement>(".session");
	if (!active || !session || !list.contains(session)) {
		return undefined;
	}
	return { session: session.id, control: [...session.querySelectorAll(controls)].indexOf(active) };
}

function refocus(list: HTMLElement, focus: Focus): void {
	const session = [...list.querySelectorAll<HTMLElement>(".session")].find((s) => s.id === focus.session);
	session?.querySelectorAll<HTMLElement>(controls)[focus.control]?.focus();
}
