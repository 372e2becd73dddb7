/** What the `heddle intention` commands share: names with namespaces, and finding an intention by its two names or its id. */
import { type ApiClient, ApiError } from "@heddle/api-client";
import { attempt, CommandError } from "../command.ts";

export interface Intention {
  ID?: string;
  Description?: string;
  SourceNS?: string;
  SourceName: string;
  DestinationNS?: string;
  DestinationName: string;
  SourceType?: string;
  /** Empty where rules on requests say it. */
  Action: string;
  Permissions?: unknown[] | null;
  JWT?: { Providers?: { Name: string }[] } | null;
  Meta?: Record<string, string> | null;
  Precedence?: number;
  CreatedAt?: string;
}

const DEFAULT_NAMESPACE = "default";
const UUID_LENGTH = 36;

/** "web" or "ns/web". `what` is for messages: "source". */
export function parseTarget(text: string, what: string): { ns: string; name: string } {
  const parts = text.split("/");
  if (parts.length > 2) throw new CommandError(`Error: Invalid intention ${what}: target can contain at most one '/'`);
  return parts.length === 2 ? { ns: parts[0] as string, name: parts[1] as string } : { ns: "", name: text };
}

/** "web => db (deny)". */
export function describeIntention(intention: Intention): string {
  return `${target(intention.SourceNS, intention.SourceName)} => ${target(intention.DestinationNS, intention.DestinationName)} (${actionOf(intention)})`;
}

/** "allow", "deny", and what says more than that: "by request", "allow with a token of okta". */
export function actionOf({ Action, Permissions, JWT }: Intention): string {
  const action = Action === "" && Permissions?.length ? "by request" : Action;
  const providers = (JWT?.Providers ?? []).map(({ Name }) => Name).join(" or ");
  return providers !== "" && action !== "deny" ? `${action} with a token of ${providers}` : action;
}

export function target(ns: string | undefined, name: string): string {
  return ns && ns !== DEFAULT_NAMESPACE ? `${ns}/${name}` : name;
}

/** The intention with exactly these two names, or undefined. */
export async function findByNames(api: ApiClient, source: string, destination: string): Promise<Intention | undefined> {
  const from = parseTarget(source, "source");
  const to = parseTarget(destination, "destination");
  const same = (ns: string | undefined, wanted: string) => (ns || DEFAULT_NAMESPACE) === (wanted || DEFAULT_NAMESPACE);
  const { body } = await attempt("Error", api.get<Intention[] | null>("/v1/connect/intentions"));
  return (body ?? []).find(
    (i) =>
      i.SourceName === from.name &&
      i.DestinationName === to.name &&
      same(i.SourceNS, from.ns) &&
      same(i.DestinationNS, to.ns),
  );
}

/** The intention that "SRC DST" or "ID" means. Throws CommandError where there is none. */
export async function findIntention(api: ApiClient, args: readonly string[]): Promise<Intention> {
  const [first = "", second] = args;
  if (args.length < 1 || args.length > 2) throw new CommandError("Error: command requires exactly 1 or 2 arguments");
  if (second !== undefined) {
    const found = await findByNames(api, first, second);
    if (!found)
      throw new CommandError(`Error: Intention with source "${first}" and destination "${second}" not found.`);
    return found;
  }
  if (first.length !== UUID_LENGTH)
    throw new CommandError(
      `Error reading the intention: '${first}' is no intention's id: want a UUID of ${UUID_LENGTH} characters, or SRC DST`,
    );
  try {
    return (await api.get<Intention>(intentionPath(first))).body;
  } catch (cause) {
    if (cause instanceof ApiError && cause.status === 404)
      throw new CommandError(`Error: Intention with ID "${first}" not found.`, 1, { cause });
    return attempt("Error reading the intention", Promise.reject(cause as Error));
  }
}

export const intentionPath = (id: string): string => `/v1/connect/intentions/${encodeURIComponent(id)}`;
