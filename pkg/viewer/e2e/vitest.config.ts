import { defineConfig } from "vitest/config";

// Two files at once, each with a browser of its own, in which one test comes after another: they look at what is on a screen.
export default defineConfig({
	test: {
		root: import.meta.dirname,
		include: ["*.test.ts"],
		environment: "node",
		poolOptions: { forks: { minForks: 2, maxForks: 2 } },
		// Deadlines, not expectations: the machine may be busy with other tests.
		testTimeout: 120_000,
		hookTimeout: 60_000,
		expect: { poll: { timeout: 30_000 } },
	},
});
