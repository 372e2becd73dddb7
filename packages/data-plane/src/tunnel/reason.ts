/** A refusal on the wire: JSON, bounded. The far proxy is authenticated but not trusted with our logs. */
import { type Refusal, REFUSAL_CODES, type RefusalCode } from "../refusal.ts";

const MAX_TEXT = 512;

export function encodeReason({ code, source, destination, rule, reason }: Refusal): Buffer {
  const short = (text: string | undefined) => text?.slice(0, MAX_TEXT);
  return Buffer.from(
    JSON.stringify({
      code,
      source: short(source),
      destination: short(destination),
      rule: short(rule),
      reason: short(reason),
    }),
  );
}

/** Never throws: an unreadable reason is still a refusal. */
export function parseReason(json: Buffer): Refusal {
  let given: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(json.toString("utf8"));
    if (typeof parsed === "object" && parsed !== null) given = parsed as Record<string, unknown>;
  } catch {
    // as said
  }
  const text = (key: string) => (typeof given[key] === "string" ? given[key].slice(0, MAX_TEXT) : "");
  const code = REFUSAL_CODES.find((c) => c === given.code) ?? ("protocol" satisfies RefusalCode);
  return {
    code,
    source: text("source"),
    destination: text("destination"),
    rule: text("rule") || undefined,
    reason: text("reason") || "no reason given",
  };
}
