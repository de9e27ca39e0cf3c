// Measures how far the nodes are that suit best, while somebody looks at the page, so that a new session goes
// to the nearest one in truth. Without it the coordinator guesses.

const rounds = 3;
const patienceMs = 5000; // while nobody waits
const hurryMs = 400; // while somebody does
const freshMs = 5 * 60_000;

export interface Nearest {
	form: HTMLFormElement;
	fetch: (url: string, init: RequestInit) => Promise<Response>;
	now: () => number;
}

interface Candidate {
	node: string;
	ping: string;
}

/** Measures now, and again before a session is asked for when that was long ago. */
export async function measureNearest(at: Nearest): Promise<void> {
	const field = at.form.elements.namedItem("pings");
	const url = at.form.dataset.route;
	if (!(field instanceof HTMLInputElement) || !url) {
		return;
	}
	const report = field;
	const choice = at.form.elements.namedItem("class");
	let measured = Number.NEGATIVE_INFINITY;
	let sent = false;

	/** The nodes that suit depend on what is chosen. */
	function route(): string {
		const chosen = choice instanceof HTMLSelectElement || choice instanceof HTMLInputElement;
		const [kind, encoder] = chosen ? choice.value.split(" ") : [];
		return kind ? `${url}?${new URLSearchParams({ class: kind, encoder: encoder ?? "" })}` : (url ?? "");
	}

	async function measure(patience: number): Promise<void> {
		const from = route();
		const pings = await within(patience, (signal) => pingAll(at, from, signal));
		if (Object.keys(pings).length > 0 && from === route()) {
			report.value = JSON.stringify(pings);
			measured = at.now();
		}
	}

	if (choice instanceof HTMLSelectElement) {
		choice.addEventListener("change", () => {
			measured = Number.NEGATIVE_INFINITY;
			void measure(patienceMs);
		});
	}

	at.form.addEventListener("submit", (event) => {
		if (sent || event.defaultPrevented || at.now() - measured < freshMs) {
			return;
		}
		event.preventDefault();
		sent = true;
		void measure(hurryMs).finally(() => at.form.submit());
	});
	await measure(patienceMs);
}

async function pingAll(at: Nearest, url: string, signal: AbortSignal): Promise<Record<string, number>> {
	const pings: Record<string, number> = {};
	try {
		const answer = await at.fetch(url, { cache: "no-store", signal });
		if (!answer.ok) {
			return pings;
		}
		const { candidates } = (await answer.json()) as { candidates: Candidate[] };
		await Promise.all(candidates.map((c) => pingOne(at, c, signal, pings)));
	} catch {
		// No answer in time, or none that can be read: what was measured until then counts.
	}
	return pings;
}

/** The first round opens the connection; the least of the others is the round trip. */
async function pingOne(at: Nearest, c: Candidate, signal: AbortSignal, pings: Record<string, number>): Promise<void> {
	for (let round = 0; round < rounds; round++) {
		const began = at.now();
		try {
			await at.fetch(c.ping, { mode: "cors", credentials: "omit", cache: "no-store", signal });
		} catch {
			return; // it cannot be reached from here, or not in time
		}
		const ms = Math.max(at.now() - began, 0.1);
		if (round > 0) {
			pings[c.node] = Math.round(Math.min(pings[c.node] ?? Number.POSITIVE_INFINITY, ms) * 10) / 10;
		}
	}
}

/** Gives work a signal that ends it after so many milliseconds. */
async function within<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
	const late = new AbortController();
	const timer = setTimeout(() => late.abort(), ms);
	try {
		return await work(late.signal);
	} finally {
		clearTimeout(timer);
	}
}
