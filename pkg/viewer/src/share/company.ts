// Who else is in the session, and who of them has the hand: what the others do with pointer and keys does not count.

export type Role = "owner" | "take-part" | "view";

export interface Person {
	id: string;
	name: string;
	role: Role;
	path: string;
}

export interface Company {
	/** The id of who looks at this page. */
	you: string;
	/** The id of who has the hand; empty while it goes over. */
	hand: string;
	people: Person[];
}

const MAX_PEOPLE = 200;
const MAX_TEXT = 120;

/** Reads who is there; null where it makes no sense. */
export function parseCompany(m: Record<string, unknown>): Company | null {
	if (typeof m.you !== "string" || typeof m.hand !== "string") return null;
	const all = Array.isArray(m.people) ? m.people.slice(0, MAX_PEOPLE) : [];
	return { you: m.you, hand: m.hand, people: all.flatMap(parsePerson) };
}

function parsePerson(v: unknown): Person[] {
	if (typeof v !== "object" || v === null) return [];
	const { id, name, role, path } = v as Record<string, unknown>;
	if (typeof id !== "string" || id === "" || !isRole(role)) return [];
	const text = (t: unknown): string => (typeof t === "string" ? t.slice(0, MAX_TEXT) : "");
	return [{ id, name: text(name), role, path: text(path) }];
}

export function isRole(v: unknown): v is Role {
	return v === "owner" || v === "take-part" || v === "view";
}

/** What others call somebody. */
export function called(p: Person): string {
	if (p.name !== "") return p.name;
	return p.role === "owner" ? "The owner" : "A guest";
}

/** Whether what is done on this page counts: yes until the node says that somebody else has the hand. */
export function hasHand(c: Company | null): boolean {
	return c === null || c.hand === c.you;
}

/** What has changed, in words. */
export function news(before: Company | null, now: Company): string[] {
	if (before === null) return [];
	const others = (c: Company): Person[] => c.people.filter((p) => p.id !== c.you);
	const gone = (from: Company, to: Company): Person[] =>
		others(from).filter((p) => !to.people.some((q) => q.id === p.id));
	const said = [
		...gone(now, before).map((p) => `${called(p)} joined.`),
		...gone(before, now).map((p) => `${called(p)} left.`),
	];
	if (now.hand !== "" && now.hand !== before.hand && before.hand !== "") {
		const holder = now.people.find((p) => p.id === now.hand);
		if (now.hand === now.you) said.push("You have the hand.");
		else if (holder) said.push(`${called(holder)} has the hand.`);
	}
	return said;
}
