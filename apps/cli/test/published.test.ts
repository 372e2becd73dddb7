/**
 * The published documents are those of this version. After a change of the API or of definitions:
 * `vitest run apps/cli/test/published -u`, and commit what it wrote.
 */
import { jsonSchema } from "@heddle/service-definition";
import { describe, expect, it } from "vitest";
import { startHeddle } from "./harness.ts";

interface Parameter {
  name: string;
  in: string;
}
interface Operation {
  operationId: string;
  summary: string;
  parameters: (Parameter | { $ref: string })[];
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: Record<string, Record<string, unknown>>;
}

const pretty = (value: unknown): string => `${JSON.stringify(value, undefined, 1)}\n`;

describe("docs/openapi.json", () => {
  it("is what an agent serves, with every row told of", async () => {
    await using agent = await startHeddle();
    const document = (await (await fetch(`${agent.url}/v1/openapi.json`)).json()) as Document;
    await expect(pretty(document)).toMatchFileSnapshot("../../../docs/openapi.json");

    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    );
    expect(operations.length).toBeGreaterThan(100);
    const untold = operations.filter(({ method, operation }) =>
      operation.summary.startsWith(`${method.toUpperCase()} /`),
    );
    expect(untold.map(({ method, path }) => `${method} ${path}`)).toEqual([]);
    expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(operations.length);
    for (const { path, operation } of operations) {
      const inPath = operation.parameters.flatMap((p) => ("in" in p && p.in === "path" ? [p.name] : []));
      expect(inPath).toEqual([...path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]));
    }
    // No operation is told of that is not there: what is documented is what the rows allow.
    const allowed = await Promise.all(
      Object.entries(document.paths).map(async ([path, methods]) => {
        const url = `${agent.url}${path.replace(/\{[^}]+\}/g, "x")}`;
        const allow = (await fetch(url, { method: "OPTIONS" })).headers.get("allow")?.split(",") ?? [];
        return Object.keys(methods).every((method) => allow.includes(method.toUpperCase()))
          ? []
          : [`${path}: ${allow.join()}`];
      }),
    );
    expect(allowed.flat()).toEqual([]);
  });

  it("refers to nothing that is not in it", async () => {
    await using agent = await startHeddle();
    const document = (await (await fetch(`${agent.url}/v1/openapi.json`)).json()) as Document;
    const refs = new Set(
      [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/([^"/]+)\/([^"]+)"/g)].map((m) =>
        m.slice(1, 3).join(" "),
      ),
    );
    expect(document.openapi).toBe("3.1.0");
    expect(refs.size).toBeGreaterThan(20);
    for (const ref of refs) {
      const [kind = "", name = ""] = ref.split(" ");
      expect(document.components[kind]).toHaveProperty([name]);
    }
  });
});

describe("docs/schemas", () => {
  it("hold the schema of definition files", async () => {
    const schema = await jsonSchema();
    await expect(pretty(schema)).toMatchFileSnapshot("../../../docs/schemas/service-definition.json");
  });
});
