// The page's elements by id, with their types proven at the start instead of at the first click.

/** The element with this id; throws when index.html has none of this type. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
	const e = document.getElementById(id);
	if (!(e instanceof type)) throw new Error(`the page has no ${type.name} with the id ${id}`);
	return e;
}
