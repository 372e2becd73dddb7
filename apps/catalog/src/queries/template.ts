/** Query templates: a definition whose texts are filled in from the name that was asked for. */
import { refusal } from "@heddle/daemon";
import { compileGroups } from "@heddle/filter";
import type { QueryRecord } from "../records.ts";
import { evaluate, type Expression, ExpressionError, parseExpression, type Scope } from "./expression.ts";

/** Fills a template in for a name. Throws the refusals that Consul answers. */
export type Render = (name: string) => QueryRecord;

type Service = QueryRecord["Service"];

const MAX_RENDERED = 64 * 1024; // characters of all texts: a long name times many variables must not fill the memory

export const isTemplate = ({ Template }: QueryRecord): boolean => Template.Type !== "";

/** Compiles a template and tries it with its own name, as Consul does. Needs the RE2 engine where it has a Regexp. */
export function compileTemplate(record: QueryRecord): Render {
  const { Type, Regexp, RemoveEmptyTags } = record.Template;
  if (Type !== "name_prefix_match") throw broken(`Bad Template.Type '${Type}'`);
  const expressions = new Map<string, Expression>();
  mapTexts(record.Service, (text, path) => {
    expressions.set(path, parseAt(text, path));
    return text;
  });
  const groups = Regexp === "" ? undefined : compileRegexp(Regexp);
  const render: Render = (name) => {
    const scope = scopeOf(record.Name, name, groups?.(name));
    let size = 0;
    const Service = mapTexts(record.Service, (text, path) => {
      const filled = evaluateAt(expressions.get(path) as Expression, scope, text, path);
      size += filled.length;
      if (size > MAX_RENDERED)
        throw refusal(
          400,
          `the template of query '${record.ID}' fills in more than ${MAX_RENDERED} characters: the limit`,
        );
      return filled;
    });
    if (RemoveEmptyTags) Service.Tags = Service.Tags?.filter((tag) => tag !== "") ?? [];
    return { ...record, Service };
  };
  try {
    render(record.Name);
  } catch (cause) {
    throw broken((cause as Error).message, cause);
  }
  return render;
}

function scopeOf(prefix: string, name: string, matches: readonly string[] | undefined): Scope {
  return {
    variables: new Map([
      ["name.full", name],
      ["name.prefix", prefix],
      ["name.suffix", name.startsWith(prefix) ? name.slice(prefix.length) : name],
      ["agent.segment", ""], // network segments are Consul Enterprise's
    ]),
    match: (group) => matches?.[group] ?? "",
  };
}

/** Every text of a service query that a template fills in, in Consul's order, with the path that errors name. */
function mapTexts(service: Service, change: (text: string, path: string) => string): Service {
  const list = (name: string, texts: string[] | null) => texts && texts.map((text, i) => change(text, `${name}[${i}]`));
  const map = (name: string, texts: Record<string, string> | null) =>
    texts && Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, change(text, `${name}[${key}]`)]));
  return {
    ...service,
    Service: change(service.Service, ".Service"),
    Failover: { ...service.Failover, Datacenters: list(".Failover.Datacenters", service.Failover.Datacenters) },
    IgnoreCheckIDs: list(".IgnoreCheckIDs", service.IgnoreCheckIDs),
    Near: change(service.Near, ".Near"),
    Tags: list(".Tags", service.Tags),
    NodeMeta: map(".NodeMeta", service.NodeMeta),
    ServiceMeta: map(".ServiceMeta", service.ServiceMeta),
  };
}

function parseAt(text: string, path: string): Expression {
  try {
    return parseExpression(text);
  } catch (cause) {
    if (!(cause instanceof ExpressionError)) throw cause;
    throw broken(`Bad format '${text}' in Service${path}: ${cause.message}`, cause);
  }
}

function evaluateAt(expression: Expression, scope: Scope, text: string, path: string): string {
  try {
    return evaluate(expression, scope);
  } catch (cause) {
    if (!(cause instanceof ExpressionError)) throw cause;
    throw refusal(500, `Bad evaluation for '${text}' in Service${path}: ${cause.message}`, cause);
  }
}

function compileRegexp(pattern: string): (text: string) => string[] | undefined {
  try {
    return compileGroups(pattern);
  } catch (cause) {
    const message = (cause as Error).message.replace(/^Failed to compile regular expression "(?:[^"\\]|\\.)*": /, "");
    throw broken(`Bad Regexp: ${message}`, cause);
  }
}

const broken = (message: string, cause?: unknown) => refusal(500, `failed compiling template: ${message}`, cause);
