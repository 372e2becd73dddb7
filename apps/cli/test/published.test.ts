/**
 * The published documents are those of this version. After a change of the API or of definitions:
 * `vitest run apps/cli/test/published -u`, and commit what it wrote.
 */
import { decodeObject, parseExactBody } from "@heddle/daemon";
import { jsonSchema } from "@heddle/service-definition";
import { describe, expect, it } from "vitest";
import { ANSWERS } from "../src/compose/answers.ts";
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

describe("answers that are described", () => {
  it("hold nothing else than what a running agent answers", async () => {
    await using agent = await startHeddle();
    const say = (path: string, method = "GET", body?: object) =>
      fetch(`${agent.url}${path}`, { method, ...(body && { body: JSON.stringify(body) }) });
    const service = { Name: "web", Port: 80, Tags: ["a"], Meta: { v: "1" }, Check: { TTL: "10s" } };
    const sidecar = { Connect: { SidecarService: {} }, TaggedAddresses: { lan: { Address: "10.0.0.1", Port: 1 } } };
    expect((await say("/v1/agent/service/register", "PUT", { ...service, ...sidecar })).status).toBe(200);
    await expect.poll(async () => (await say("/v1/health/service/web")).text()).toContain('"web"');
    const made = async (path: string, method: string, body: object) =>
      ((await (await say(path, method, body)).json()) as { ID: string }).ID;
    const rule = { SourceName: "web", DestinationName: "db", Action: "allow" };
    const ids: Record<string, string> = {
      "/v1/session/": await made("/v1/session/create", "PUT", { Name: "s", TTL: "30s" }),
      "/v1/connect/intentions/": await made("/v1/connect/intentions", "POST", rule),
    };
    const { Config } = (await (await say("/v1/agent/self")).json()) as { Config: { NodeName: string } };
    const argument = (row: string): string =>
      Object.entries(ids).find(([start]) => row.startsWith(start) && !row.includes("/node/"))?.[1] ??
      (/\/(?:node|node-services)\/$/.test(row) ? Config.NodeName : row.endsWith("/state/") ? "any" : "web");
    const queries: Record<string, string> = {
      "/v1/connect/intentions/check": "?source=web&destination=db",
      "/v1/connect/intentions/match": "?by=source&name=web",
    };
    await say("/v1/kv/web?flags=18446744073709551615", "PUT", {});
    await say("/v1/event/fire/web", "PUT", {});
    let asked = 0;
    for (const [key, spec] of Object.entries(ANSWERS)) {
      const [method, row = ""] = key.split(" ");
      if (method !== "GET") continue;
      const path = `${row}${row.endsWith("/") ? argument(row) : ""}${queries[row] ?? ""}`;
      const answer = await say(path);
      const text = await answer.text();
      expect([200, 429, 503], `${path}: ${text}`).toContain(answer.status);
      // Go's decoder, which takes no field that it does not know and no value of another type.
      expect(() => decodeObject({ Answer: parseExactBody(Buffer.from(text)) }, { Answer: spec }), key).not.toThrow();
      asked++;
    }
    expect(asked).toBeGreaterThan(30);
  });
});

describe("docs/schemas", () => {
  it("hold the schema of definition files", async () => {
    const schema = await jsonSchema();
    await expect(pretty(schema)).toMatchFileSnapshot("../../../docs/schemas/service-definition.json");
  });
});
