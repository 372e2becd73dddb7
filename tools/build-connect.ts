/**
 * Builds `@heddle/connect` as users install it, into packages/connect/dist: one bundle without dependencies, its types, and the
 * licences of what is in it. `pnpm pack` in packages/connect calls it. An argument names another folder.
 */
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Metafile } from "esbuild";
import { buildDeclarations } from "./declarations.ts";
import { lazyBuiltins, NOT_BUNDLED, REQUIRE_BANNER } from "./lazy-builtins.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const home = join(root, "packages/connect");
const target = process.argv[2] ?? join(home, "dist");
const stage = join(home, `dist.${process.pid}`);

interface Manifest {
  name: string;
  version: string;
  description: string;
  license: string;
  engines?: object;
}
const readManifest = (dir: string) => JSON.parse(readFileSync(join(dir, "package.json"), "utf8")) as Manifest;

try {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { index: "packages/connect/src/index.ts" },
    outdir: stage,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    minifySyntax: true,
    legalComments: "none", // the licences are in a file of their own
    metafile: true,
    plugins: [lazyBuiltins],
    external: [...NOT_BUNDLED, "express"], // for daemons' operators: esbuild would make a file of it that nothing loads
    banner: { js: REQUIRE_BANNER },
    logLevel: "warning",
  });
  buildDeclarations({ packages: join(root, "packages"), entry: "connect", stage });
  writeFileSync(join(stage, "THIRD-PARTY-LICENSES"), licences(metafile));
  copyFileSync(join(home, "README.md"), join(stage, "README.md"));
  copyFileSync(join(root, "LICENSE"), join(stage, "LICENSE"));
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(manifest(), undefined, 2)}\n`);
  rmSync(target, { recursive: true, force: true });
  renameSync(stage, target);
} finally {
  rmSync(stage, { recursive: true, force: true });
}

function manifest() {
  const { name, version, description, license } = readManifest(home);
  return {
    name,
    version,
    description,
    license,
    type: "module",
    engines: readManifest(root).engines,
    exports: { ".": { types: "./types/connect/index.d.ts", default: "./index.js" } },
  };
}

/** The licence texts of the packages that a bundle holds parts of. Throws for one that brings none. */
function licences({ inputs }: Metafile): string {
  const folders = new Set(
    Object.keys(inputs).flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []),
  );
  const texts = [...folders].map((folder) => {
    const dir = join(root, folder);
    const { name, version, license } = readManifest(dir);
    const file = readdirSync(dir).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined && license !== "Apache-2.0") throw new Error(`${name}@${version} brings no licence text`);
    const text = file === undefined ? "See LICENSE." : readFileSync(join(dir, file), "utf8").trim();
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  return texts.toSorted().join(`\n${"-".repeat(80)}\n\n`);
}
