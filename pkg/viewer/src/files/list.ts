// The dialog of the session's files: newest first, by folder or by a search, each with a way to download it.

import { byId } from "../elements";
import { sleep } from "../link/backoff";
import { type Entry, type FilesApi, FilesError, type Listing } from "./api";
import { size, when } from "./words";

/** A search waits until nothing was typed for so long (ms). */
const TYPING = 250;

interface Folder {
	id: string;
	name: string;
}

const home: Folder = { id: "", name: "Home" };

export interface ListHost {
	download(entry: Entry): void;
	/** The dialog is gone. */
	closed(): void;
}

export class FilesList {
	private readonly dialog = byId("files-dialog", HTMLDialogElement);
	private readonly path = byId("files-path", HTMLElement);
	private readonly find = byId("files-find", HTMLInputElement);
	private readonly list = byId("files-list", HTMLUListElement);
	private readonly said = byId("files-said", HTMLParagraphElement);
	private folders: Folder[] = [home];
	/** Ends the question that is under way. */
	private asking = new AbortController();

	constructor(
		private readonly api: FilesApi,
		private readonly host: ListHost,
		signal: AbortSignal,
	) {
		this.dialog.addEventListener("close", () => this.closed(), { signal });
		this.find.addEventListener("input", () => void this.load(TYPING), { signal });
		byId("files-close", HTMLButtonElement).addEventListener("click", () => this.dialog.close(), { signal });
	}

	open(): void {
		if (this.dialog.open) return;
		this.folders = [home];
		this.find.value = "";
		this.dialog.showModal();
		void this.load(0);
	}

	close(): void {
		if (this.dialog.open) this.dialog.close();
	}

	private closed(): void {
		this.asking.abort();
		this.list.replaceChildren();
		this.host.closed();
	}

	private async load(wait: number): Promise<void> {
		this.asking.abort();
		this.asking = new AbortController();
		const { signal } = this.asking;
		await sleep(wait, signal);
		if (signal.aborted) return;
		const find = this.find.value.trim().slice(0, 30);
		this.drawPath(find);
		this.dialog.setAttribute("aria-busy", "true");
		try {
			const listing = await this.api.list(this.folders.at(-1)?.id ?? "", find, signal);
			this.draw(listing, find);
		} catch (e) {
			if (signal.aborted) return;
			this.list.replaceChildren();
			this.said.textContent = e instanceof FilesError ? e.message : String(e);
		} finally {
			if (!signal.aborted) this.dialog.removeAttribute("aria-busy");
		}
	}

	private draw(listing: Listing, find: string): void {
		this.list.replaceChildren(...listing.entries.map((e) => this.row(e)));
		if (listing.entries.length === 0)
			this.said.textContent = find === "" ? "There are no files here yet." : "No file is called so.";
		else this.said.textContent = listing.more ? "Only the newest are shown: search for others." : "";
	}

	private drawPath(find: string): void {
		const crumbs = this.folders.map((folder, i) => {
			const b = document.createElement("button");
			b.type = "button";
			b.textContent = folder.name;
			b.disabled = find === "" && i === this.folders.length - 1;
			b.addEventListener("click", () => {
				this.folders = this.folders.slice(0, i + 1);
				this.find.value = "";
				void this.load(0);
			});
			return b;
		});
		this.path.replaceChildren(...crumbs);
	}

	private row(e: Entry): HTMLLIElement {
		const row = document.createElement("li");
		const name = document.createElement("bdi");
		name.textContent = e.name;
		const about = document.createElement("span");
		about.textContent = e.folder ? "Folder" : `${size(e.size)} · ${when(e.modified)}`;
		const act = document.createElement("button");
		act.type = "button";
		act.textContent = e.folder ? "Open" : "Download";
		act.setAttribute("aria-label", `${act.textContent} ${e.name}`);
		act.addEventListener("click", () => (e.folder ? this.enter(e) : this.host.download(e)));
		row.append(name, about, act);
		return row;
	}

	private enter(e: Entry): void {
		this.folders = [...this.folders, { id: e.id, name: e.name }];
		void this.load(0);
	}
}
