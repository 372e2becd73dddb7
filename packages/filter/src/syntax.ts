/** The tree that an expression becomes. */

export type MatchOperator =
  | "Equal"
  | "In"
  | "Is Empty"
  | "Is Not Empty"
  | "Matches"
  | "Not Equal"
  | "Not In"
  | "Not Matches";

/** One comparison. `value` is as written, quotes removed; absent for the two that ask for emptiness. */
export interface Match {
  kind: "match";
  selector: string[];
  operator: MatchOperator;
  value?: string;
}

export type Expression =
  | Match
  | { kind: "and"; all: Expression[] }
  | { kind: "not"; operand: Expression }
  | { kind: "or"; any: Expression[] };
