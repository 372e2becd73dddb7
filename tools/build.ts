/**
 * Bundles the command into dist/: one entry, a chunk for each command that is loaded when it is used, and the store's
 * worker. A bundle starts several times faster than the sources: see docs/decisions. An argument names another folder.
 */
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { lazyBuiltins, NOT_BUNDLED, REQUIRE_BANNER } from "./lazy-builtins.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = process.argv[2] ?? join(root, "dist");
const ENTRY = "heddle.mjs";
const KEEP_MS = 7 * 24 * 3_600_000;
// Built beside and moved into place: a command that starts meanwhile finds the old bundle or the new one.
const outdir = `${target}.${process.pid}`;

await build({
  absWorkingDir: root,
  entryPoints: {
    heddle: "apps/cli/src/main.ts",
    "proxy-thread": "apps/connect-proxy/src/threads/thread.ts",
    "sqlite-worker": "packages/store/src/sqlite-worker.ts",
  },
  outdir,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24",
  minifySyntax: true,
  legalComments: "none",
  plugins: [lazyBuiltins],
  external: NOT_BUNDLED,
  banner: { js: REQUIRE_BANNER },
  logLevel: "warning",
});
// The page, as three files without folders: the agent serves them from beside the bundle.
await build({
  absWorkingDir: root,
  entryPoints: ["apps/ui/src/ui.ts"],
  outdir,
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  legalComments: "none",
  logLevel: "warning",
});
for (const file of ["ui.html", "ui.css"]) copyFileSync(join(root, "apps/ui/src", file), join(outdir, file));
// Chunks carry a hash in their name, so those of older builds stay for the daemons that still run from them; the entry
// goes last. After a week nobody does.
mkdirSync(target, { recursive: true });
const built = readdirSync(outdir).toSorted((a, b) => Number(a === ENTRY) - Number(b === ENTRY));
for (const file of built) renameSync(join(outdir, file), join(target, file));
rmSync(outdir, { recursive: true });
for (const file of readdirSync(target)) {
  const path = join(target, file);
  if (!built.includes(file) && Date.now() - statSync(path).mtimeMs > KEEP_MS)
    rmSync(path, { recursive: true, force: true });
}
