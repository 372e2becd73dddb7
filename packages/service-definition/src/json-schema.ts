/**
 * The JSON Schema of a service-definition file, for editors. The table of fields becomes zod schemas, and zod's toJSONSchema
 * writes them; zod is loaded only here, since importing it takes longer than starting an agent may.
 */
import type { ZodType, z } from "zod";
import { type AnyField, members, toSnake } from "@heddle/hcl";
import { fileField } from "./fields.ts";

type Zod = typeof z;
type Schema = ZodType;

export async function jsonSchema(): Promise<Record<string, unknown>> {
  const { z } = await import("zod");
  const schema = z.toJSONSchema(toZod(z, fileField, new Map()), { io: "input", reused: "ref" });
  return { ...schema, title: "Heddle service definitions" };
}

/** The zod schema of a field; an object's is built once, so that a sidecar may contain what contains it. */
export function toZod(z: Zod, field: AnyField, known: Map<unknown, Schema>): Schema {
  switch (field.type) {
    case "string":
      return field.want === "text" ? z.string() : z.string().describe(field.want);
    case "boolean":
      return z.boolean();
    case "integer":
      return z.int();
    case "number":
      return z.number();
    case "duration":
      return z
        .string()
        .regex(/^[+-]?(0|(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+$/)
        .describe(field.want);
    case "any":
      return z.unknown();
    case "list":
      return z.array(toZod(z, field.of as AnyField, known));
    case "map":
      return z.record(z.string(), toZod(z, field.of as AnyField, known));
    case "object": {
      const made = known.get(field.fields);
      if (made) return made;
      const lazy = z.lazy(() => object);
      known.set(field.fields, lazy);
      const shape = Object.entries(members(field)).map(([name, member]) => [
        toSnake(name),
        toZod(z, member, known).optional(),
      ]);
      const object: Schema = z.strictObject(Object.fromEntries(shape) as Record<string, Schema>);
      known.set(field.fields, object);
      return object;
    }
  }
}
