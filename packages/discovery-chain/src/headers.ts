/** What is done to headers where two splits are merged into one. */
import type { HeaderModifiers } from "@heddle/config-entries";

/** Both together; where both speak of one header, the inner one counts. */
export function mergeHeaders(
  outer: HeaderModifiers | undefined,
  inner: HeaderModifiers | undefined,
): HeaderModifiers | undefined {
  if (!outer || !inner) return inner ?? outer;
  const Add = mergeMaps(outer.Add, inner.Add);
  const Set = mergeMaps(outer.Set, inner.Set);
  const Remove = [...(outer.Remove ?? []), ...(inner.Remove ?? [])];
  return { ...(Add && { Add }), ...(Set && { Set }), ...(Remove.length > 0 && { Remove }) };
}

function mergeMaps(
  outer: Record<string, string> | undefined,
  inner: Record<string, string> | undefined,
): Record<string, string> | undefined {
  if (!outer || !inner) return inner ?? outer;
  const out = Object.create(null) as Record<string, string>;
  for (const map of [outer, inner]) for (const [name, value] of Object.entries(map)) out[name] = value;
  return out;
}
