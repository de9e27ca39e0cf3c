import { defineConfig } from "vitest/config";

// One script, dist/portal.js; the coordinator serves it under a name with its hash.
export default defineConfig({
	build: {
		target: "es2022",
		outDir: "dist",
		// dist/.gitkeep stays in git so that the Go embed finds the folder before the first build.
		emptyOutDir: false,
		modulePreload: { polyfill: false },
		reportCompressedSize: false,
		rollupOptions: {
			input: "src/main.ts",
			output: { entryFileNames: "portal.js" },
		},
	},
	test: {
		environment: "happy-dom",
		include: ["src/**/*.test.ts"],
		restoreMocks: true,
	},
});
