// What was just saved in GIMP, offered for download.

import { byId } from "../elements";
import { Backoff, sleep } from "../link/backoff";
import { type Entry, type FilesApi, FilesError, type Saved } from "./api";
import { size } from "./words";

/** An offer goes by itself after so long (ms). */
const STAYS = 60_000;
/** A node that does not tell is asked again at the latest after so long (ms). */
const LONGEST = 30_000;

export class SavedOffer {
	private readonly root = byId("saved", HTMLDivElement);
	private readonly text = byId("saved-text", HTMLSpanElement);
	private readonly name = byId("saved-name", HTMLElement);
	private readonly size = byId("saved-size", HTMLSpanElement);
	private readonly others = byId("saved-others", HTMLButtonElement);
	private offered: Entry[] = [];
	private going: ReturnType<typeof setTimeout> | null = null;
	private asking: AbortController | null = null;

	constructor(
		private readonly api: Pick<FilesApi, "saved">,
		host: { download(entry: Entry): void; list(): void },
		signal: AbortSignal,
	) {
		byId("saved-download", HTMLButtonElement).addEventListener("click", () => this.take(host.download), { signal });
		byId("saved-close", HTMLButtonElement).addEventListener("click", () => this.hide(), { signal });
		this.others.addEventListener("click", () => this.take(host.list), { signal });
	}

	/** Whether what is saved is asked for. */
	watch(on: boolean): void {
		if (on === (this.asking !== null)) return;
		this.asking?.abort();
		this.asking = on ? new AbortController() : null;
		if (this.asking) void this.follow(this.asking.signal);
		else this.hide();
	}

	private async follow(signal: AbortSignal): Promise<void> {
		const backoff = new Backoff();
		let last: Saved | null = null;
		while (!signal.aborted) {
			try {
				const now: Saved = await this.api.saved(last, signal);
				backoff.reset();
				last = now;
				for (const e of now.files) this.offer(e);
			} catch (e) {
				if (signal.aborted) return;
				if (e instanceof FilesError && e.again === "never") return;
				await sleep(Math.max(1000, backoff.next(LONGEST)), signal);
			}
		}
	}

	private offer(e: Entry): void {
		this.offered = [...this.offered.filter((o) => o.id !== e.id), e].slice(-100);
		this.text.textContent = "Saved:";
		this.name.textContent = e.name;
		this.size.textContent = size(e.size);
		const more = this.offered.length - 1;
		this.others.hidden = more === 0;
		this.others.textContent = `and ${more} more`;
		this.root.hidden = false;
		if (this.going !== null) clearTimeout(this.going);
		this.going = setTimeout(() => this.hide(), STAYS);
	}

	private take(act: (e: Entry) => void): void {
		const newest = this.offered.at(-1);
		this.hide();
		if (newest) act(newest);
	}

	private hide(): void {
		this.root.hidden = true;
		this.offered = [];
		if (this.going !== null) clearTimeout(this.going);
		this.going = null;
	}
}
