// Times as people say them, in the browser's language and time zone.

const steps: [limit: number, unit: Intl.RelativeTimeFormatUnit, seconds: number][] = [
	[60, "second", 1],
	[3600, "minute", 60],
	[86_400, "hour", 3600],
	[604_800, "day", 86_400],
];

/** Describes a time as seen from now (both in ms since 1970): "5 minutes ago", and dates beyond a week. */
export function describe(at: number, now: number, language?: string): string {
	const seconds = Math.round((at - now) / 1000);
	if (Math.abs(seconds) < 10) {
		return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(0, "second");
	}
	for (const [limit, unit, size] of steps) {
		if (Math.abs(seconds) < limit) {
			return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
		}
	}
	return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(at);
}

/** Rewrites every time element below root; its title keeps the exact time. */
export function showTimes(root: ParentNode, now: number): void {
	for (const element of root.querySelectorAll("time")) {
		const at = Date.parse(element.dateTime || element.getAttribute("datetime") || "");
		if (!Number.isNaN(at)) {
			element.title = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" }).format(at);
			element.textContent = describe(at, now);
		}
	}
}
