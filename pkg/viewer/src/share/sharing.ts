// Sharing, as the page shows it: the owner's dialog of links and people, the guests' name and banner, and who has the hand.

import { byId } from "../elements";
import type { Node } from "../link/node";
import { NodeError } from "../link/node";
import type { ShareLink, Visitor } from "./api";
import { type Company, called, hasHand, news, type Person } from "./company";

export interface SharingHost {
	say(text: string): void;
	/** The picture should have the keyboard again. */
	leave(): void;
	/** The hand should go to somebody. */
	give(id: string): void;
	/** What this page does counts no longer: it must hold nothing down. */
	letGo(): void;
}

const NAME = "easel.name";
const may: Readonly<Record<string, string>> = { owner: "owner", "take-part": "may take part", view: "looks on" };

export class Sharing {
	private company: Company | null = null;
	private visitor: Visitor | null = null;
	private readonly open = byId("share", HTMLButtonElement);
	private readonly count = byId("share-count", HTMLElement);
	private readonly dialog = byId("share-dialog", HTMLDialogElement);
	private readonly title = byId("share-title", HTMLHeadingElement);
	private readonly people = byId("people", HTMLUListElement);
	private readonly owners = byId("share-owner", HTMLDivElement);
	private readonly form = byId("share-form", HTMLFormElement);
	private readonly role = byId("share-role", HTMLSelectElement);
	private readonly name = byId("share-name", HTMLInputElement);
	private readonly expires = byId("share-expires", HTMLSelectElement);
	private readonly made = byId("share-made", HTMLParagraphElement);
	private readonly url = byId("share-url", HTMLInputElement);
	private readonly links = byId("share-links", HTMLUListElement);
	private readonly said = byId("share-said", HTMLParagraphElement);
	private readonly banner = byId("guest", HTMLDivElement);
	private readonly bannerText = byId("guest-text", HTMLSpanElement);
	private readonly back = byId("guest-back", HTMLButtonElement);

	constructor(
		private readonly node: Node,
		private readonly chrome: boolean,
		private readonly host: SharingHost,
		private readonly signal: AbortSignal,
	) {
		const on = { signal };
		this.open.addEventListener("click", () => this.show(), on);
		byId("share-close", HTMLButtonElement).addEventListener("click", () => this.dialog.close(), on);
		this.dialog.addEventListener("close", () => this.closed(), on);
		const submitted = (e: SubmitEvent): void => {
			e.preventDefault();
			void this.make();
		};
		this.form.addEventListener("submit", submitted, on);
		byId("share-copy", HTMLButtonElement).addEventListener("click", () => void this.copy(), on);
		this.back.addEventListener("click", () => this.giveBack(), on);
		signal.addEventListener("abort", () => this.over());
	}

	/** Whether what is done on this page counts. */
	get mine(): boolean {
		return hasHand(this.company);
	}

	/** Whether who looks at the page came by a link. */
	get guest(): boolean {
		return this.visitor !== null && this.visitor.role !== "owner";
	}

	/** The node says who looks at the page. */
	visit(v: Visitor): void {
		this.visitor = v;
		document.documentElement.dataset.role = v.role;
		this.draw();
	}

	/** The node says who is there. */
	heard(now: Company): void {
		const before = this.company;
		this.company = now;
		if (hasHand(before) && !hasHand(now)) this.host.letGo();
		const words = news(before, now);
		if (words.length > 0) this.host.say(words.join(" "));
		this.draw();
	}

	/** The way to the node is gone: who is there will be told again. */
	offline(): void {
		this.company = null;
		this.draw();
	}

	/** What a guest wants to be called: asked once, and kept in this browser. */
	async askName(): Promise<string> {
		const kept = stored();
		if (kept !== "" || !this.chrome) return kept;
		const dialog = byId("name-dialog", HTMLDialogElement);
		const field = byId("guest-name", HTMLInputElement);
		dialog.showModal();
		await new Promise<void>((resolve) => {
			dialog.addEventListener("close", () => resolve(), { once: true });
			this.signal.addEventListener("abort", () => resolve(), { once: true });
		});
		const name = field.value.trim();
		try {
			localStorage.setItem(NAME, name);
		} catch {
			// Storage may be off; the name is asked for again then.
		}
		return name;
	}

	private show(): void {
		this.draw();
		this.said.textContent = "";
		this.dialog.showModal();
		if (this.visitor?.sharing) void this.list();
	}

	// The address of a new link is told once: it does not lie about for who opens the dialog next.
	private closed(): void {
		this.url.value = "";
		this.made.hidden = true;
		this.host.leave();
	}

	private draw(): void {
		const people = this.company?.people ?? [];
		const others = people.filter((p) => p.id !== this.company?.you);
		this.open.hidden = !this.chrome || (!this.visitor?.sharing && others.length === 0);
		this.count.textContent = String(people.length);
		this.count.hidden = others.length === 0;
		this.title.textContent = this.visitor?.sharing ? "Share this session" : "Who is here";
		this.owners.hidden = !this.visitor?.sharing;
		this.people.replaceChildren(...people.map((p) => this.person(p)));
		this.drawBanner();
	}

	private person(p: Person): HTMLLIElement {
		const c = this.company;
		const line = document.createElement("li");
		const name = document.createElement("bdi");
		name.textContent = called(p);
		const role = document.createElement("span");
		const marks = [may[p.role] ?? "", p.id === c?.you ? "you" : "", p.path === "relay" ? "relayed" : ""];
		if (p.id === c?.hand) marks.push("has the hand");
		role.textContent = marks.filter((m) => m !== "").join(" · ");
		line.append(name, role);
		if (!this.guest && p.role === "take-part")
			line.append(
				p.id === c?.hand
					? this.button("Take the hand back", () => this.giveBack())
					: this.button("Give the hand", () => this.host.give(p.id)),
			);
		return line;
	}

	private drawBanner(): void {
		const c = this.company;
		const v = this.visitor;
		const holder = c?.people.find((p) => p.id === c.hand);
		const away = c !== null && !hasHand(c) && holder !== undefined;
		this.banner.hidden = !this.chrome || c === null || !(this.guest || away);
		const whose = v?.owner ? `${v.owner}'s session` : "a session that is shared with you";
		const doing = v?.role === "take-part" ? "You take part in" : "You are watching";
		const words = this.guest ? [`${doing} ${whose}.`] : [];
		if (c && this.guest && hasHand(c)) words.push("You have the hand.");
		else if (c && away && holder && (holder.role !== "owner" || v?.role === "take-part"))
			words.push(`${called(holder)} has the hand.`);
		this.bannerText.textContent = words.join(" ");
		this.back.hidden = c === null || (this.guest ? !hasHand(c) : !away);
		this.back.textContent = this.guest ? "Give the hand back" : "Take the hand back";
	}

	private giveBack(): void {
		this.host.give("owner");
		if (!this.dialog.open) this.host.leave();
	}

	private button(text: string, act: () => void): HTMLButtonElement {
		const b = document.createElement("button");
		b.type = "button";
		b.textContent = text;
		b.addEventListener("click", act);
		return b;
	}

	private async list(): Promise<void> {
		await this.try(async () => {
			const links = await this.node.links(this.signal);
			this.links.replaceChildren(...links.map((l) => this.linkLine(l)));
		});
	}

	private linkLine(l: ShareLink): HTMLLIElement {
		const line = document.createElement("li");
		const name = document.createElement("bdi");
		name.textContent = l.name || "A link";
		const about = document.createElement("span");
		const until = l.expires ? `until ${l.expires.toLocaleString()}` : "as long as the session";
		about.textContent = `${l.role === "view" ? "to look on" : "to take part"} · ${until}`;
		const revoke = async (): Promise<void> => {
			await this.try(() => this.node.revokeLink(l.id, this.signal));
			await this.list();
		};
		line.append(
			name,
			about,
			this.button("Revoke", () => void revoke()),
		);
		return line;
	}

	private async make(): Promise<void> {
		await this.try(async () => {
			const role = this.role.value === "take-part" ? "take-part" : "view";
			const wish = { role, name: this.name.value.trim(), expires: Number(this.expires.value) } as const;
			this.url.value = await this.node.makeLink(wish, this.signal);
			this.made.hidden = false;
			this.name.value = "";
			this.url.select();
			this.said.textContent = "Copy it now: the address is shown this once.";
		});
		await this.list();
	}

	private async copy(): Promise<void> {
		this.url.select();
		try {
			await navigator.clipboard.writeText(this.url.value);
			this.said.textContent = "Copied.";
		} catch {
			this.said.textContent = "This browser does not let the page copy: press Ctrl+C.";
		}
	}

	private async try(act: () => Promise<void>): Promise<void> {
		try {
			await act();
		} catch (e) {
			if (this.signal.aborted) return;
			if (!(e instanceof NodeError)) throw e;
			this.said.textContent = e.message;
		}
	}

	private over(): void {
		this.open.hidden = true;
		this.banner.hidden = true;
		if (this.dialog.open) this.dialog.close();
	}
}

function stored(): string {
	try {
		return localStorage.getItem(NAME)?.trim() ?? "";
	} catch {
		return "";
	}
}
