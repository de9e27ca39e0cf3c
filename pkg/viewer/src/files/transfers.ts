// The uploads that are on their way: a few lines over the picture, each with how far it is and a way to end it.

import { byId } from "../elements";
import type { FilesApi } from "./api";
import { Upload, type UploadState } from "./upload";
import { progress, size } from "./words";

/** So many are sent at once; the others wait. */
const AT_ONCE = 2;
const MOST = 100;
/** A line of an upload that is done stays so long (ms). */
const LINGER = 6000;

const words: Readonly<Record<UploadState, string>> = {
	waiting: "Waiting",
	sending: "",
	interrupted: "Interrupted, goes on by itself",
	finishing: "Opening in GIMP…",
	done: "",
	failed: "",
	cancelled: "",
};

interface Line {
	upload: Upload;
	root: HTMLLIElement;
	bar: HTMLProgressElement;
	name: HTMLElement;
	state: HTMLSpanElement;
	button: HTMLButtonElement;
}

export class Transfers {
	private readonly root = byId("transfers", HTMLUListElement);
	private readonly lines = new Set<Line>();
	private readonly stop = new AbortController();
	private running = 0;

	/** `chrome`: things may lie over the picture. `say` is for what is read aloud. */
	constructor(
		private readonly api: FilesApi,
		private readonly chrome: boolean,
		private readonly say: (text: string) => void,
	) {
		const { signal } = this.stop;
		window.addEventListener("online", () => this.each((u) => u.wake()), { signal });
		window.addEventListener(
			"beforeunload",
			(e) => {
				if ([...this.lines].some((l) => !l.upload.over)) e.preventDefault();
			},
			{ signal },
		);
	}

	/** Takes files; `most` is how large one may be. */
	add(files: readonly File[], most: number): void {
		if (files.length > MOST) this.say(`Only the first ${MOST} of ${files.length} files are taken at a time.`);
		for (const file of files.slice(0, MOST)) {
			const line = this.line(file);
			this.lines.add(line);
			this.root.append(line.root);
			if (file.size > most)
				line.upload.fail(`It has ${size(file.size)}; this node takes files of up to ${size(most)}.`);
			this.draw(line);
		}
		this.next();
	}

	/** The session is over. */
	close(): void {
		this.stop.abort();
		this.each((u) => u.cancel());
		this.root.hidden = true;
	}

	private each(act: (u: Upload) => void): void {
		for (const line of this.lines) act(line.upload);
	}

	private next(): void {
		for (const line of this.lines) {
			if (this.running >= AT_ONCE) return;
			if (line.upload.state === "waiting") void this.run(line);
		}
	}

	private async run(line: Line): Promise<void> {
		this.running++;
		try {
			await line.upload.run();
		} finally {
			this.running--;
		}
		if (line.upload.state === "done" && line.upload.opened) this.say(`${line.upload.name} is opened in GIMP.`);
		else if (line.upload.state === "done") this.say(`${line.upload.name} is in your home. ${line.upload.why}`);
		this.next();
	}

	private line(file: File): Line {
		const root = document.createElement("li");
		const name = document.createElement("bdi");
		const bar = document.createElement("progress");
		const state = document.createElement("span");
		const button = document.createElement("button");
		button.type = "button";
		button.textContent = "×";
		bar.max = 1;
		root.append(name, bar, state, button);
		const line: Line = { upload: new Upload(this.api, file, () => this.draw(line)), root, bar, name, state, button };
		button.addEventListener("click", () => (line.upload.over ? this.remove(line) : line.upload.cancel()));
		return line;
	}

	private draw(line: Line): void {
		const { upload: u, root } = line;
		root.dataset.state = u.state;
		line.name.textContent = u.name;
		line.bar.value = u.size === 0 ? 1 : u.sent / u.size;
		line.bar.hidden = u.over;
		line.state.textContent = this.words(u);
		line.button.setAttribute("aria-label", u.over ? `Hide ${u.name}` : `Cancel ${u.name}`);
		if (u.state === "cancelled") this.remove(line);
		else if (u.state === "done" && !root.dataset.leaving) {
			root.dataset.leaving = "yes";
			setTimeout(() => this.remove(line), LINGER);
		}
		this.root.hidden = !this.chrome || this.lines.size === 0;
	}

	private words(u: Upload): string {
		if (u.state === "sending") return progress(u.sent, u.size);
		if (u.state === "done") return u.opened ? "Opened in GIMP" : u.why || "In your home";
		if (u.state === "failed") return u.why;
		return words[u.state];
	}

	private remove(line: Line): void {
		this.lines.delete(line);
		line.root.remove();
		this.root.hidden = !this.chrome || this.lines.size === 0;
	}
}
