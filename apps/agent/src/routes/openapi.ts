/** /v1/openapi.json: the API of this node as a document, made of the very tables that answer. */
import { type ApiTable, type Operations, reply } from "@heddle/daemon";

export interface OpenApiDeps {
  version: string;
  /** What the rows of all daemons mean. */
  operations: () => Promise<Operations>;
  /** All rows that are answered here; those that are passed on are known by their operations. */
  table: () => ApiTable;
}

export function openApiTable({ version, operations, table }: OpenApiDeps): ApiTable {
  let document: Promise<unknown> | undefined;
  const create = async () => {
    const { openApiDocument } = await import("@heddle/daemon/openapi");
    const { bodySchemas } = await import("@heddle/service-definition");
    const { SCHEMAS } = await import("../operations.ts");
    const rows = Object.fromEntries(Object.entries(table()).map(([path, row]) => [path, Object.keys(row)]));
    return openApiDocument({ version, rows, operations: await operations(), schemas: bodySchemas(SCHEMAS) });
  };
  return {
    "/v1/openapi.json": { GET: async (request) => reply(request, await (document ??= create())) },
  };
}
