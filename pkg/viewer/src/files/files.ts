// Files between the artist's machine and the session: dropped on the picture they go in, and what was saved comes out.

import { byId } from "../elements";
import { type Allowed, type Entry, FilesApi, FilesError, nothing } from "./api";
import { FilesList } from "./list";
import { SavedOffer } from "./offer";
import { Transfers } from "./transfers";

export interface FilesHost {
	/** A passing remark. */
	say(text: string): void;
	/** The picture should have the keyboard again. */
	leave(): void;
}

export interface FilesShow {
	/** Things may lie over the picture. */
	chrome: boolean;
	/** What was saved is offered here: in one of a session's windows. */
	offers: boolean;
}

export class Files {
	private readonly zone = byId("drop", HTMLDivElement);
	private readonly button = byId("files", HTMLButtonElement);
	private readonly label = byId("files-label", HTMLSpanElement);
	private readonly upload = byId("files-upload", HTMLButtonElement);
	private readonly chooser = byId("files-chooser", HTMLInputElement);
	private readonly api: FilesApi;
	private readonly transfers: Transfers;
	private readonly list: FilesList;
	private readonly saved: SavedOffer;
	private readonly stop = new AbortController();
	private allowed: Allowed = nothing;
	/** How deep the drag is in the page's elements. */
	private depth = 0;

	/** `base` is the session's address. */
	constructor(
		base: string,
		private readonly shows: FilesShow,
		private readonly host: FilesHost,
	) {
		const { signal } = this.stop;
		const download = (e: Entry): void => void this.download(e);
		this.api = new FilesApi(base);
		this.transfers = new Transfers(this.api, shows.chrome, host.say);
		this.list = new FilesList(this.api, { download, closed: () => host.leave() }, signal);
		this.saved = new SavedOffer(this.api, { download, list: () => this.list.open() }, signal);
		this.button.addEventListener("click", () => (this.allowed.out ? this.list.open() : this.chooser.click()), {
			signal,
		});
		this.upload.addEventListener("click", () => this.chooser.click(), { signal });
		this.chooser.addEventListener("change", () => this.chosen(), { signal });
		// These stay when the session is over: without them the browser would leave the page for the file.
		window.addEventListener("dragenter", this.enter);
		window.addEventListener("dragover", this.over);
		window.addEventListener("dragleave", this.leave);
		window.addEventListener("drop", this.drop);
	}

	/** What the node allows, once the session is there. */
	allow(allowed: Allowed): void {
		if (this.stop.signal.aborted) return;
		this.allowed = allowed;
		this.button.hidden = !allowed.out && !allowed.in;
		this.label.textContent = allowed.out ? "Download" : "Upload";
		this.upload.hidden = !allowed.in;
		this.saved.watch(allowed.out && this.shows.offers);
	}

	/** The session is over. */
	close(): void {
		this.saved.watch(false);
		this.list.close();
		this.transfers.close();
		this.zone.hidden = true;
		this.allowed = nothing;
		this.stop.abort();
	}

	// The browser saves it: with its own progress, pause and going on. It is asked for first, because a download that fails says little.
	private async download(e: Entry): Promise<void> {
		try {
			await this.api.there(e.id, this.stop.signal);
		} catch (x) {
			if (x instanceof FilesError) this.host.say(`${e.name}: ${x.message}`);
			return;
		}
		const a = document.createElement("a");
		a.href = this.api.address(e.id);
		a.download = e.name;
		a.click();
	}

	private chosen(): void {
		const files = [...(this.chooser.files ?? [])];
		this.chooser.value = "";
		this.list.close();
		this.transfers.add(files, this.allowed.most);
	}

	private readonly enter = (e: DragEvent): void => {
		if (!carriesFiles(e)) return;
		e.preventDefault();
		this.depth++;
		this.zone.dataset.open = this.allowed.in ? "yes" : "no";
		this.zone.hidden = !this.shows.chrome;
	};

	private readonly over = (e: DragEvent): void => {
		if (!carriesFiles(e)) return;
		e.preventDefault();
		if (e.dataTransfer) e.dataTransfer.dropEffect = this.allowed.in ? "copy" : "none";
	};

	private readonly leave = (e: DragEvent): void => {
		if (!carriesFiles(e)) return;
		this.depth = Math.max(0, this.depth - 1);
		if (this.depth === 0) this.zone.hidden = true;
	};

	private readonly drop = (e: DragEvent): void => {
		if (!carriesFiles(e)) return;
		e.preventDefault();
		this.depth = 0;
		this.zone.hidden = true;
		if (!this.allowed.in) return this.host.say("This node takes no files from you.");
		const { files, folders } = filesOf(e.dataTransfer);
		if (folders > 0) this.host.say("Folders are not taken: drop the files in them.");
		this.transfers.add(files, this.allowed.most);
		this.host.leave();
	};
}

function carriesFiles(e: DragEvent): boolean {
	return e.dataTransfer?.types.includes("Files") ?? false;
}

/** The files of a drop. A folder among them looks like a file that cannot be read. */
function filesOf(data: DataTransfer | null): { files: File[]; folders: number } {
	const files: File[] = [];
	let folders = 0;
	for (const item of data?.items ?? []) {
		if (item.kind !== "file") continue;
		const file = item.getAsFile();
		if (item.webkitGetAsEntry?.()?.isDirectory) folders++;
		else if (file) files.push(file);
	}
	return { files, folders };
}
