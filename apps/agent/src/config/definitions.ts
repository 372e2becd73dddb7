/** The services and checks of configuration files, each problem with its line. */
import {
  type CheckDefinition,
  readCheck,
  Reader,
  readService,
  type ServiceDefinition,
} from "@heddle/service-definition";
import type { Path } from "@heddle/hcl";
import type { Source } from "./sources.ts";

interface Placed<T> {
  definition: T;
  place: string;
}

export interface Definitions {
  services: Placed<ServiceDefinition>[];
  checks: Placed<CheckDefinition>[];
}

export function readDefinitions(sources: readonly Source[], report: (problem: string) => void): Definitions {
  const found: Definitions = { services: [], checks: [] };
  for (const source of sources) {
    const reader = () =>
      new Reader("file", ({ path, message }) => report(`${source.place(path)}: ${message}`), source.format === "hcl");
    for (const { value, path } of items(source, "service"))
      found.services.push({ definition: readService(value, path, reader()), place: source.place(path) });
    for (const { value, path } of items(source, "check")) {
      // Consul shows no type for a check that stands alone in a file.
      const definition = { ...readCheck(value, path, reader()), Type: "" };
      found.checks.push({ definition, place: source.place(path) });
    }
  }
  return found;
}

/** What stands under `service` and `services`. Values of another shape were refused when the file was merged. */
function items(source: Source, name: string): { value: object; path: Path }[] {
  return Object.entries(source.value).flatMap(([key, value]) => {
    const isSeveral = key.toLowerCase() === `${name}s`;
    if (key.toLowerCase() !== name && !isSeveral) return [];
    if (!Array.isArray(value))
      return isObject(value) && (!isSeveral || source.format === "hcl") ? [{ value, path: [key] }] : [];
    if (!isSeveral && value.length > 1) return [];
    return value.flatMap((item: unknown, i) => (isObject(item) ? [{ value: item, path: [key, i] }] : []));
  });
}

/** Script checks where they are not allowed, and ids that are given twice. */
export function checkDefinitions(
  { services, checks }: Definitions,
  scripts: boolean,
  report: (problem: string) => void,
  warn: (text: string) => void,
): void {
  const all = [
    ...checks,
    ...services.flatMap((s) => s.definition.Checks.map((definition) => ({ definition, place: s.place }))),
  ];
  for (const { definition, place } of all)
    if (definition.Args?.length && !scripts)
      report(
        `${place}: check '${definition.CheckID}' runs a script, which is off: want 'enable_local_script_checks' or 'enable_script_checks' to be true`,
      );
  const seen = new Map<string, string>();
  for (const { definition, place } of services) {
    const first = seen.get(definition.ID);
    if (first)
      warn(`${place}: service ID '${definition.ID}' was given at ${first} already; the later definition counts`);
    seen.set(definition.ID, place);
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
