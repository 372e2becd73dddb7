/** Why Consul's index of ids does not take a text, in its words; undefined: it does. Hyphens may stand anywhere. */
export function uuidProblem(text: string): string | undefined {
  if (Buffer.byteLength(text) !== 36) return "index error: UUID must be 36 characters";
  const hyphens = text.split("-").length - 1;
  if (hyphens > 4) return `index error: UUID should have maximum of 4 "-"; got ${hyphens}`;
  const digits = text.replaceAll("-", "");
  if (digits.length % 2 !== 0) return "index error: Input (without hyphens) must be even length";
  const wrong = /[^\da-f]/iu.exec(digits)?.[0];
  if (wrong === undefined) return undefined;
  const code = (wrong.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return `index error: Invalid UUID: encoding/hex: invalid byte: U+${code} '${wrong}'`;
}

/** The id as it is stored: only the digits count, whatever their case. */
export function normalizedUuid(id: string): string {
  const digits = id.replaceAll("-", "").toLowerCase();
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
