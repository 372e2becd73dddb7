/** The JSON Schema of a service-definition file, for editors. */
export async function jsonSchema(): Promise<Record<string, unknown>> {
  throw new Error("being written");
}
