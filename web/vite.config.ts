// Builds the page into server/web, where the server finds it, and notes there what it was built from.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig, type Plugin } from "vite";

const HERE = import.meta.dirname;
const BUILT = join(HERE, "..", "server", "web");
const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts"];

const sha256 = (data: Buffer | string) => createHash("sha256").update(data).digest("hex");

function filesOf(path: string): string[] {
  try {
    return readdirSync(path).flatMap((name) => filesOf(join(path, name)));
  } catch {
    return [path];
  }
}

/** Lines of digest and path, in order; a Python test makes the same of the sources and of what is shipped. */
function listing(paths: string[], root: string): string[] {
  const named = paths.map((path) => `${sha256(readFileSync(path))} ${relative(root, path).replaceAll("\\", "/")}`);
  return named.sort((one, other) => (one.slice(65) < other.slice(65) ? -1 : 1));
}

const noted: Plugin = {
  name: "noted",
  closeBundle() {
    const sources = listing(SOURCES.flatMap((name) => filesOf(join(HERE, name))), HERE);
    const built = listing(filesOf(BUILT).filter((path) => !path.endsWith("build.json")), BUILT);
    const note = { sources: sha256(sources.join("\n")), files: built };
    writeFileSync(join(BUILT, "build.json"), `${JSON.stringify(note, null, 2)}\n`);
  },
};

export default defineConfig({
  base: "/web/",
  plugins: [noted],
  build: {
    outDir: BUILT,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // Plain names: the server tags each file, so that a browser asks whether it has changed and no name need say so.
    rolldownOptions: {
      output: { entryFileNames: "page.js", chunkFileNames: "[name].js", assetFileNames: "page[extname]" },
    },
  },
});
