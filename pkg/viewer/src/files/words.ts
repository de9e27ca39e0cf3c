// Sizes and times of files as people read them.

const units = ["bytes", "kB", "MB", "GB", "TB"] as const;

/** 0 bytes, 1.7 kB, 25 MB. */
export function size(bytes: number): string {
	let unit = 0;
	let n = bytes;
	while (n >= 999.5 && unit < units.length - 1) {
		n /= 1000;
		unit++;
	}
	const digits = unit === 0 || n >= 9.95 ? 0 : 1;
	return `${n.toFixed(digits)} ${units[unit]}`;
}

/** 12 of 40 MB: both in the larger one's unit where that is short. */
export function progress(sent: number, all: number): string {
	return sent >= all ? size(all) : `${size(sent)} of ${size(all)}`;
}

/** When a file was changed: the time today, else the date. */
export function when(ms: number, now: Date = new Date()): string {
	const at = new Date(ms);
	if (at.toDateString() === now.toDateString())
		return at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
	return at.toLocaleDateString([], { year: "numeric", month: "short", day: "numeric" });
}
