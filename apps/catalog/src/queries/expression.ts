/**
 * The expressions of query templates, `web-${match(1)}` (Consul's interpolation language): text with variables, calls, numbers and
 * quoted text inside `${…}`. As in Consul the arithmetic operators all bind alike, from left to right, and the first number
 * decides whether whole numbers or fractions are computed.
 */

/** Thrown with Consul's words. `stage` says whether the text cannot be read, or what it says cannot be computed. */
export class ExpressionError extends Error {
  readonly stage: "evaluation" | "format";

  constructor(stage: "evaluation" | "format", message: string) {
    super(message);
    this.stage = stage;
  }
}

export interface Scope {
  variables: ReadonlyMap<string, string>;
  match: (group: number) => string;
}

type Value = number | string;
type Node =
  | { kind: "value"; value: Value; isFraction?: boolean }
  | { kind: "variable"; name: string; at: string }
  | { kind: "call"; name: string; args: Node[]; at: string }
  | { kind: "parts"; parts: Node[] }
  | { kind: "index"; target: Node; at: string }
  | { kind: "arithmetic"; operator: string; left: Node; right: Node };

/** A parsed text; evaluating it changes nothing, so one serves every name. */
export type Expression = Node;

const MAX_DEPTH = 64;
const MAX_INT = 2n ** 63n - 1n;

/** Reads a text. Throws ExpressionError (format). */
export function parseExpression(text: string): Expression {
  return new Parser(text).literal(false, 0);
}

/** The text that an expression stands for. Throws ExpressionError (evaluation). */
export function evaluate(expression: Expression, scope: Scope): string {
  return toText(compute(expression, scope));
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Text with `${…}` in it, up to the end or, quoted, up to the closing quote. */
  literal(isQuoted: boolean, depth: number): Node {
    const parts: Node[] = [];
    let run = "";
    const flush = () => {
      if (run !== "") parts.push({ kind: "value", value: run });
      run = "";
    };
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined) {
        if (isQuoted) throw syntaxError();
        break;
      }
      this.#at++;
      if (isQuoted && c === '"') break;
      const next = this.#text[this.#at];
      if (isQuoted && c === "\\" && (next === "\\" || next === '"' || next === "n")) {
        run += next === "n" ? "\n" : next;
        this.#at++;
      } else if (c === "$" && next === "$") {
        run += c;
        this.#at++;
      } else if (c === "$" && next === "{") {
        this.#at++;
        flush();
        parts.push(this.#program(depth + 1));
        this.#expect("}");
      } else run += c;
    }
    flush();
    return parts.length === 1 ? (parts[0] as Node) : { kind: "parts", parts };
  }

  #program(depth: number): Node {
    this.#peek();
    const start = this.#at;
    let left = this.#operand(depth);
    for (;;) {
      const c = this.#peek();
      if (c === "[") {
        this.#at++;
        this.#program(depth + 1);
        this.#expect("]");
        left = { kind: "index", target: left, at: this.#position(start) };
      } else if (c !== undefined && "+-*/%".includes(c)) {
        this.#at++;
        left = { kind: "arithmetic", operator: c, left, right: this.#operand(depth) };
      } else return left;
    }
  }

  #operand(depth: number): Node {
    if (depth > MAX_DEPTH)
      throw new ExpressionError(
        "format",
        `parse error: more than ${MAX_DEPTH} levels of nesting: the limit is ${MAX_DEPTH}`,
      );
    const c = this.#peek();
    if (c === "(") {
      this.#at++;
      const inner = this.#program(depth + 1);
      this.#expect(")");
      return inner;
    }
    if (c === "-") {
      this.#at++;
      return {
        kind: "arithmetic",
        operator: "-",
        left: { kind: "value", value: 0 },
        right: this.#operand(depth + 1),
      };
    }
    if (c === '"') {
      this.#at++;
      return this.literal(true, depth + 1);
    }
    if (c !== undefined && c >= "0" && c <= "9") return this.#number();
    return this.#name(depth);
  }

  #number(): Node {
    const [text = ""] = /^\d+(?:\.\d*)?/.exec(this.#text.slice(this.#at, this.#at + 400)) ?? [];
    this.#at += text.length;
    if (text.includes(".")) return { kind: "value", value: Number(text), isFraction: true };
    if (BigInt(text) > MAX_INT) throw syntaxError();
    return { kind: "value", value: Number(text) };
  }

  #name(depth: number): Node {
    const start = this.#at;
    while (isNameCharacter(this.#text[this.#at], this.#text[this.#at - 1])) this.#at++;
    const name = this.#text.slice(start, this.#at);
    if (name === "") throw syntaxError();
    const at = this.#position(start);
    if (this.#peek() !== "(") return { kind: "variable", name, at };
    this.#at++;
    const args: Node[] = [];
    while (this.#peek() !== ")") {
      if (args.length > 0) this.#expect(",");
      args.push(this.#program(depth + 1));
    }
    this.#at++;
    return { kind: "call", name, args, at };
  }

  /** The next character that is no blank. */
  #peek(): string | undefined {
    while (/\s/.test(this.#text[this.#at] ?? "x")) this.#at++;
    return this.#text[this.#at];
  }

  #expect(wanted: string): void {
    if (this.#peek() !== wanted) throw syntaxError();
    this.#at++;
  }

  // Consul counts columns from 1 in the first line, and from 2 in the others.
  #position(at: number): string {
    const before = this.#text.slice(0, at);
    const lines = before.split("\n");
    const column = (lines.at(-1) ?? "").length + (lines.length > 1 ? 2 : 1);
    return `${lines.length}:${column}`;
  }
}

const isNameCharacter = (c: string | undefined, last: string | undefined): boolean =>
  c !== undefined && (/[\p{L}\p{N}_.-]/u.test(c) || (c === "*" && last === "."));

const syntaxError = () => new ExpressionError("format", "parse error: syntax error");

function compute(node: Node, scope: Scope): Value {
  switch (node.kind) {
    case "value":
      return node.value;
    case "parts":
      return node.parts.map((part) => toText(compute(part, scope))).join("");
    case "variable": {
      const value = scope.variables.get(node.name);
      if (value === undefined) throw failure(`${node.at}: unknown variable accessed: ${node.name}`);
      return value;
    }
    case "call": {
      if (node.name !== "match") throw failure(`${node.at}: unknown function called: ${node.name}`);
      const [argument] = node.args;
      if (argument === undefined || node.args.length !== 1)
        throw failure(`${node.at}: match: expected 1 arguments, got ${node.args.length}`);
      return scope.match(toWhole(compute(argument, scope)));
    }
    case "index":
      throw failure(
        `At column ${node.at.split(":")[1]}, line ${node.at.split(":")[0]}: invalid index operation into non-indexable type: TypeString`,
      );
    case "arithmetic":
      return computeArithmetic(node, scope);
  }
}

function computeArithmetic(node: Node & { kind: "arithmetic" }, scope: Scope): Value {
  const isFraction = decidesFraction(node);
  const read = isFraction ? toFraction : toWhole;
  const left = read(compute(node.left, scope));
  const right = read(compute(node.right, scope));
  const round = isFraction ? (n: number) => n : Math.trunc;
  switch (node.operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    default:
      // Consul's server ends here.
      if (right === 0 && !isFraction) throw failure("division by zero");
      return round(node.operator === "/" ? left / right : left % right);
  }
}

// The first operand that is a number decides; text counts as a whole number.
function decidesFraction(node: Node): boolean {
  if (node.kind !== "arithmetic") return node.kind === "value" && node.isFraction === true;
  return isNumber(node.left) ? decidesFraction(node.left) : decidesFraction(node.right);
}

const isNumber = (node: Node): boolean =>
  node.kind === "arithmetic" || (node.kind === "value" && typeof node.value === "number");

function toWhole(value: Value): number {
  if (typeof value === "number") return Math.trunc(value);
  if (/^[+-]?\d{1,15}$/.test(value)) return Number(value);
  throw failure(`__builtin_StringToInt: strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
}

function toFraction(value: Value): number {
  if (typeof value === "number") return value;
  const parsed = value.trim() === "" ? Number.NaN : Number(value);
  if (Number.isFinite(parsed)) return parsed;
  throw failure(`__builtin_StringToFloat: strconv.ParseFloat: parsing ${JSON.stringify(value)}: invalid syntax`);
}

const toText = (value: Value): string => (typeof value === "number" ? String(value === 0 ? 0 : value) : value);

const failure = (message: string) => new ExpressionError("evaluation", message);
