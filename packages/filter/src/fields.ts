/**
 * What an endpoint's rows look like to a filter: which selectors there are, of what type, and so which operators each
 * takes. A row has the API's JSON shape; what it leaves out counts as empty.
 */
import type { MatchOperator } from "./syntax.ts";

export type Fields = Readonly<Record<string, Field>>;

export type Field =
  | { readonly type: "boolean" | "integer" | "string" }
  /** Selected further by key; every value is of one kind. */
  | { readonly type: "map"; readonly of: Field }
  /** Matches where any of its items does. */
  | { readonly type: "list"; readonly of: Field }
  /** Only its members can be asked about. */
  | { readonly type: "object"; readonly fields: Fields };

const string: Field = { type: "string" };
const integer: Field = { type: "integer" };
const boolean: Field = { type: "boolean" };

/** The words to write an endpoint's table with. */
export const fields = {
  string,
  integer,
  boolean,
  strings: { type: "list", of: string } as Field,
  map: (of: Field = string): Field => ({ type: "map", of }),
  list: (of: Fields): Field => ({ type: "list", of: { type: "object", fields: of } }),
  object: (members: Fields): Field => ({ type: "object", fields: members }),
};

const EQUALITY: MatchOperator[] = ["Equal", "Not Equal"];
const EMPTINESS: MatchOperator[] = ["Is Empty", "Is Not Empty"];
const MEMBERSHIP: MatchOperator[] = ["In", "Not In"];

/** The operators that a field takes. */
export function operatorsOf(field: Field): readonly MatchOperator[] {
  switch (field.type) {
    case "string":
      return [...EQUALITY, ...MEMBERSHIP, "Matches", "Not Matches"];
    case "integer":
    case "boolean":
      return EQUALITY;
    case "map":
      return [...EMPTINESS, ...MEMBERSHIP];
    case "list":
      return field.of.type === "object" ? EMPTINESS : [...EMPTINESS, ...MEMBERSHIP];
    case "object":
      return [];
  }
}

/** The field that a selector names, or how many of its parts could not be followed. */
export function findField(fields: Fields, selector: readonly string[]): Field | { missingAt: number } {
  let field = { type: "object", fields } as Field;
  for (const [i, part] of selector.entries()) {
    // A list is passed through: its items are what is selected from.
    const inner: Field = field.type === "list" ? field.of : field;
    if (inner.type === "object" && Object.hasOwn(inner.fields, part)) field = inner.fields[part] as Field;
    else if (inner.type === "map") field = inner.of;
    else return { missingAt: i };
  }
  return field;
}
