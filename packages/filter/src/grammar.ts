/**
 * Expressions as text: go-bexpr's grammar, read by descent. `or` binds weakest, then `and`, then `not`, then parentheses
 * and comparisons. The order in which alternatives are tried is the grammar's own, for the sake of its errors.
 */
import { FilterError } from "./errors.ts";
import { Scanner } from "./scanner.ts";
import type { Expression, Match, MatchOperator } from "./syntax.ts";

const MAX_DEPTH = 64; // parentheses in parentheses
const WORD = /[a-zA-Z0-9_]/;
const LETTER = /[a-zA-Z]/;
const DIGIT = /[0-9]/;

/** Parses an expression. Throws FilterError with the place and what was expected there. */
export function parseFilter(text: string): Expression {
  const grammar = new Grammar(text);
  const { scanner } = grammar;
  scanner.space();
  const expression = grammar.or();
  if (expression) {
    scanner.space();
    if (scanner.end() && !scanner.hasFault) return expression;
  }
  throw scanner.error();
}

type Parsed = { expression: Expression | undefined; end: number };

class Grammar {
  readonly scanner: Scanner;
  #depth = 0;
  /** Parenthesized expressions by where they start: each is read twice where its parenthesis is not closed. */
  readonly #seen = new Map<number, Parsed>();

  constructor(text: string) {
    this.scanner = new Scanner(text);
  }

  or(): Expression | undefined {
    const { scanner } = this;
    const seen = this.#seen.get(scanner.at);
    if (seen) {
      scanner.at = seen.end;
      return seen.expression;
    }
    const start = scanner.at;
    const any = this.#chain("or", () => this.#chain("and", () => this.#not(), "and"), "or");
    this.#seen.set(start, { expression: any, end: scanner.at });
    return any;
  }

  // Loops instead of the grammar's right recursion: a list of thousands must not be thousands of calls deep.
  #chain(word: string, operand: () => Expression | undefined, kind: "and" | "or"): Expression | undefined {
    const { scanner } = this;
    const first = operand();
    if (!first) return undefined;
    const operands = [first];
    for (;;) {
      const start = scanner.at;
      const next = scanner.space() && scanner.literal(word) && scanner.space() ? operand() : undefined;
      if (!next) {
        scanner.back(start);
        break;
      }
      operands.push(next);
    }
    if (operands.length === 1) return first;
    return kind === "or" ? { kind, any: operands } : { kind, all: operands };
  }

  #not(): Expression | undefined {
    const { scanner } = this;
    const start = scanner.at;
    const starts: number[] = [];
    for (;;) {
      const before = scanner.at;
      if (!(scanner.literal("not") && scanner.space())) {
        scanner.back(before);
        break;
      }
      starts.push(before);
    }
    for (;;) {
      const operand = this.#group();
      if (operand) return starts.length % 2 === 1 ? { kind: "not", operand } : operand;
      // What looked like `not` may be a word of its own: `not in Tags`.
      const before = starts.pop();
      if (before === undefined) {
        scanner.back(start);
        return undefined;
      }
      scanner.at = before;
    }
  }

  #group(): Expression | undefined {
    const { scanner } = this;
    const start = scanner.at;
    if (scanner.literal("(")) {
      if (++this.#depth > MAX_DEPTH)
        throw new FilterError(`parentheses are nested too deeply: the limit is ${MAX_DEPTH}`, { status: 400 });
      scanner.space();
      const inner = this.or();
      if (inner) {
        scanner.space();
        if (scanner.literal(")")) {
          this.#depth -= 1;
          return inner;
        }
        scanner.fault("grouping", "Unmatched parentheses");
      }
      this.#depth -= 1;
      scanner.back(start);
    }
    return this.#match();
  }

  #match(): Expression | undefined {
    const { scanner } = this;
    const start = scanner.at;
    const selector = this.#selector();
    if (selector) {
      const afterSelector = scanner.at;
      const operator = this.#firstOf(VALUE_OPERATORS);
      const value = operator && this.#value();
      if (operator && value !== undefined) return match(selector, operator, value);
      scanner.at = afterSelector;
      const empty = this.#firstOf(EMPTY_OPERATORS);
      if (empty) return match(selector, empty);
    }
    scanner.at = start;
    const value = this.#value();
    if (value !== undefined) {
      const operator = this.#firstOf(IN_OPERATORS);
      const of = operator && this.#selector();
      if (operator && of) return match(of, operator, value);
      if (operator) scanner.fault("match", "Invalid selector");
    }
    scanner.back(start);
    return undefined;
  }

  #firstOf(operators: readonly OperatorForm[]): MatchOperator | undefined {
    const { scanner } = this;
    const start = scanner.at;
    for (const { operator, words, mustSpace, endSpace } of operators) {
      scanner.at = start;
      const isThere =
        words.every((word) => (scanner.space() || !mustSpace) && scanner.literal(word)) &&
        (endSpace === "none" || scanner.space() || endSpace === "may");
      if (isThere) return operator;
    }
    scanner.at = start;
    return undefined;
  }

  #selector(): string[] | undefined {
    const first = this.#identifier();
    if (first === undefined) return undefined;
    const { scanner } = this;
    const path = [first];
    for (;;) {
      const start = scanner.at;
      const part = scanner.literal(".") ? this.#identifier() : this.#index();
      if (part === undefined) {
        scanner.back(start);
        return path;
      }
      path.push(part);
    }
  }

  #identifier(): string | undefined {
    const { scanner } = this;
    const start = scanner.at;
    if (!scanner.one(LETTER, "[a-zA-Z]")) return undefined;
    scanner.many(WORD, "[a-zA-Z0-9_]");
    return scanner.text.slice(start, scanner.at);
  }

  #index(): string | undefined {
    const { scanner } = this;
    if (!scanner.literal("[")) return undefined;
    scanner.space();
    const key = this.#string();
    if (key === undefined) {
      scanner.fault("index", "Invalid index");
      return undefined;
    }
    scanner.space();
    if (scanner.literal("]")) return key;
    scanner.fault("index", "Unclosed index expression");
    return undefined;
  }

  #value(): string | undefined {
    return this.#selector()?.join(".") ?? this.#number() ?? this.#string();
  }

  #number(): string | undefined {
    const { scanner } = this;
    const start = scanner.at;
    scanner.literal("-");
    if (!scanner.literal("0")) {
      if (!scanner.one(/[1-9]/, "[1-9]")) {
        scanner.back(start);
        return undefined;
      }
      scanner.many(DIGIT, "[0-9]");
    }
    const whole = scanner.at;
    if (!(scanner.literal(".") && scanner.one(DIGIT, "[0-9]"))) scanner.at = whole;
    else scanner.many(DIGIT, "[0-9]");
    const end = scanner.at;
    if (scanner.space() || scanner.end() || scanner.literal(")")) {
      scanner.at = end;
      return scanner.text.slice(start, end);
    }
    scanner.fault("number", "Invalid number literal", end);
    scanner.back(start);
    return undefined;
  }

  #string(): string | undefined {
    const { scanner } = this;
    const start = scanner.at;
    const quote = scanner.literal("`") ? "`" : scanner.literal('"') ? '"' : undefined;
    if (quote === undefined) return undefined;
    const end = scanner.text.indexOf(quote, scanner.at);
    if (end < 0) {
      scanner.fault("string", "Unterminated string literal", scanner.text.length);
      scanner.back(start);
      return undefined;
    }
    const content = scanner.text.slice(scanner.at, end);
    scanner.at = end + 1;
    if (quote === "`") return content.replaceAll("\r", "");
    const text = unquote(content);
    if (text === undefined) scanner.fault("string", "invalid syntax", start);
    return text ?? content;
  }
}

interface OperatorForm {
  operator: MatchOperator;
  words: string[];
  /** Whether white space must stand before each word. */
  mustSpace: boolean;
  /** Whether it must, may or does not belong to the operator after the last. */
  endSpace: "may" | "must" | "none";
}

const form = (operator: MatchOperator, words: string[], endSpace: OperatorForm["endSpace"] = "must"): OperatorForm => ({
  operator,
  words,
  mustSpace: endSpace !== "may",
  endSpace,
});
const VALUE_OPERATORS = [
  form("Equal", ["=="], "may"),
  form("Not Equal", ["!="], "may"),
  form("In", ["contains"]),
  form("Not In", ["not", "contains"]),
  form("Matches", ["matches"]),
  form("Not Matches", ["not", "matches"]),
];
const EMPTY_OPERATORS = [
  form("Is Empty", ["is", "empty"], "none"),
  form("Is Not Empty", ["is", "not", "empty"], "none"),
];
const IN_OPERATORS = [form("In", ["in"]), form("Not In", ["not", "in"])];

function match(selector: string[], operator: MatchOperator, value?: string): Match {
  return { kind: "match", selector, operator, ...(value !== undefined && { value }) };
}

const ESCAPES: Record<string, string> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
};

/** What stands between double quotes, its escapes resolved (Go's strconv.Unquote); undefined where it is not valid. */
function unquote(content: string): string | undefined {
  if (!content.includes("\\")) return content.includes("\n") ? undefined : content;
  let isValid = !content.includes("\n");
  const text = content.replace(
    /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([\s\S])|$)/g,
    (_all, x?: string, u?: string, long?: string, octal?: string, one?: string) => {
      const code = x ?? u ?? long;
      if (code !== undefined) return fromCode(Number.parseInt(code, 16)) ?? fail();
      if (octal !== undefined) return fromCode(Number.parseInt(octal, 8)) ?? fail();
      return ESCAPES[one ?? ""] ?? fail();
    },
  );
  function fail(): string {
    isValid = false;
    return "";
  }
  return isValid ? text : undefined;
}

const fromCode = (code: number): string | undefined =>
  code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? undefined : String.fromCodePoint(code);
