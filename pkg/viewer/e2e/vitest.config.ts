import { defineConfig } from "vitest/config";

// One browser, one test after another: they look at what is on a screen.
export default defineConfig({
	test: {
		root: import.meta.dirname,
		include: ["*.test.ts"],
		environment: "node",
		fileParallelism: false,
		// Deadlines, not expectations: the machine may be busy with other tests.
		testTimeout: 120_000,
		hookTimeout: 60_000,
		expect: { poll: { timeout: 30_000 } },
	},
});
