/** Intentions out of files, as they would be stored: config entries, or intentions as the HTTP API has them; JSON or HCL. */
import { decodeConfigEntry, normaliseConfigEntry } from "@heddle/config-entries";
import { InvalidArgumentError } from "@heddle/daemon";
import { parseHcl } from "@heddle/hcl";
import { type Intention, precedence } from "@heddle/intentions";

const MAX_RULES = 100_000;

/** Reads one file. Throws InvalidArgumentError with where the problem is. `name` is for messages and ids. */
export function readRules(text: string, name: string): Intention[] {
  const items = readRuleItems(text, name);
  const rules = items.flatMap((item, i) => {
    const where = items.length === 1 ? name : `${name}[${i}]`;
    try {
      return isConfigEntry(item) ? fromEntry(item, where) : [fromIntention(item, where)];
    } catch (cause) {
      throw new InvalidArgumentError(`${where}: ${(cause as Error).message}`, { cause });
    }
  });
  if (rules.length > MAX_RULES)
    throw new InvalidArgumentError(`${name} has ${rules.length} rules, at most ${MAX_RULES} are accepted`);
  return rules;
}

/** What stands in a file, as it stands there: entries and intentions. */
export function readRuleItems(text: string, name: string): unknown[] {
  const value: unknown = /^\s*\[/.test(text) ? JSON.parse(text) : parseHcl(text, name).value;
  return Array.isArray(value) ? (value as unknown[]) : [value];
}

const isConfigEntry = (item: unknown): boolean =>
  typeof item === "object" && item !== null && (Object.hasOwn(item, "Kind") || Object.hasOwn(item, "kind"));

function fromEntry(item: unknown, where: string): Intention[] {
  const entry = normaliseConfigEntry(decodeConfigEntry(item));
  if (entry.Kind !== "service-intentions") return []; // says nothing of who may talk to whom
  return (entry.Sources ?? []).map((source, i) =>
    toRule(`${where}: Sources[${i}]`, {
      SourceNS: source.Namespace || "default",
      SourceName: source.Name,
      DestinationName: entry.Name,
      Action: source.Action ?? "",
      ...(source.Description !== undefined && { Description: source.Description }),
      ...(source.Permissions && { Permissions: source.Permissions }),
      ...(entry.JWT && { JWT: entry.JWT }),
      ...(source.Peer && { SourcePeer: source.Peer }),
    }),
  );
}

function fromIntention(item: unknown, where: string): Intention {
  if (typeof item !== "object" || item === null)
    throw new InvalidArgumentError(
      "want a service-intentions entry or an intention with SourceName and DestinationName",
    );
  const text = (key: string): string => {
    const value = Object.hasOwn(item, key) ? (item as Record<string, unknown>)[key] : "";
    if (typeof value !== "string") throw new InvalidArgumentError(`${key} is no text`);
    return value;
  };
  // Everything else is checked as the server checks it: as the one source of its destination's entry.
  const { Permissions, JWT } = item as { Permissions?: unknown; JWT?: unknown };
  const [rule] = fromEntry(
    {
      Kind: "service-intentions",
      Name: text("DestinationName"),
      ...(JWT !== undefined && JWT !== null && { JWT }),
      Sources: [
        {
          Name: text("SourceName"),
          Namespace: text("SourceNS"),
          Action: text("Action"),
          Type: text("SourceType"),
          Description: text("Description"),
          ...(Permissions !== undefined && Permissions !== null && { Permissions }),
        },
      ],
    },
    where,
  );
  if (!rule) throw new InvalidArgumentError("no rule");
  const ID = text("ID");
  return { ...rule, DestinationNS: text("DestinationNS") || "default", ...(ID !== "" && { ID }) };
}

function toRule(ID: string, fields: Partial<Intention> & Pick<Intention, "DestinationName" | "SourceName">): Intention {
  const rule = {
    ID,
    Description: "",
    SourceNS: "default",
    DestinationNS: "default",
    SourceType: "consul",
    Action: "",
    Meta: {},
    CreatedAt: "",
    UpdatedAt: "",
    CreateIndex: 0,
    ModifyIndex: 0,
    ...fields,
  };
  return { ...rule, Precedence: precedence(rule) };
}
