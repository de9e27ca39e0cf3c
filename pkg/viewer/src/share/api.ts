// Links by which guests come to the session, as the node tells of them.

import { isRole, type Role } from "./company";

export interface ShareLink {
	id: string;
	role: Role;
	name: string;
	/** When it ends; null: with the session. */
	expires: Date | null;
}

export interface ShareWish {
	role: Role;
	name: string;
	/** Seconds; 0: as long as the session. */
	expires: number;
}

export function parseLinks(v: unknown): ShareLink[] {
	const all = (v as { shares?: unknown } | null)?.shares;
	return Array.isArray(all) ? all.flatMap((s: unknown) => parseLink(s) ?? []) : [];
}

function parseLink(v: unknown): ShareLink | null {
	if (typeof v !== "object" || v === null) return null;
	const { id, role, name, expires } = v as Record<string, unknown>;
	if (typeof id !== "string" || !/^[a-z0-9]+$/.test(id) || !isRole(role)) return null;
	const end = typeof expires === "string" ? new Date(expires) : null;
	const known = end !== null && !Number.isNaN(end.getTime());
	return { id, role, name: typeof name === "string" ? name : "", expires: known ? end : null };
}

/** The address of a link that was just made: this is the only time that it is told. */
export function parseMade(v: unknown): string | null {
	const url = (v as { url?: unknown } | null)?.url;
	return typeof url === "string" && /^https?:\/\/[^#]+#share=/.test(url) ? url : null;
}

/** Who looks at the page, as the node's status says. */
export interface Visitor {
	id: string;
	role: string;
	/** What the session's owner is called. */
	owner: string;
	/** Whether links may be made. */
	sharing: boolean;
}

/** The owner, as a node tells of them that shares nothing. */
export const alone: Visitor = { id: "owner", role: "owner", owner: "", sharing: false };

/** Reads who asked from a status. A node of before there were guests says nothing: who is let in is the owner. */
export function parseVisitor(o: Record<string, unknown>): Visitor {
	const you = (typeof o.you === "object" && o.you !== null ? o.you : {}) as Record<string, unknown>;
	const text = (f: unknown, otherwise: string): string =>
		typeof f === "string" && f !== "" ? f.slice(0, 120) : otherwise;
	return {
		id: text(you.id, alone.id),
		role: text(you.role, alone.role),
		owner: text(o.owner, ""),
		sharing: o.sharing === true,
	};
}
