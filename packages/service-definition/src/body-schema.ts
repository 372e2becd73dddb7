/** JSON Schemas of what the register endpoints take, from the table that reads it. */
import { type AnyField, members } from "@heddle/hcl";
import { checkField, serviceField, sidecar } from "./fields.ts";

type Schema = Record<string, unknown>;

/** By name; they refer to each other under `root`, as "#/components/schemas/Service". */
export function bodySchemas(root: string): Record<"Check" | "Service", Schema> {
  const refs = new Map<unknown, string>([
    [serviceField.fields, `${root}/Service`],
    [sidecar, `${root}/Service`],
    [checkField.fields, `${root}/Check`],
  ]);
  return { Check: objectSchema(checkField, refs), Service: objectSchema(serviceField, refs) };
}

function objectSchema(field: AnyField, refs: Map<unknown, string>): Schema {
  const properties = Object.entries(members(field)).map(([name, member]) => [name, fieldSchema(member, refs)]);
  return { type: "object", properties: Object.fromEntries(properties) as Schema, additionalProperties: false };
}

function fieldSchema(field: AnyField, refs: Map<unknown, string>): Schema {
  switch (field.type) {
    case "string":
      return field.want === "text" ? { type: "string" } : { type: "string", description: field.want };
    case "boolean":
    case "integer":
    case "number":
      return { type: field.type };
    case "duration":
      return { type: ["string", "number"], description: field.want };
    case "any":
      return {};
    case "list":
      return { type: "array", items: fieldSchema(field.of as AnyField, refs) };
    case "map":
      return { type: "object", additionalProperties: fieldSchema(field.of as AnyField, refs) };
    case "object": {
      const ref = refs.get(field.fields);
      return ref === undefined ? objectSchema(field, refs) : { $ref: ref };
    }
  }
}
