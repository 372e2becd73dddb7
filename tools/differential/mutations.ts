const OTHERS: readonly unknown[] = [null, "", "x", -1, 1.5, true, [], {}, ["a"], { a: "b" }, "10s", undefined];

type Json = Record<string, unknown>;

/** A body with each of its fields, at any depth, in turn replaced by a value of another type, or left out. */
export function mutations(body: object): unknown[] {
  const found: unknown[] = [];
  const replace = (value: unknown, put: (other: unknown) => unknown): void => {
    for (const other of OTHERS) found.push(put(other));
    if (typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      replace((value as Json)[key], (other) => {
        const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Json;
        copy[key] = other;
        return put(copy);
      });
    }
  };
  for (const key of Object.keys(body)) replace((body as Json)[key], (other) => ({ ...body, [key]: other }));
  return found;
}

/** Bodies that are no object with fields. */
export const RAW_BODIES = ["", "null", "[]", "{}", "{", '"x"', "1", '{"Bogus":1}', "[{}]", "[null]"];
