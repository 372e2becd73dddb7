/**
 * The types of a package that stand by themselves: what its entry reaches in the workspace's packages, without what it does not, and
 * with relative paths.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const WORKSPACE = /^@heddle\/([a-z-]+)$/;
const NAMED = /^(import|export)( type)? \{([^}]*)\} from "(@heddle\/[^"]+)";$/gm;
const INLINE = /import\("(@heddle\/[^"]+)"\)\.(\w+)/g;
const RELATIVE = /((?:from|import\() ?")(\.{1,2}\/[^"]+)\.ts"/g;
/** Packages whose declarations are one file that needs nothing: they are brought along. */
const BROUGHT = ["prom-client"];

export interface DeclarationsOptions {
  /** Folder of the workspace's packages. */
  packages: string;
  /** The folder of the one whose types are wanted. */
  entry: string;
  /** Where `types/` is made. */
  stage: string;
}

/** Throws where the types need a package that is not brought along. */
export function buildDeclarations({ packages, entry, stage }: DeclarationsOptions): void {
  const emitted = join(stage, "emitted");
  emit(packages, entry, emitted);
  const doors = new Map<string, Map<string, string>>();
  const read = (file: string) => readFileSync(join(emitted, file), "utf8");
  /** The file of a workspace's package in which a name of its front door is declared. */
  const home = (specifier: string, name: string): string => {
    const [, folder = ""] = WORKSPACE.exec(specifier) ?? [];
    let door = doors.get(folder);
    if (!door) doors.set(folder, (door = namesOf(read(`${folder}/src/index.d.ts`))));
    const file = door.get(name);
    if (file === undefined) throw new Error(`${specifier} exports no '${name}' by name`);
    return `${folder}/src/${file}.d.ts`;
  };

  const taken = new Set<string>();
  const take = (file: string): void => {
    if (taken.has(file)) return;
    taken.add(file);
    const to = (other: string) => {
      take(other);
      const path = relative(dirname(placeOf(file)), placeOf(other)).replace(/\.d\.ts$/, ".js");
      return path.startsWith(".") ? path : `./${path}`;
    };
    const sibling = (path: string) => join(dirname(file), `${path}.d.ts`);
    const text = read(file)
      .replace(NAMED, (_all, keyword: string, type = "", names: string, specifier: string) =>
        byHome(names, (name) => home(specifier, name))
          .map(([other, list]) => `${keyword}${type} { ${list.join(", ")} } from "${to(other)}";`)
          .join("\n"),
      )
      .replace(INLINE, (_all, specifier: string, name: string) => `import("${to(home(specifier, name))}").${name}`)
      .replace(RELATIVE, (_all, before: string, path: string) => `${before}${to(sibling(path))}"`)
      .replace(/((?:from|import\() ?")([^."][^"]*)"/g, (all, before: string, specifier: string) => {
        if (BROUGHT.includes(specifier)) return `${before}${relative(dirname(placeOf(file)), `${specifier}.js`)}"`;
        if (specifier.startsWith("node:") || builtinModules.includes(specifier)) return all;
        throw new Error(`the types of ${file} need '${specifier}', which the package does not bring`);
      });
    const place = join(stage, "types", placeOf(file));
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, text);
  };
  take(`${entry}/src/index.d.ts`);
  for (const name of BROUGHT)
    copyFileSync(join(packages, entry, "node_modules", name, "index.d.ts"), join(stage, "types", `${name}.d.ts`));
  rmSync(emitted, { recursive: true });
}

const placeOf = (file: string): string => file.replace("/src/", "/");

function emit(packages: string, entry: string, outDir: string): void {
  mkdirSync(outDir, { recursive: true });
  const config = join(outDir, "tsconfig.json");
  const compilerOptions = {
    ...{ noEmit: false, declaration: true, emitDeclarationOnly: true, stripInternal: true },
    ...{ outDir, rootDir: packages, typeRoots: [join(packages, entry, "node_modules/@types")] },
    // What is found through node_modules counts as somebody else's, and nothing is emitted for it.
    paths: { "@heddle/*": [join(packages, "*/src/index.ts")] },
  };
  const files = [join(packages, entry, "src/index.ts")];
  writeFileSync(config, JSON.stringify({ extends: join(root, "tsconfig.base.json"), compilerOptions, files }));
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", config], { stdio: "inherit" });
}

/** Names that a front door exports, and the file of each without its ending. */
function namesOf(door: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const [, list = "", file = ""] of door.matchAll(/export(?: type)? \{([^}]*)\} from "\.\/([^"]+)\.ts";/g))
    for (const name of split(list)) names.set(exportedName(name), file);
  return names;
}

/** The names of a statement, by the file that declares each. */
function byHome(names: string, home: (name: string) => string): [string, string[]][] {
  const files = new Map<string, string[]>();
  for (const name of split(names)) {
    const file = home(importedName(name));
    files.set(file, [...(files.get(file) ?? []), name]);
  }
  return [...files];
}

const split = (list: string): string[] =>
  list
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
const importedName = (name: string): string => name.replace(/^type /, "").split(" as ")[0] as string;
const exportedName = (name: string): string =>
  name
    .replace(/^type /, "")
    .split(" as ")
    .at(-1) as string;
