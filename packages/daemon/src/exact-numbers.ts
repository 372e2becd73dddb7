/** Numbers past 2^53 in JSON that is passed on: kept digit for digit. */

const { rawJSON } = JSON as unknown as { rawJSON: (this: void, text: string) => unknown };

/** A whole number that JSON.stringify writes as these digits. */
export function exactNumber(digits: string): unknown {
  return rawJSON(digits);
}

/** JSON.parse, with whole numbers that a double cannot hold as `exactNumber`: only to be written again. */
export function parseToPassOn(text: string): unknown {
  return JSON.parse(text, (_key: string, value: unknown, context?: { source?: string }) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? rawJSON(context?.source as string)
      : value,
  );
}
